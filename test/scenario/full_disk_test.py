"""The disk fills: writes are refused in words, reads go on, what is stored is still delivered and acknowledged; a start on a full disk serves too; and when
space comes back everything goes on without a restart."""
import os, time

import loop_disk

loop_disk.own_namespace()
from harness import Server, eventually, expect
from mqtt import Client

BIG = "x" * 60000


def ballast(disk, name):
    """Fills the disk to the last byte."""
    path, size = os.path.join(disk.path, name), 1 << 20
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    while size >= 1:
        try:
            while os.write(fd, b"\0" * size) == size:
                pass
        except OSError:
            pass
        size //= 4
    try:
        os.fsync(fd)
    except OSError:
        pass
    os.close(fd)
    return path


def fill(s, conversation, prefix):
    """Posts until it is refused: (ids stored, the refusal)."""
    stored = []
    for n in range(8000):
        status, said = s.call("POST", f"/v1/conversations/{conversation}/messages", {"id": f"{prefix}{n}", "from": "ann", "body": BIG})
        if status == 503 and said["type"] == "/problems/overloaded":
            time.sleep(0.1)
            continue
        if status != 201:
            return stored, (status, said)
        stored.append(f"{prefix}{n}")
    raise AssertionError("the disk never became full")


def refused_by_mqtt(s, ann):
    five = Client(s.mqtt, "a1", ann, clean=True)
    ack = five.publish("conversations/ab/messages", {"id": "five", "body": BIG})
    expect(ack.reason, 0x97, "MQTT 5 is told: quota exceeded")
    assert "disk" in ack.words or "space" in ack.words, ack.words
    expect(five.ping().kind, 13, "and stays connected")
    five.disconnect()
    four = Client(s.mqtt, "a1", ann, version=4, clean=True)
    four.publish_begin("conversations/ab/messages", {"id": "four", "body": BIG})
    four.ended()       # a temporary refusal closes: it is sent again later


def reads_go_on(s, stored):
    status, said = s.call("GET", "/v1/conversations/ab/messages?limit=1")
    expect((status, said["items"][0]["id"]), (200, stored[-1]))
    expect(s.call("GET", "/v1/users/bob")[0], 200)
    expect(s.call("GET", "/healthz")[0], 200)
    expect(s.call("GET", "/v1/users/bob/mailbox?limit=5")[0], 200)


def receive(s, token, ids, what):
    """The device gets these, in order, and acknowledges them; a second connection shows that the acknowledgements held."""
    c = Client(s.mqtt, "b1", token)
    assert c.connack.present, "the session is gone"
    got = [m.json()["id"] for m in c.messages(len(ids), seconds=30, topic="/messages")]
    expect(got, ids, what)
    return c


def story(s, disk):
    expect(s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})[0], 201)
    ann, bob = s.token("ann", "a1"), s.token("bob", "b1")
    c = Client(s.mqtt, "b1", bob)
    expect(c.subscribe("users/bob/#"), [1])
    c.disconnect()
    s.call("POST", "/v1/conversations/ab/messages", {"id": "before", "from": "ann", "body": "before"})
    extra = ballast(disk, "ballast")
    stored, (status, said) = fill(s, "ab", "m")
    expect((status, said["type"]), (503, "/problems/disk-full"))
    print(f"  {len(stored)} messages of 60 kB were stored on a disk with nothing free")
    eventually(lambda: expect([l["level"] for l in s.lines() if "disk is full" in l["message"]], ["error"], "said once"))
    expect(b"\nkith_disk_full 1\n" in s.call("GET", "/metrics")[1], True)
    refused_by_mqtt(s, ann)
    reads_go_on(s, ["before", *stored])
    c = receive(s, bob, ["before", *stored], "delivered while the disk is full")
    c.ping()
    time.sleep(0.5)
    c.disconnect()
    live = Client(s.mqtt, "b1", bob)
    expect([m.json()["id"] for m in live.messages(quiet=1, topic="/messages")], [], "acknowledgements held")
    # a stop and a start on the full disk: it ends in time, and serves what it has
    began = time.time()
    s.stop()
    took = time.time() - began
    assert took < 15, f"it took {took:.1f} s to end on a full disk"
    s.start()
    status, said = s.call("POST", "/v1/conversations/ab/messages", {"id": "no", "from": "ann", "body": BIG})
    expect((status, said["type"]), (503, "/problems/disk-full"), "after a start")
    reads_go_on(s, ["before", *stored])
    live = Client(s.mqtt, "b1", bob)
    expect((live.connack.present, [m.json()["id"] for m in live.messages(quiet=1, topic="/messages")]), (True, []))
    # the same by force
    s.kill()
    s.start()
    reads_go_on(s, ["before", *stored])
    live = Client(s.mqtt, "b1", bob)
    # space comes back
    os.remove(extra)

    def goes_on():
        status, said = s.call("POST", "/v1/conversations/ab/messages", {"id": "after", "from": "ann", "body": "after"})
        assert status == 201, (said, os.listdir(s.data), os.listdir(s.data + "/log"), os.statvfs(disk.path))
    eventually(goes_on)
    eventually(lambda: expect([l["after_ms"] > 0 for l in s.lines() if "has room again" in l["message"]], [True], "the end is said"))
    expect(b"\nkith_disk_full 0\n" in s.call("GET", "/metrics")[1], True)
    expect([m.json()["id"] for m in live.messages(1, topic="/messages") if not m.dup], ["after"], "live, and for the first time")
    more, n = [], 0
    for n in range(20):
        expect(s.call("POST", "/v1/conversations/ab/messages", {"id": f"z{n}", "from": "ann", "body": BIG})[0], 201)
    expect([m.json()["id"] for m in live.messages(20, topic="/messages")], [f"z{n}" for n in range(20)])
    live.disconnect()
    s.stop()
    s.check()
    s.start()
    items = s.call("GET", "/v1/conversations/ab/messages?limit=200")[1]["items"]
    expect(items[0]["seq"], len(stored) + 22, "seq has no gaps")


for shards in ("2",):
    disk = loop_disk.Disk(640)
    s = None
    try:
        s = Server("--shards", shards, data=os.path.join(disk.path, "data"))
        story(s, disk)
        s.stop()
    except BaseException:
        if s:
            print(f"--shards {shards}:", s.said()[-3000:])
            s.process.kill()
            s.process.wait()
        raise
    finally:
        if s:
            s.close()
        disk.close()

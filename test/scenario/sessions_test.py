"""Devices over MQTT with real clients: delivery, kept sessions, refusals, and kill -9 again and again with nothing acknowledged lost."""
import shutil, sys
from harness import Server, expect, eventually

if not shutil.which("mosquitto_sub"):
    print("skipped: mosquitto-clients is not installed")
    sys.exit(0)

s = Server()
c = s.call
c("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
ann, bob = s.token("ann", "a1"), s.token("bob", "b1")
expect(s.sub("bob", "b1", bob, seconds=1), [], "a new session starts from now")
expect(s.pub("ann", "a1", ann, "conversations/ab/messages", {"id": "m1", "body": "one"}).returncode, 0)
got = s.sub("bob", "b1", bob, count=1)
expect([(t, m["id"], m["event"]) for t, m in got], [("users/bob/messages", "m1", "created")], "what waited")
expect(s.sub("bob", "b1", bob, seconds=1), [], "once")
eventually(lambda: expect({r["user"]: r["delivered"] for r in c("GET", "/v1/conversations/ab/receipts")[1]["items"]}["bob"], 1, "PUBACK moves delivered"))

# refusals: a reason in MQTT 5, an acknowledgement in 3.1.1
expect("no conversation" in s.pub("ann", "a1", ann, "conversations/zz/messages", {"body": "x"}).stderr, True)
expect(s.pub("ann", "a1", ann, "conversations/zz/messages", {"body": "x"}, version="311").returncode, 0)
expect(s.pub("ann", "other", ann, "conversations/ab/messages", {"body": "x"}).returncode != 0, True, "a token fits its device only")
expect(s.pub("ann", "a1", ann[:-3] + "abc", "conversations/ab/messages", {"body": "x"}).returncode != 0, True, "a bad signature")

# kill -9, five times: what was acknowledged arrives, in order
n, seen = 0, set()
for round in range(5):
    for _ in range(4):
        n += 1
        expect(s.pub("ann", "a1", ann, "conversations/ab/messages", {"id": f"k{n}", "body": str(n)}, version="311" if n % 2 else "5").returncode, 0)
    s.kill()
    s.start()
    got = []
    for _ in range(5):  # mosquitto_sub leaves after so many, SUBACK unread: the reset may overtake its last PUBACKs, and those messages come again
        new = [m["id"] for t, m in s.sub("bob", "b1", bob, count=4 - len(got)) if t.endswith("messages") and m["id"] not in seen]
        got, seen = got + new, seen | set(new)
        if len(got) == 4:
            break
    expect(got, [f"k{i}" for i in range(n - 3, n + 1)], f"round {round}")
items = c("GET", "/v1/conversations/ab/messages?after=0&limit=200")[1]["items"]
expect([m["seq"] for m in items], list(range(1, n + 2)), "seq has no gaps")

# a deleted device is out at once
expect(c("DELETE", "/v1/users/bob/devices/b1")[0], 204)
expect(c("GET", "/v1/users/bob/mailbox", key=bob)[0], 401)
expect(s.sub("bob", "b1", bob, seconds=1), [])
s.close()

"""What is older than a month goes from a mailbox as it grows, and whoever comes back with a cursor of before is told that: by pages and by the stream, never given the rest as if it were all."""
import json, urllib.error, urllib.request

import faults
from harness import eventually, expect

DAYS_MS = 24 * 3600 * 1000
s = faults.FaultyServer("clock", "--shards", "1")
expect(s.call("PUT", "/v1/conversations/ab", {"type": "group", "members": ["ann", "bob"]})[0], 201)


def fill(prefix, n):
    for i in range(n):
        expect(s.call("POST", "/v1/conversations/ab/messages", {"id": f"{prefix}{i}", "from": "ann", "body": prefix})[0], 201)


def page(cursor="", limit=200):
    return s.call("GET", f"/v1/users/bob/mailbox?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))


def stream(last):
    """Its status."""
    request = urllib.request.Request(f"http://127.0.0.1:{s.http}/v1/users/bob/stream", headers={"Authorization": "Bearer " + s.key, "Last-Event-ID": last, "Accept": "text/event-stream"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        expect(json.load(e)["type"], "/problems/gone")
        return e.code


fill("old", 150)
eventually(lambda: expect([x["message"]["id"] for x in page()[1]["items"] if x["type"] == "message"], [f"old{i}" for i in range(150)]))
cursors = [x["cursor"] for x in page()[1]["items"]]
s.inject.ask(faults.CLOCK_MS, 29 * DAYS_MS)
fill("month", 70)
expect((page(cursors[0])[0], stream(cursors[0])), (200, 200), "not yet a month")
s.inject.ask(faults.CLOCK_MS, 32 * DAYS_MS)
fill("new", 140)
last = lambda: s.call("GET", "/v1/users/bob/conversations")[1]["items"][0]["last"]["id"]
eventually(lambda: expect(last(), "new139"))
status, said = page(cursors[0])
expect((status, said.get("type")), (410, "/problems/gone"))
expect(stream(cursors[0]), 410)
status, said = page()
messages = [x for x in said["items"] if x["type"] == "message"]
kept, first = [x["message"]["id"] for x in messages], messages[0]["cursor"]
everything = [f"old{i}" for i in range(150)] + [f"month{i}" for i in range(70)] + [f"new{i}" for i in range(140)]
expect((status, kept), (200, everything[everything.index(kept[0]):][:len(kept)]), "without a cursor what is kept, in order")
expect(0 < everything.index(kept[0]) <= 150, True, "nothing that is younger has gone")
expect((page(first)[0], stream(first)), (200, 200), "a cursor into what is kept")
expect(page(said["next"])[1]["items"][-1]["message"]["id"], "new139")
s.kill()
s.start()
expect((page(cursors[0])[0], page(first)[0]), (410, 200), "also over a crash")
s.close()
print("what is past is said to be past")

"""A channel of thousands: made and joined quickly, a message stored once a partition and read by all, merged when it is read, delivered live, counted exactly;
who joins later begins there; who leaves is gone at once, however many are left."""
import os, time
from harness import expect, eventually
from lanes import both
from mqtt import Client

MANY = 20000
P = "/v1/conversations/news"
BODY = "b" * 2000


def row(s, user):
    return next((r for r in s.call("GET", f"/v1/users/{user}/conversations")[1]["items"] if r["id"] == "news"), None)


def unread(s, user, count):
    def same():
        r = row(s, user)
        expect(r and (r["unread"], r["member_count"]), (count, MANY), f"unread of {user}")
    eventually(same)


def mailbox(s, user):
    return [e["message"] for e in s.call("GET", f"/v1/users/{user}/mailbox?limit=200")[1]["items"] if e["type"] == "message"]


def stored(s):
    """Bytes of the log and the tables."""
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(s.data) for f in files if not f.startswith("LOG"))


def best_ms(acts):
    """Whatever else the disk has to do: one of them is undisturbed."""
    took = []
    for act in acts:
        began = time.monotonic()
        act()
        took.append((time.monotonic() - began) * 1000)
    return min(took)


def story(s):
    c = s.call
    expect(c("PUT", P, {"type": "channel", "members": ["boss"] + [f"f{i}" for i in range(MANY - 1)]})[1]["member_count"], MANY)
    expect(c("PUT", P, {"members": [f"f{i}" for i in range(MANY - 1)]})[1]["member_count"], MANY, "the same again")
    boss, fan = s.token("boss", "boss-1"), s.token("f7", "f7-1")
    expect(c("POST", P + "/messages", {"body": "x"}, key=fan)[0], 403, "its admins and owners write")
    d = Client(s.mqtt, "f7-1", fan)
    d.subscribe("users/f7/#")
    eventually(lambda: expect(row(s, f"f{MANY - 2}") is not None, True))
    # stored once a partition: fifty long messages cost megabytes at most, and not gigabytes
    for i in range(50):
        expect(c("POST", P + "/messages", {"id": f"n{i}", "body": BODY}, key=boss)[1]["seq"], i + 1)
    live = d.messages(50, topic="/messages")
    expect([p.json()["seq"] for p in live], list(range(1, 51)), "live")
    for user in ("f0", "f9999", f"f{MANY - 2}"):
        unread(s, user, 50)
        expect([m["seq"] for m in mailbox(s, user)], list(range(1, 51)), "merged when it is read")
    assert stored(s) < 256 * 2**20, f"{stored(s)} bytes for fifty messages"
    # each reads for themselves
    expect(c("POST", P + "/receipts?user=f0", {"read": 48})[0], 200)
    unread(s, "f0", 2)
    unread(s, "f9999", 50)
    expect(c("GET", P + "/receipts?limit=1")[1]["items"], [{"user": "f0", "delivered": 48, "read": 48}], "the newest reader")
    expect(d.messages(seconds=0.4, quiet=0.2, topic="/receipts"), [], "receipts are asked for, not told")
    # merged with what else reaches one
    c("PUT", "/v1/conversations/dm", {"type": "direct", "members": ["f0", "boss"]})
    eventually(lambda: expect(len(c("GET", "/v1/users/f0/conversations")[1]["items"]), 2))
    for i in range(4):
        c("POST", ("/v1/conversations/dm", P)[i % 2] + "/messages", {"id": f"x{i}", "from": "boss", "body": "x"})
        eventually(lambda: expect(mailbox(s, "f0")[-1]["id"], f"x{i}"))
    expect([m["id"] for m in mailbox(s, "f0")[-4:]], ["x0", "x1", "x2", "x3"])
    # who joins later begins there
    c("DELETE", P + "/members/f1")
    expect(c("PUT", P + "/members/late", {})[0], 201)
    unread(s, "late", 0)
    expect((row(s, "late")["last"], mailbox(s, "late")), (None, []))
    c("POST", P + "/messages", {"id": "more", "from": "boss", "body": "more"})
    unread(s, "late", 1)
    unread(s, "f0", 5)
    expect([m["id"] for m in mailbox(s, "late")], ["more"])
    expect(mailbox(s, "f1")[-1]["id"], "x3", "who left has what was before")
    # one delete counts for all
    c("DELETE", P + "/messages/more", key=boss)
    unread(s, "late", 0)
    unread(s, "f0", 4)
    # leaving, one of many or the owner, looks at few
    few = [lambda i=i: expect(c("DELETE", f"{P}/members/f{i}")[0], 204) for i in range(100, 130)]
    # the only owner leaves, and who is one then, again and again
    owners = [lambda user=user: expect(c("DELETE", f"{P}/members/{user}")[0], 204) for user in ("boss", *(f"f{i}" for i in (0, *range(2, 9))))]
    alone = [lambda i=i: expect(c("DELETE", f"/v1/conversations/few{i}/members/f0")[0], 204) for i in range(30)]
    for i in range(30):
        c("PUT", f"/v1/conversations/few{i}", {"type": "channel", "members": ["boss", "f0"]})
    base = max(best_ms(alone), 5)
    for what, acts in (("a member", few), ("the owner", owners)):
        took = best_ms(acts)
        assert took < 10 * base, f"{what} left in {took:.1f} ms; of a channel of two in {base:.1f} ms"
    expect([m["user"] for m in c("GET", P + "/members?limit=200")[1]["items"]][:2], ["late", f"f{MANY - 2}"])
    expect(c("GET", P + "/members?user=f9")[0], 200)
    d.disconnect()


both(story)

"""Every list of conversations and messages in pages: each thing once, in the order that API.md says, whatever changes meanwhile; limits, and cursors that cannot be."""
import time
from harness import expect, eventually
from lanes import both


def walk(s, path, limit=None, between=None, key=None):
    """All items of a list, a page at a time; `between` runs after the first page."""
    items, cursor, pages = [], "", 0
    while cursor is not None:
        query = ([f"limit={limit}"] if limit else []) + ([f"cursor={cursor}"] if cursor else [])
        status, page = s.call("GET", path + ("&" if "?" in path else "?") + "&".join(query), key=key)
        expect((status, sorted(page)), (200, ["items", "next"]), path)
        assert len(page["items"]) <= (limit or 50)
        items += page["items"]
        cursor = page["next"]
        pages += 1
        if pages == 1 and between:
            between()
        assert pages < 1000, "a walk without end"
    return items


def bounds(s):
    c = s.call
    c("PUT", "/v1/conversations/p", {"type": "group", "members": [f"m{i:02}" for i in range(60)]})
    for i in range(60):
        c("POST", "/v1/conversations/p/messages", {"id": f"p{i}", "from": "m00", "body": str(i), **({"reply_to": "p0"} if i else {})})
        c("PUT", f"/v1/conversations/c{i:02}", {"type": "group", "members": ["m01"]})
    eventually(lambda: expect(len(c("GET", "/v1/users/m01/conversations?limit=200")[1]["items"]), 61))
    eventually(lambda: expect(len(c("GET", "/v1/users/m01/mailbox?limit=200")[1]["items"]), 121))
    lists = ["/v1/conversations/p/members", "/v1/conversations/p/messages", "/v1/conversations/p/messages/p0/replies", "/v1/conversations/p/receipts",
             "/v1/users/m01/conversations", "/v1/users/m01/mailbox"]
    for path in lists:
        page = c("GET", path)[1]
        expect((len(page["items"]), page["next"] is not None), (50, True), f"{path}: 50 unless said")
        whole = c("GET", path + "?limit=200")[1]["items"]
        for limit in (1, 7, 50, len(whole), 200):
            expect(walk(s, path, limit), whole, f"{path} by {limit}")
        expect(c("GET", f"{path}?limit={len(whole)}")[1]["next"], None, f"{path}: an even page is the last")
        for limit in ("0", "201", "-1", "x", "1.5", "99999999999999999999"):
            expect(c("GET", f"{path}?limit={limit}")[1]["field"], "limit", f"{path} {limit}")
        good = c("GET", f"{path}?limit=1")[1]["next"]
        ends = () if path.endswith("/conversations") else (good + "x", good[:-1] + "zz")  # whose cursors end in an id, which may be any
        for cursor in ("x", "-", "x" + good, "a" * 300, *ends):
            expect((c("GET", f"{path}?cursor={cursor}")[0], c("GET", f"{path}?cursor={cursor}")[1].get("field")), (400, "cursor"), f"{path} {cursor}")
        epoch = good.split("-")[0]
        lead, digits = (epoch[0], epoch[1:]) if epoch[0] in "ab" and len(epoch) > 8 else ("", epoch)
        other = lead + ("%x" % ((int(digits, 16) + 1) % 2**32)) + good[len(epoch):]
        expect((c("GET", f"{path}?cursor={other}")[0], c("GET", f"{path}?cursor={other}")[1].get("type")), (410, "/problems/gone"), f"{path}: of before a restore, {other}")
    for path in ("/v1/conversations/nobody/members", "/v1/conversations/p/messages/nobody/replies", "/v1/conversations/nobody/receipts"):
        expect(c("GET", path)[0], 404, path)
    for user in ("nobody", "named"):  # a member that a PUT has just named must never be told missing, so one that nobody named is empty too
        if user == "named":
            expect(c("PUT", "/v1/conversations/naming", {"type": "group", "members": [user]})[0], 201)
        for path in ("mailbox", "conversations"):
            expect(c("GET", f"/v1/users/{user}/{path}")[0], 200, f"{path} of {user}")


def messages(s):
    c, p = s.call, "/v1/conversations/seq"
    c("PUT", p, {"type": "group", "members": ["ann", "bob"]})
    post = lambda: c("POST", p + "/messages", {"from": "ann", "body": "x"})
    for _ in range(40):
        post()
    seqs = lambda query: [m["seq"] for m in c("GET", f"{p}/messages?{query}")[1]["items"]]
    expect(seqs("limit=5"), [40, 39, 38, 37, 36], "newest first")
    expect(seqs("before=3"), [2, 1])
    expect([seqs("before=1"), seqs("before=0"), seqs("after=40"), seqs("after=1000")], [[], [], [], []], "nothing is there")
    expect(seqs("before=1000&limit=2"), [40, 39])
    expect(seqs("after=0&limit=3"), [1, 2, 3], "oldest first")
    expect(seqs("after=38"), [39, 40])
    for query, status in (("before=x", 400), ("after=-1", 400), ("after=1.5", 400), ("before=5&after=3", 422), ("before=99999999999999999999", 400)):
        expect(c("GET", f"{p}/messages?{query}")[0], status, query)
    down = walk(s, p + "/messages", 7, between=lambda: [post() for _ in range(3)])
    expect([m["seq"] for m in down], list(range(40, 0, -1)), "back: what is new meanwhile is not in it")
    up = walk(s, p + "/messages?after=10", 7, between=lambda: [post() for _ in range(3)])
    expect([m["seq"] for m in up], list(range(11, 47)), "on: what is new meanwhile comes at its end")
    part = walk(s, p + "/messages?before=30", 7)
    expect([m["seq"] for m in part], list(range(29, 0, -1)))
    c("PUT", p + "/members/late", {})
    late = s.token("late", "d")
    for _ in range(12):
        post()
    expect([m["seq"] for m in walk(s, p + "/messages", 5, key=late)], list(range(58, 46, -1)), "from joining on")
    expect([m["seq"] for m in walk(s, p + "/messages?after=0", 5, key=late)], list(range(47, 59)))


def members(s):
    c, p = s.call, "/v1/conversations/mem"
    people = [f"w{i:03}" for i in range(600)]
    c("PUT", p, {"type": "group", "members": people})
    newest = people[::-1]
    users = lambda items: [m["user"] for m in items]
    expect(users(walk(s, p + "/members", 64)), newest, "newest first")

    def stir():
        for i in (0, 1, 255, 256, 300, 530, 590, 599):
            expect(c("DELETE", f"{p}/members/{people[i]}")[0], 204)
        for user in ("new1", "new2", "w300"):
            expect(c("PUT", f"{p}/members/{user}", {})[0], 201)
    gone = {people[i] for i in (0, 1, 255, 256, 300, 530)}
    expect(users(walk(s, p + "/members", 50, between=stir)), [u for u in newest if u not in gone], "who stays is seen once, who comes and goes moves nobody")
    expect(users(walk(s, p + "/members", 50))[:3], ["w300", "new2", "new1"])
    expect(c("GET", p)[1]["member_count"], 595)
    expect(len(users(walk(s, p + "/members", 50))), 595)
    roles = {m["user"]: m["role"] for m in walk(s, p + "/members", 200)}
    expect([u for u, r in roles.items() if r == "owner"], ["w002"], "the owner left: the oldest of those left")


def conversations(s):
    c = s.call
    for i in range(30):
        c("PUT", f"/v1/conversations/l{i:02}", {"type": ("group", "channel")[i % 2], "members": ["lia", "lou"]})
    eventually(lambda: expect(len(c("GET", "/v1/users/lia/conversations?limit=200")[1]["items"]), 30))
    order = [7, 3, 19, 28, 0, 11]
    for i in order:
        time.sleep(0.002)  # of one millisecond, ids decide
        c("POST", f"/v1/conversations/l{i:02}/messages", {"from": "lia", "body": "x"})
    ids = lambda items: [r["id"] for r in items]
    eventually(lambda: expect(ids(c("GET", "/v1/users/lia/conversations?limit=6")[1]["items"]), [f"l{i:02}" for i in order[::-1]], "newest message first"))
    seen = walk(s, "/v1/users/lia/conversations", 4, between=lambda: [c("POST", f"/v1/conversations/l{i:02}/messages", {"from": "lou", "body": "y"}) for i in (0, 28)])
    expect((len(seen), sorted(set(ids(seen)))), (30, [f"l{i:02}" for i in range(30)]), "what was shown and moves up is not shown twice")


def receipts(s):
    c, p = s.call, "/v1/conversations/rec"
    people = [f"r{i:02}" for i in range(20)]
    c("PUT", p, {"type": "channel", "members": people})
    for _ in range(5):
        c("POST", p + "/messages", {"from": "r00", "body": "x"})
    order = [3, 17, 8, 12]
    for n, i in enumerate(order):
        expect(c("POST", f"{p}/receipts?user=r{i:02}", {"read": n + 1})[0], 200)
    items = walk(s, p + "/receipts", 3)
    expect([(m["user"], m["read"]) for m in items[:4]], [(f"r{i:02}", n + 1) for n, i in reversed(list(enumerate(order)))], "newest readers first")
    expect(sorted(m["user"] for m in items), people, "each once")


def mailbox(s):
    c = s.call
    for g, kind in (("x1", "group"), ("x2", "channel"), ("x3", "direct")):
        c("PUT", f"/v1/conversations/{g}", {"type": kind, "members": ["max", "mia"]})
    eventually(lambda: expect(len(c("GET", "/v1/users/max/conversations")[1]["items"]), 3))
    sent = []
    for i in range(60):
        g = ("x1", "x2", "x3")[i % 3]
        sent.append((g, c("POST", f"/v1/conversations/{g}/messages", {"from": "mia", "body": "x"})[1]["seq"]))
    count = lambda: expect(len([e for e in c("GET", "/v1/users/max/mailbox?limit=200")[1]["items"] if e["type"] == "message"]), 60)
    eventually(count)
    more = lambda: c("POST", "/v1/conversations/x1/messages", {"id": "more", "from": "mia", "body": "more"})
    items = [e for e in walk(s, "/v1/users/max/mailbox", 7, between=more) if e["type"] == "message"]
    eventually(lambda: expect([e["message"]["id"] for e in c("GET", "/v1/users/max/mailbox?limit=1&cursor=" + items[59]["cursor"])[1]["items"]], ["more"]))
    for g in ("x1", "x2", "x3"):
        expect([e["message"]["seq"] for e in items[:60] if e["message"]["conversation"] == g], list(range(1, 21)), "merged, each in its order")
    positions = [int(e["cursor"].split("-")[1], 16) for e in items]
    expect(positions, sorted(set(positions)), "oldest first")
    # any entry's own cursor goes on behind it
    for at in (0, 5, 58):
        after = c("GET", f"/v1/users/max/mailbox?limit=1&cursor={items[at]['cursor']}")[1]["items"][0]
        expect(after["cursor"], items[at + 1]["cursor"])
    last = c("GET", "/v1/users/max/mailbox?limit=200")[1]["items"][-1]["cursor"]
    expect(c("GET", "/v1/users/max/mailbox?cursor=" + last)[1], {"items": [], "next": None})


def story(s):
    for part in (bounds, messages, members, conversations, receipts, mailbox):
        part(s)


both(story)

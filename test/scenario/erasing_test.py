"""A user is erased from long conversations: every word and reaction of theirs goes, on every way to read it; the order stays; who comes anew by that id is another."""
from harness import expect, eventually
from lanes import both

P, MANY = "/v1/conversations/long", 1100  # more than two steps of erasing


def history(s, path=P, cursor=""):
    items = []
    while cursor is not None:
        page = s.call("GET", f"{path}/messages?limit=200" + (f"&cursor={cursor}" if cursor else ""))[1]
        items += page["items"]
        cursor = page["next"]
    return items


def mailbox(s, user):
    items, cursor = [], ""
    while cursor is not None:
        page = s.call("GET", f"/v1/users/{user}/mailbox?limit=200" + (f"&cursor={cursor}" if cursor else ""))[1]
        items += [e["message"] for e in page["items"] if e["type"] == "message"]
        cursor = page["next"]
    return items


def story(s):
    c = s.call
    c("PUT", P, {"type": "group", "members": ["keep", "gone", "third"]})
    c("PUT", "/v1/conversations/left", {"type": "group", "members": ["keep", "gone"]})
    c("PUT", "/v1/conversations/two", {"type": "direct", "members": ["keep", "gone"]})
    for conversation in ("left", "two"):
        c("POST", f"/v1/conversations/{conversation}/messages", {"id": "x", "from": "gone", "body": "secret"})
    c("DELETE", "/v1/conversations/left/members/gone")
    for i in range(MANY):
        c("POST", P + "/messages", {"id": f"m{i}", "from": ("keep", "gone")[i % 2], "body": "secret" if i % 2 else "kept"})
    for i in (0, 1, MANY - 2):
        c("PUT", f"{P}/messages/m{i}/reactions/x?user=gone")
        c("PUT", f"{P}/messages/m{i}/reactions/x?user=third")
    c("PATCH", P + "/messages/m3", {"body": "secret, edited"})
    c("DELETE", P + "/messages/m5")
    eventually(lambda: expect(len([m for m in mailbox(s, "third") if m.get("body") == "secret"]), MANY // 2 - 2 + 2))  # one edited, one deleted; one told again for each reaction
    expect(c("DELETE", "/v1/users/gone")[0], 204)
    expect(c("PUT", P + "/members/gone", {})[0], 201, "somebody else comes by that id")
    expect(c("POST", P + "/messages", {"id": "anew", "from": "gone", "body": "anew"})[0], 201)

    def erased():
        items = history(s)
        expect([m["seq"] for m in items], list(range(MANY + 1, 0, -1)), "the order stays")
        expect([m["body"] for m in items if m.get("body") not in ("kept", None)], ["anew"], "history")
        expect(sum("deleted_at" in m for m in items), MANY // 2)
        expect([m["reactions"] for m in items if "reactions" in m], [{"x": 1}, {"x": 1}], "their reactions go, others' stay")
        for user in ("keep", "third"):
            expect({m.get("body") for m in mailbox(s, user)}, {"kept", "anew", None}, f"the mailbox of {user}")
        expect([history(s, f"/v1/conversations/{g}")[0].get("body") for g in ("left", "two")], [None, None], "one they had left, and a direct one")
        rows = {r["id"]: r["unread"] for r in c("GET", "/v1/users/keep/conversations")[1]["items"]}
        expect(rows, {"long": 1, "left": 0, "two": 0}, "what is gone is not unread")
    eventually(erased)
    expect(c("GET", P + "?user=gone")[1]["unread"], 0)
    expect([m["id"] for m in history(s) if m.get("from") == "gone"], ["anew"], "who came anew stays in it, with what they say")
    expect(c("POST", P + "/messages", {"id": "anew2", "from": "gone", "body": "x"})[0], 201)


both(story)

"""Conversations and who is in them: direct, group and channel; roles and what each may do; joining, leaving, and what they see of before."""
from harness import expect, eventually
from lanes import both
from mqtt import Client


def ids(answer):
    return [m["user"] for m in answer["items"]]


def entries(s, user, kind):
    return [e for e in s.call("GET", f"/v1/users/{user}/mailbox?limit=200")[1]["items"] if e["type"] == kind]


def listed(s, user, conversation):
    """The conversation as listed for a user, None when it is not."""
    for row in s.call("GET", f"/v1/users/{user}/conversations?limit=200")[1]["items"]:
        if row["id"] == conversation:
            return row
    return None


def is_listed(s, user, conversation, **want):
    row = listed(s, user, conversation)
    assert row, f"{conversation} is not listed for {user}"
    expect({k: row.get(k) for k in want}, want, f"{conversation} as {user} sees it")


def is_not_listed(s, user, conversation):
    expect(listed(s, user, conversation), None, f"{conversation} as {user} sees it")


def direct(s):
    c = s.call
    ann, bob, eve = (s.token(u, u + "1") for u in ("ann", "bob", "eve"))
    for members in ([], ["ann"], ["ann", "ann"], ["ann", "bob", "eve"]):
        status, said = c("PUT", "/v1/conversations/d", {"type": "direct", "members": members})
        expect((status, said["field"]), (422, "members"), f"a direct conversation with {members}")
    expect(c("GET", "/v1/conversations/d")[0], 404, "what was refused was not made")
    expect(c("PUT", "/v1/conversations/d", {"type": "direct", "members": ["bob", "eve"]}, key=ann)[0], 422, "a token makes what its user is in")
    expect(c("PUT", "/v1/conversations/d", {"type": "direct", "members": ["bob"]}, key=ann)[1]["member_count"], 2, "the maker is in it")
    for members in (["ann", "bob"], ["bob", "ann"], ["bob"], []):
        expect(c("PUT", "/v1/conversations/d", {"type": "direct", "members": members}, key=bob)[0], 200, "the same pair again")
    expect(c("PUT", "/v1/conversations/d", {"members": ["eve"]})[0], 422, "a third")
    expect(c("PUT", "/v1/conversations/d/members/eve", {})[0], 409, "a third")
    expect(c("PUT", "/v1/conversations/d2", {"type": "direct", "members": ["ann", "bob"]})[0], 201, "another between the same two")
    expect(sorted(ids(c("GET", "/v1/conversations/d/members", key=bob)[1])), ["ann", "bob"])
    expect(c("PUT", "/v1/conversations/d", {"name": "x"}, key=eve)[0], 404)
    for method, path, body in (("GET", "", None), ("GET", "/members", None), ("GET", "/messages", None), ("GET", "/receipts", None), ("POST", "/messages", {"body": "x"}), ("POST", "/receipts", {"read": 1}), ("POST", "/typing", {}), ("PUT", "/members/eve", {}),
                               ("DELETE", "/members/ann", None)):
        expect(c(method, "/v1/conversations/d" + path, body, key=eve)[0], 404, f"{method} {path} by who is not in it")
        expect(c(method, "/v1/conversations/none" + path, body, key=eve)[0], 404, f"{method} {path} of none, the same")
    eventually(lambda: is_listed(s, "bob", "d", type="direct", member_count=2, unread=0, last=None))


def left_alone(s):
    """Of a direct conversation whose other member was erased nobody can take the place; what was said goes on being there."""
    c, p = s.call, "/v1/conversations/alone"
    c("PUT", p, {"type": "direct", "members": ["stay", "goes"], "history": "all"})
    c("POST", p + "/messages", {"id": "a1", "from": "stay", "body": "mine"})
    expect(c("DELETE", "/v1/users/goes")[0], 204)
    eventually(lambda: expect(ids(c("GET", p + "/members")[1]), ["stay"]))
    for members in (["new"], ["stay", "goes"], ["new", "stay"]):
        expect(c("PUT", p, {"type": "direct", "members": members})[1]["field"], "members", str(members))
    expect(c("PUT", p, {"name": "alone", "members": ["stay"]})[0], 200, "it can still be changed")
    expect(c("POST", p + "/messages", {"from": "stay", "body": "to nobody"})[0], 201)
    eventually(lambda: is_listed(s, "stay", "alone", name="alone", unread=0))
    expect(c("GET", "/v1/users/new")[0], 404)


def made(s):
    """PUT makes and changes: absent fields stay, null clears, what cannot be changes nothing."""
    c = s.call
    path = "/v1/conversations/made"
    expect(c("PUT", path, {"members": ["m1"]})[1]["field"], "type", "a new one needs its type")
    for body, status, field in (({"type": "crowd"}, 422, "type"), ({"type": 1}, 400, "type"), ({"type": "group", "owner": "x"}, 400, "owner"),
                                ({"type": "group", "members": "m1"}, 400, "members"), ({"type": "group", "members": ["no spaces"]}, 422, "members"),
                                ({"type": "group", "members": [1]}, 400, "members"), ({"type": "group", "members": ["b b"]}, 422, "members"), ({"type": "group", "metadata": []}, 400, "metadata"),
                                ({"type": "group", "disappear_after": "soon"}, 422, "disappear_after"), ({"type": "group", "disappear_after": "0s"}, 422, "disappear_after"),
                                ({"type": "group", "history": "some"}, 422, "history"), ({"type": "group", "name": "n" * 257}, 413, "name"),
                                ({"type": "group", "metadata": {"a": "x" * 16384}}, 413, "metadata")):
        got, said = c("PUT", path, body)
        expect((got, said.get("field")), (status, field), f"{str(body)[:60]}")
    expect(c("GET", path)[0], 404, "nothing of these was made")
    status, whole = c("PUT", path, {"type": "group", "members": ["m1", "m2", "m1"], "name": "N", "metadata": {"a": [1, {"b": None}]}, "disappear_after": "90m", "history": "all"})
    expect((status, whole["member_count"], whole["disappear_after"], whole["history"]), (201, 2, "90m", "all"))
    expect(c("PUT", path, {})[1], whole, "absent fields stay")
    expect(c("GET", path)[1], {**whole, "last": None})
    status, less = c("PUT", path, {"name": None, "metadata": None, "disappear_after": None})
    expect((status, [k for k in ("name", "metadata", "disappear_after") if k in less], less["history"]), (200, [], "all"), "null clears")
    expect(c("PUT", path, {"name": "x" * 256, "metadata": {"a": "x" * 16000}})[0], 200, "up to the limits")
    expect(c("PUT", path, {"type": "channel"})[0], 409, "the type stays")
    c("PUT", path, {"name": "Néw", "metadata": {"k": 1}})
    for user in ("m1", "m2"):
        eventually(lambda: is_listed(s, user, "made", name="Néw", metadata={"k": 1}, member_count=2))


def roles(s):
    c = s.call
    own, adm, mem, out = (s.token(u, u + "1") for u in ("own", "adm", "mem", "out"))
    path = "/v1/conversations/g"
    member = lambda user, role, key: c("PUT", f"{path}/members/{user}", {} if role is None else {"role": role}, key=key)
    role_of = lambda user: {m["user"]: m["role"] for m in c("GET", path + "/members")[1]["items"]}.get(user)
    expect(c("PUT", path, {"type": "group", "members": ["mem"]}, key=own)[0], 201)
    expect((role_of("own"), role_of("mem")), ("owner", "member"), "who makes it owns it")
    expect(member("adm", "admin", own)[0], 201)
    expect(member("adm", "king", own)[0], 422)
    expect(member("adm", None, own), (200, {"user": "adm", "role": "admin"}), "an absent role stays")
    # a member may not add, promote, remove others, nor change the conversation
    expect([member("new", None, mem)[0], member("mem", "admin", mem)[0], c("DELETE", path + "/members/adm", key=mem)[0], c("PUT", path, {"name": "x"}, key=mem)[0],
            c("PUT", path, {"members": ["new"]}, key=mem)[0]], [403] * 5, "a member")
    # an admin may add, remove members and change it, but not make or touch owners
    expect([member("new", None, adm)[0], member("new", "admin", adm)[0], c("PUT", path, {"name": "x"}, key=adm)[0]], [201, 200, 200], "an admin")
    expect([member("adm", "owner", adm)[0], member("own", "member", adm)[0], c("DELETE", path + "/members/own", key=adm)[0]], [403] * 3, "an admin and the owner")
    expect(c("DELETE", path + "/members/new", key=adm)[0], 204)
    expect(c("DELETE", path + "/members/new", key=adm)[0], 204, "again")
    # an owner may hand it on
    expect(member("adm", "owner", own)[0], 200)
    expect(member("own", "member", adm)[0], 200, "the new owner")
    expect((role_of("own"), role_of("adm")), ("member", "owner"))
    expect(member("adm", "member", adm)[0], 409, "the last owner stays one while others are there")
    # to others it is not there; who leaves sees it no more, and may not come back alone
    expect([member("out", None, out)[0], c("GET", path, key=out)[0]], [404, 404])
    expect(c("DELETE", path + "/members/own", key=own)[0], 204, "leaving")
    expect([c("GET", path, key=own)[0], c("GET", path + "/messages", key=own)[0], member("own", None, own)[0]], [404] * 3, "who left")
    # the last owner leaves: the oldest of those left owns it
    expect(c("DELETE", path + "/members/adm", key=adm)[0], 204)
    expect(role_of("mem"), "owner", "an heir")
    expect(c("PUT", path, {"members": ["new"]}, key=mem)[0], 200)
    expect(c("DELETE", path + "/members/mem", key=mem)[0], 204)
    expect(role_of("new"), "owner")
    expect(c("DELETE", path + "/members/new")[0], 204)
    expect(c("GET", path)[1]["member_count"], 0, "an empty one")
    expect(c("PUT", path, {"members": ["mem"]})[0], 200, "and filled again")
    expect(role_of("mem"), "owner", "it is not without an owner")
    # deletes of messages: sender, admins and owners
    c("PUT", path, {"members": ["own", "adm"]})
    expect(member("adm", "admin", mem)[0], 200)
    eventually(lambda: is_listed(s, "own", "g"))
    for i, (sender, who, status) in enumerate((("own", own, 204), ("own", adm, 204), ("own", mem, 204), ("mem", own, 403), ("mem", adm, 204))):
        c("POST", path + "/messages", {"id": f"del{i}", "from": sender, "body": "x"})
        expect(c("DELETE", f"{path}/messages/del{i}", key=who)[0], status, f"delete {i}")
    c("POST", path + "/messages", {"id": "ed", "from": "own", "body": "x"})
    expect([c("PATCH", path + "/messages/ed", {"body": "y"}, key=k)[0] for k in (mem, adm, own)], [403, 403, 200], "only the sender edits")


def full_group(s):
    c = s.call
    some = [f"u{i}" for i in range(1023)]
    expect(c("PUT", "/v1/conversations/big", {"type": "group", "members": some + ["u1023", "u1024"], "name": "B"})[0], 422, "1,025 at once")
    expect(c("GET", "/v1/conversations/big")[0], 404, "nothing half done")
    expect(c("PUT", "/v1/conversations/big", {"type": "group", "members": some})[0], 201)
    status, said = c("PUT", "/v1/conversations/big", {"members": ["u1023", "u1024"], "name": "changed"})
    expect((status, said["type"]), (422, "/problems/limit-reached"))
    now = c("GET", "/v1/conversations/big")[1]
    expect((now["member_count"], now.get("name")), (1023, None), "nothing half done")
    expect(c("PUT", "/v1/conversations/big/members/last", {})[0], 201, "the 1,024th")
    expect(c("PUT", "/v1/conversations/big/members/more", {})[1]["type"], "/problems/limit-reached", "the 1,025th")
    expect(c("PUT", "/v1/conversations/big", {"members": ["more"]})[1]["type"], "/problems/limit-reached", "the 1,025th")
    expect(c("PUT", "/v1/conversations/big", {"members": ["last", "u0"]})[0], 200, "who is in it already does not count")
    expect(c("PUT", "/v1/conversations/big/members/last", {"role": "admin"})[0], 200)
    expect(c("GET", "/v1/users/u1024")[0], 404, "who was refused was not made")
    is_gone = lambda: expect(c("GET", "/v1/users/more")[0], 404, "who was refused was not made")
    is_gone()
    expect(c("DELETE", "/v1/conversations/big/members/u5")[0], 204)
    expect(c("PUT", "/v1/conversations/big/members/more", {})[0], 201, "there is room again")
    c("POST", "/v1/conversations/big/messages", {"from": "u0", "body": "all"})
    for user in ("u1", "u700", "last", "more"):
        eventually(lambda: is_listed(s, user, "big", unread=1, member_count=1024))
    eventually(lambda: is_not_listed(s, "u5", "big"))


def coming_and_going(s):
    c = s.call
    for history in ("from_join", "all"):
        g = "h-" + history
        path = "/v1/conversations/" + g
        c("PUT", path, {"type": "group", "members": ["hannah", "old"], "history": history})
        for i in range(3):
            expect(c("POST", path + "/messages", {"id": f"b{i}", "from": "hannah", "body": "before"})[1]["seq"], i + 1)
        expect(c("PUT", path + "/members/late", {})[0], 201)
        late = s.token("late", "l1")
        seen = lambda key: [m["seq"] for m in c("GET", path + "/messages", key=key)[1]["items"]]
        eventually(lambda: is_listed(s, "late", g, unread=0, read=3))
        all_seen = history == "all"
        expect(seen(late), [3, 2, 1] if all_seen else [], history)
        expect(c("GET", path + "/messages/b1", key=late)[0], 200 if all_seen else 404)
        expect(c("GET", path + "/messages?after=0", key=late)[1]["next"], None)
        eventually(lambda: is_listed(s, "late", g, last=c("GET", path + "/messages/b2")[1] if all_seen else None))
        for method, what in (("PUT", "/reactions/x"), ("GET", "/replies")):
            expect(c(method, f"{path}/messages/b1{what}", key=late)[0], 404 if not all_seen else 201 if method == "PUT" else 200, f"{method} {what} of before, {history}")
        expect(c("POST", path + "/messages", {"body": "re", "reply_to": "b1"}, key=late)[0], 201 if all_seen else 422, f"a reply to one of before, {history}")
        c("PUT", path + "/members/late", {"role": "admin"})
        expect(c("DELETE", path + "/messages/b2", key=late)[0], 204 if all_seen else 404, f"an admin deletes one of before, {history}")
        eventually(lambda: expect(len([e for e in entries(s, "old", "message") if e["message"]["conversation"] == g and e["event"] == "created"]), 4 if all_seen else 3))
        # who leaves keeps what reached them, and gets nothing more
        c("POST", path + "/messages", {"id": "mid", "from": "hannah", "body": "mid"})
        eventually(lambda: expect([e["message"]["body"] for e in entries(s, "late", "message") if e["message"]["conversation"] == g and e["message"]["id"] == "mid"], ["mid"]))
        expect(c("DELETE", path + "/members/late", key=late)[0], 204)
        eventually(lambda: is_not_listed(s, "late", g))
        had = [e["cursor"] for e in entries(s, "late", "message")]
        c("POST", path + "/messages", {"id": "gone", "from": "hannah", "body": "gone"})
        eventually(lambda: is_listed(s, "old", g, last=c("GET", path + "/messages/gone")[1]))
        expect([e["cursor"] for e in entries(s, "late", "message")], had, "nothing after leaving")
        expect(c("GET", path + "/messages", key=late)[0], 404)
        # and comes back: unread of between is not theirs, order goes on
        c("PUT", path + "/members/late", {})
        c("POST", path + "/messages", {"id": "again", "from": "hannah", "body": "again"})
        eventually(lambda: is_listed(s, "late", g, unread=1))
        top = c("GET", path)[1]["last_seq"]
        expect(seen(late), list(range(top, 0, -1)) if all_seen else [top], "after coming back")


def edited_before(s):
    """Who joined after a message learns of none of its edits where history is not shown, also not where others of their partition do."""
    c, path = s.call, "/v1/conversations/edited"
    late = [f"late{i}" for i in range(12)]
    c("PUT", path, {"type": "group", "members": ["hannah", *(f"early{i}" for i in range(100))]})
    c("POST", path + "/messages", {"id": "was", "from": "hannah", "body": "was"})
    for user in late:
        expect(c("PUT", f"{path}/members/{user}", {})[0], 201)
    expect(c("PATCH", path + "/messages/was", {"body": "is"})[0], 200)
    c("POST", path + "/messages", {"id": "new", "from": "hannah", "body": "new"})
    def of(user):
        return [(e["event"], e["message"]["id"]) for e in entries(s, user, "message") if e["message"]["conversation"] == "edited"]
    for user in late:
        eventually(lambda: expect(of(user)[-1:], [("created", "new")]))
        expect(of(user), [("created", "new")])
    eventually(lambda: expect(of("early0"), [("created", "was"), ("updated", "was"), ("created", "new")]))


def edited_before_and_shown(s):
    """Where history is shown, who joined later learns of each change of what was before, wherever they live."""
    c, path = s.call, "/v1/conversations/shown"
    late = [f"later{i}" for i in range(12)]
    c("PUT", path, {"type": "group", "history": "all", "members": ["hannah"]})
    for id in ("m1", "m2", "m3"):
        expect(c("POST", path + "/messages", {"id": id, "from": "hannah", "body": id})[0], 201)
    for user in late:
        expect(c("PUT", f"{path}/members/{user}", {})[0], 201)
    changes = [("m2", "again"), ("m1", "first"), ("m2", "once more"), ("m3", "third")]
    for id, body in changes:
        expect(c("PATCH", f"{path}/messages/{id}", {"body": body})[0], 200)
    expect(c("DELETE", path + "/messages/m1")[0] // 100, 2)
    last = {"m1": None, "m2": "once more", "m3": "third"}
    def of(user):
        return [(e["event"], e["message"]["id"], e["message"].get("body")) for e in entries(s, user, "message") if e["message"]["conversation"] == "shown"]
    for user in late:
        eventually(lambda: expect(of(user), [("updated", id, last[id]) for id, _ in changes] + [("deleted", "m1", None)]))


def told(s):
    """Who is added and removed hears of it, live and in the mailbox."""
    c = s.call
    d = Client(s.mqtt, "t1", s.token("told", "t1"))
    d.subscribe("users/told/#")
    c("PUT", "/v1/conversations/tell", {"type": "group", "members": ["teller"], "name": "T"})
    c("PUT", "/v1/conversations/tell/members/told", {})
    p = d.message()
    expect((p.topic, p.json()["event"], p.json()["id"], p.json()["name"]), ("users/told/conversations", "created", "tell", "T"))
    c("POST", "/v1/conversations/tell/messages", {"from": "teller", "body": "hi"})
    p = d.message()
    expect((p.topic, p.json()["event"], p.json()["seq"]), ("users/told/messages", "created", 1))
    c("DELETE", "/v1/conversations/tell/members/told")
    p = d.message()
    expect((p.topic, p.json()["event"], p.json()["id"]), ("users/told/conversations", "deleted", "tell"))
    c("POST", "/v1/conversations/tell/messages", {"from": "teller", "body": "without"})
    expect(d.message(0.5), None, "nothing after leaving")
    d.disconnect()


def story(s):
    for part in (direct, left_alone, made, roles, full_group, coming_and_going, edited_before, edited_before_and_shown, told):
        part(s)


both(story)

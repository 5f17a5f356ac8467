"""Notifications: triggers to people, topics, followers and everyone; grouping, collapsing, digests, caps, marks, counts, cancelling, why."""
import json
import time

import mqtt
from harness import Server, eventually, expect

s = Server()
EN = lambda title, body="": {"en": {"title": title, "body": body}}


def workflow(id, **more):
    status, said = s.call("PUT", f"/v1/workflows/{id}", {"channels": ["inapp"], "templates": EN("{actor}: " + id), **more})
    assert status in (200, 201), said


def trigger(workflow, to, **more):
    to = {"users": to} if isinstance(to, list) else to
    status, said = s.call("POST", "/v1/notifications", {"workflow": workflow, "to": to, **more})
    expect(status, 202, said)
    return said["id"]


def inbox(user, state=""):
    status, said = s.call("GET", f"/v1/users/{user}/notifications" + (f"?state={state}" if state else ""))
    expect(status, 200, said)
    return said


def titles(user, state=""):
    return [n["title"] for n in inbox(user, state)["items"]]


def counts(user):
    n = inbox(user)["counts"]
    return n["unseen"], n["unread"]


def why(id, user):
    status, said = s.call("GET", f"/v1/notifications/{id}/why/{user}")
    expect(status, 200, said)
    return [d["decision"] for d in said["items"]]


def totals(id):
    status, said = s.call("GET", f"/v1/notifications/{id}")
    expect(status, 200, said)
    return said


def mark(user, how, **what):
    status, said = s.call("POST", f"/v1/users/{user}/notifications/{how}", what)
    expect(status, 200, said)
    return said


def grouping():
    likes = "{others, plural, =0 {{actor} likes {object}} one {{actor} and # other like {object}} other {{actor} and # others like {object}}}"
    workflow("like", group_by="object", templates=EN(likes))
    for name in ("ann", "bob", "cat"):
        s.call("PUT", f"/v1/users/{name}", {"name": name.capitalize()})
    first = trigger("like", ["mia"], actor="ann", object="a tree")
    expect(titles("mia"), ["Ann likes a tree"])
    for actor in ("bob", "cat", "bob"):
        trigger("like", ["mia"], actor=actor, object="a tree")
    trigger("like", ["mia"], actor="ann", object="a house")
    expect(titles("mia"), ["Ann likes a house", "Bob and 2 others like a tree"])
    tree = inbox("mia")["items"][1]
    expect((tree["id"], tree["actors"]), (first, {"count": 3, "newest": ["bob", "cat", "ann"]}))
    many = [{"workflow": "like", "to": {"users": ["mia"]}, "actor": f"u{n}", "object": "a tree"} for n in range(150)]
    status, said = s.call("POST", "/v1/notifications/batch", {"items": many})
    assert status == 202 and len(said["items"]) == 150, said

    def joined():
        expect(inbox("mia")["items"][0]["actors"]["count"], 153, "each actor counts once, however many")
    eventually(joined)
    expect(counts("mia"), (2, 2), "a group is one")
    mark("mia", "read", ids=[first])
    trigger("like", ["mia"], actor="dan", object="a tree")
    expect(titles("mia")[0], "dan likes a tree", "what was read is done with")
    undo = trigger("like", ["mia"], actor="eve", object="a tree")
    expect(titles("mia")[0], "eve and 1 other like a tree")
    expect(s.call("DELETE", f"/v1/notifications/{undo}")[0], 204)
    expect(titles("mia")[0], "dan likes a tree", "who takes it back is counted no more")


def undoing():
    """A group whose newest trigger is taken back shows the newest that is left, and says so to who looks on; none left: it goes."""
    workflow("talk", group_by="object", templates=EN("{actor}: {words}"))
    phone = mqtt.Client(s.mqtt, "mia-phone", s.token("mia", "mia-phone"))
    phone.subscribe("users/mia/notifications", qos=1)
    ids = [trigger("talk", ["mia"], actor=actor, object="a song", data={"words": words}) for actor, words in (("ann", "one"), ("bob", "two"), ("cat", "three"), ("dan", "four"))]
    expect([m.json()["title"] for m in phone.messages(4)], ["Ann: one", "Bob: two", "Cat: three", "dan: four"])
    undo = lambda n: expect(s.call("DELETE", f"/v1/notifications/{ids[n]}")[0], 204)
    for n, title, actors in ((3, "Cat: three", 3), (1, "Cat: three", 2), (2, "Ann: one", 1)):
        undo(n)
        row = inbox("mia")["items"][0]
        expect((row["id"], row["title"], row["actors"]["count"]), (ids[0], title, actors))
        told = phone.message().json()
        expect((told["event"], told["id"], told["title"], told["actors"]["count"]), ("updated", ids[0], title, actors), "live")
    undo(0)
    expect(phone.message().json()["event"], "deleted")
    expect([n["id"] for n in inbox("mia")["items"] if n["workflow"] == "talk"], [])


def leaving():
    """Who left a topic, or follows no more, loses what is cancelled of before: merged into their inbox or not, told of it one by one, or grouped with another's."""
    workflow("leave", templates=EN("{words}"))
    workflow("leave-each", templates=EN("{words}"), cap={"count": 100, "per": "day"})
    workflow("leave-group", group_by="object", templates=EN("{words}"))
    s.call("POST", "/v1/topics/fish/users", {"add": ["lea", "leo"]})
    s.call("PUT", "/v1/users/lea/follows/fay")
    to, other = {"topic": "fish"}, {"followers_of": "fay"}
    gone = [trigger(flow, whom, data={"words": "gone"}, object=flow) for flow in ("leave", "leave-each", "leave-group") for whom in (to, other)]
    first = trigger("leave-group", ["lea"], data={"words": "first"}, object="o")
    gone.append(trigger("leave-group", to, data={"words": "gone"}, object="o"))
    kept = trigger("leave", to, data={"words": "kept"})
    eventually(lambda: expect(sorted(titles("lea")), ["gone"] * 6 + ["kept"]))
    s.call("POST", "/v1/users/lea/notifications/archived", {"ids": [kept]})  # which stores what was only merged
    for _ in range(2):  # and comes and goes: nothing is taken twice
        expect(s.call("DELETE", "/v1/topics/fish/users/lea")[0], 204)
        s.call("PUT", "/v1/topics/fish/users/lea")
    for path in ("topics/fish/users/lea", "topics/fish/users/leo", "users/lea/follows/fay"):
        expect(s.call("DELETE", "/v1/" + path)[0], 204)
    for id in gone:
        expect(s.call("DELETE", f"/v1/notifications/{id}")[0], 204)
    eventually(lambda: expect((sorted(titles("lea")), titles("leo")), (["first", "kept"], ["kept"])))
    expect((counts("lea"), counts("leo")), ((1, 1), (1, 1)))
    expect({n["title"]: n["id"] for n in inbox("lea")["items"]}, {"kept": kept, "first": first})
    expect(why(gone[1], "lea")[-1:], ["cancelled"])


def reckoning():
    """Totals of what inboxes merge know what stands against it before anybody looks; and say the same afterwards."""
    workflow("reck", templates=EN("{actor}"))
    users = [f"reck{n}" for n in range(6)]
    s.call("POST", "/v1/topics/reckon/users", {"add": users})
    s.call("PUT", "/v1/users/reck1/mutes/max")
    s.call("PUT", "/v1/users/reck2/blocks/max")
    for user in users[3:5]:
        expect(s.call("PUT", f"/v1/users/{user}/preferences", {"workflows": {"reck": {"inapp": False}}})[0], 200)
    def of(id):
        t = totals(id)
        return t["recipients"], t["delivered"], {k: n for k, n in t["held_back"].items() if n}
    end = time.time() + 5
    brief = trigger("reck", {"topic": "reckon"}, actor="max", expires_at=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(end)) + f".{int(end * 1000) % 1000:03}Z")
    id = trigger("reck", {"topic": "reckon"}, actor="max")
    s.call("PUT", "/v1/topics/reckon/users/reck-late")
    want = (6, 2, {"muted": 1, "blocked": 1, "opted_out": 2})
    for which in (id, brief):
        eventually(lambda: expect(of(which), want))
    expect(mark("reck0", "seen", ids=[id])["counts"]["unseen"], 1)
    for user in users[1:4]:
        mark(user, "seen", ids=["none"])  # which stores what they got
    expect(of(id), want, "told the same by those who looked")
    time.sleep(max(0, end - time.time()))
    eventually(lambda: expect(of(brief), (6, 1, {"muted": 1, "blocked": 1, "opted_out": 1, "expired": 2})))
    expect(of(id), want)


def unreachable():
    """Whom a trigger reaches by no channel stands in its totals; who has it in the inbox does not."""
    workflow("pushed", channels=["push", "email"])
    workflow("both", channels=["inapp", "push"])
    s.call("PUT", "/v1/users/mai", {"email": "mai@example.com"})
    for to, want in ((["una"], 1), (["una", "uri", "mai"], 2)):
        id = trigger("pushed", to)
        eventually(lambda: expect(totals(id)["held_back"]["no_address"], want, to))
    id = trigger("both", ["una", "uri"])
    eventually(lambda: expect(totals(id)["delivered"], 2))
    expect(totals(id)["held_back"]["no_address"], 0)


def collapsing():
    workflow("score", templates=EN("{goals, number} goals"))
    old = trigger("score", ["noa"], data={"goals": 1}, collapse_key="game 7")
    trigger("score", ["noa"], data={"goals": 2}, collapse_key="game 7")
    trigger("score", ["noa"], data={"goals": 9}, collapse_key="game 8")
    expect(titles("noa"), ["9 goals", "2 goals"], "what was not seen gives way")
    expect(counts("noa"), (2, 2))
    expect(why(old, "noa"), ["delivered", "replaced"])
    t = totals(old)
    expect((t["recipients"], t["delivered"], t["held_back"]["collapsed"]), (1, 0, 1), "counted once")
    mark("noa", "seen", upto=inbox("noa")["items"][0]["id"])
    trigger("score", ["noa"], data={"goals": 3}, collapse_key="game 7")
    expect(titles("noa"), ["3 goals", "9 goals", "2 goals"], "what was seen stays")
    expect(counts("noa"), (1, 3))


def marking():
    workflow("hello")
    ids = [trigger("hello", ["pia"], actor="ann") for _ in range(5)]
    expect(counts("pia"), (5, 5))
    expect(mark("pia", "read", ids=[ids[0], ids[2], "nothing"])["changed"], 2)
    expect(mark("pia", "read", ids=[ids[0]])["changed"], 0, "once is for good")
    expect(counts("pia"), (3, 3))
    expect(mark("pia", "seen", upto=ids[3])["counts"], {"unseen": 1, "unread": 3})
    expect(mark("pia", "archived", ids=[ids[4]])["counts"], {"unseen": 0, "unread": 2})
    expect(len(titles("pia", "archived")), 1)
    expect(len(titles("pia", "unarchived")), 4)
    expect([n["id"] for n in inbox("pia", "unread")["items"]], [ids[3], ids[1]])
    mark("pia", "clicked", ids=[ids[1]])
    said = totals(ids[1])
    expect([said[k] for k in ("recipients", "delivered", "seen", "read", "clicked")], [1, 1, 1, 1, 1])
    expect(s.call("POST", "/v1/users/pia/notifications/read", {"upto": "nothing"})[0], 404)
    expect(s.call("POST", "/v1/users/pia/notifications/read", {})[0], 422)
    page = s.call("GET", "/v1/users/pia/notifications?limit=2")[1]
    seen = [n["id"] for n in page["items"]]
    while page["next"]:
        page = s.call("GET", f"/v1/users/pia/notifications?limit=2&cursor={page['next']}")[1]
        seen += [n["id"] for n in page["items"]]
    expect(seen, ids[::-1], "a cursor walks each once")


def audiences():
    workflow("news", templates=EN("News {n}"))
    expect(s.call("POST", "/v1/topics/cats/users", {"add": [f"c{n}" for n in range(40)]})[0], 200)
    for n in range(20):
        s.call("PUT", f"/v1/users/f{n}/follows/star")
    topic = trigger("news", {"topic": "cats"}, data={"n": 1}, id="to-cats")
    fans = trigger("news", {"followers_of": "star"}, data={"n": 2})
    everyone = trigger("news", {"everyone": True}, data={"n": 3})
    s.call("PUT", "/v1/topics/cats/users/late")

    def there():
        for n in range(40):
            expect((titles(f"c{n}"), counts(f"c{n}")), (["News 3", "News 1"], (2, 2)), f"c{n}")
        for n in range(20):
            expect(titles(f"f{n}"), ["News 3", "News 2"], f"f{n}")
        expect(totals(topic)["recipients"], 40)
    eventually(there)
    expect(titles("late"), [], "who joins later does not get it")
    trigger("news", {"topic": "cats"}, data={"n": 4})
    eventually(lambda: expect(titles("late"), ["News 4"]))
    expect(titles("c0"), ["News 4", "News 3", "News 1"])
    expect(why(topic, "c7"), ["delivered"])
    mark("c7", "read", upto=topic)
    expect(counts("c7"), (2, 2), "the older ones only")
    expect(why(topic, "c7"), ["delivered", "seen", "read"])
    s.call("PUT", "/v1/users/f3/mutes/star")
    muted = trigger("news", {"followers_of": "star"}, actor="star", data={"n": 5})
    eventually(lambda: expect(titles("f4"), ["News 5", "News 3", "News 2"]))
    expect(titles("f3"), ["News 3", "News 2"], "who mutes the actor is not told")
    expect(counts("f3"), (2, 2))
    expect(why(muted, "f3"), ["muted"])
    expect(s.call("DELETE", f"/v1/notifications/{everyone}")[0], 204)

    def gone():
        for user in ("c0", "c7", "f0", "f19"):
            assert "News 3" not in titles(user), user
            expect(counts(user)[0], len([n for n in inbox(user)["items"] if "seen_at" not in n]), user)
    eventually(gone)
    expect(totals(everyone)["state"], "cancelled")


def digests():
    workflow("comment", digest={"window": "2s", "first_at_once": True}, templates=EN("{count, plural, one {{actor}} other {{actor} and # in all}}"))
    first = [trigger("comment", ["ria"], actor=f"a{n}") for n in range(5)]
    expect(titles("ria"), ["a0"], "the first at once")
    expect(totals(first[2])["held"], 1)
    s.call("PUT", "/v1/users/ria/blocks/a4")
    eventually(lambda: expect(titles("ria"), ["a3 and 3 in all", "a0"]))
    expect(why(first[4], "ria")[-1], "blocked", "a block that came meanwhile wins")
    expect(totals(first[2])["held"], 0)
    workflow("window", digest={"window": "2s"})
    one = trigger("window", ["ria"], actor="ann")
    two = trigger("window", ["ria"], actor="bob")
    expect(s.call("DELETE", f"/v1/notifications/{two}")[0], 204)
    expect(len(titles("ria")), 2, "nothing before the window's end")
    eventually(lambda: expect(titles("ria")[0], "Ann: window"))
    expect(why(one, "ria")[0], "digest_opened")


def taken_back():
    """What is cancelled goes from who has not seen it; who has, keeps it."""
    workflow("back")
    id = trigger("back", ["tess", "tove"], actor="ann")
    eventually(lambda: expect((titles("tess"), titles("tove")), (["Ann: back"], ["Ann: back"])))
    mark("tess", "seen", ids=[id])
    expect(s.call("DELETE", f"/v1/notifications/{id}")[0], 204)
    eventually(lambda: expect(titles("tove"), []))
    expect((titles("tess"), counts("tess"), counts("tove")), (["Ann: back"], (0, 1), (0, 0)))
    expect((why(id, "tess"), why(id, "tove")), (["delivered", "seen"], ["delivered", "cancelled"]))


def later():
    workflow("soon")
    at = time.time() + 4
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + ".%03dZ" % (at % 1 * 1000)
    ids = [trigger("soon", ["sue"], actor="ann", send_at=stamp), trigger("soon", ["sue", "tim"], actor="bob", send_at=stamp),
           trigger("soon", ["sue"], actor="cat", send_at=stamp)]
    expect(s.call("DELETE", f"/v1/notifications/{ids[2]}")[0], 204)
    expect((titles("sue"), totals(ids[1])["state"]), ([], "scheduled"))
    t = totals(ids[2])
    expect((t["state"], t["recipients"], t["held_back"]["cancelled"]), ("cancelled", 1, 1))
    expect(why(ids[2], "sue"), ["cancelled"])
    expect([totals(id)["recipients"] for id in ids[:2]], [1, 2], "whom it names, while it waits")
    expect([why(id, "sue") for id in ids[:2]], [["scheduled"], ["scheduled"]])
    expect(why(ids[1], "uma"), [])
    workflow("gone")
    gone = [trigger("gone", ["una"], send_at=stamp), trigger("gone", ["una", "ula"], send_at=stamp)]
    call_off = trigger("soon", ["una", "ula"], send_at=stamp)
    expect(s.call("DELETE", f"/v1/notifications/{call_off}")[0], 204)
    t = totals(call_off)
    expect((t["state"], t["recipients"], t["held_back"]["cancelled"]), ("cancelled", 2, 2))
    expect(s.call("GET", f"/v1/notifications/{call_off}/why/una")[1]["reason"], "the trigger was cancelled before it came to this person")
    expect(s.call("DELETE", "/v1/workflows/gone")[0], 204)
    eventually(lambda: expect((sorted(titles("sue")), titles("tim")), (["Ann: soon", "Bob: soon"], ["Bob: soon"])))
    workflow("brief", expires_after="2s")
    brief = trigger("brief", ["sue"], actor="ann")
    expect(counts("sue"), (3, 3))
    eventually(lambda: expect(counts("sue"), (2, 2), "what has expired is not counted"))
    expect(len(titles("sue")), 2)
    expect(why(brief, "sue"), ["delivered", "expired"], "also when it expired in the inbox")
    for id, n in zip(gone, (1, 2)):
        eventually(lambda: expect(why(id, "una"), ["workflow_deleted"]))
        t = totals(id)
        expect((t["recipients"], t["delivered"], t["held_back"]["cancelled"]), (n, 0, n))
    status, said = s.call("POST", "/v1/notifications", {"workflow": "soon", "to": {"users": ["sue"]}, "expires_at": "2020-01-01T00:00:00Z"})
    expect((status, said["field"]), (422, "expires_at"))


def caps():
    workflow("offer", cap={"count": 2, "per": "day"})
    ids = [trigger("offer", ["uma"], actor="ann") for _ in range(4)]
    expect(len(titles("uma")), 2)
    expect([why(i, "uma") for i in ids], [["delivered"], ["delivered"], ["capped"], ["capped"]])
    expect(totals(ids[3])["held_back"]["capped"], 1)


def once():
    workflow("pay")
    body = {"id": "order-7", "workflow": "pay", "to": {"users": ["vic", "wim"]}, "actor": "ann"}
    for _ in range(3):
        expect(s.call("POST", "/v1/notifications", body), (202, {"id": "order-7", "recipients": 2}))
    status, said = s.call("POST", "/v1/notifications", {**body, "to": {"users": ["vic"]}})
    expect(status, 409, said)
    eventually(lambda: expect((len(titles("vic")), len(titles("wim"))), (1, 1)))
    twice = [trigger("pay", users, actor="ann") for users in (["zac", "zac", "zed"], ["zac", "zac"])]
    eventually(lambda: expect((len(titles("zac")), counts("zac"), len(titles("zed"))), (2, (2, 2), 1), "who is named twice is told once"))
    expect([totals(id)["recipients"] for id in twice], [2, 1])
    expect([s.call("DELETE", f"/v1/notifications/{id}")[0] for id in twice], [204, 204])
    eventually(lambda: expect((titles("zac"), titles("zed"), counts("zac")), ([], [], (0, 0))))
    plain = {"workflow": "pay", "to": {"users": ["xia"]}}
    first = s.call("POST", "/v1/notifications", plain, headers={"Idempotency-Key": "k1"})[1]["id"]
    expect(s.call("POST", "/v1/notifications", plain, headers={"Idempotency-Key": "k1"})[1]["id"], first)
    status, said = s.call("POST", "/v1/notifications", {**plain, "object": "x"}, headers={"Idempotency-Key": "k1"})
    expect((status, said["field"]), (409, "Idempotency-Key"))
    many = {"items": [{"workflow": "pay", "to": {"users": ["xeno"]}, "object": o} for o in "ab"]}
    first = s.call("POST", "/v1/notifications/batch", many, headers={"Idempotency-Key": "k2"})
    expect((first[0], s.call("POST", "/v1/notifications/batch", many, headers={"Idempotency-Key": "k2"})), (202, first))
    many["items"][0]["object"] = "c"
    status, said = s.call("POST", "/v1/notifications/batch", many, headers={"Idempotency-Key": "k2"})
    expect((status, said["field"]), (409, "Idempotency-Key"))
    eventually(lambda: expect(len(titles("xia")), 1))
    expect(counts("xeno"), (2, 2))
    status, said = s.call("POST", "/v1/notifications/batch", json.dumps({"items": [plain, {"workflow": "no", "to": {"users": ["xia"]}}, {"to": {}}]}).encode())
    expect((status, [n.get("status") for n in said["items"]]), (202, [None, 404, 422]))
    for body, field in (({"workflow": "pay", "to": {"users": []}}, "to.users"), ({"workflow": "pay", "to": {"users": ["a"], "topic": "b"}}, "to"),
                        ({"workflow": "pay"}, "to"), ({"workflow": "pay", "to": {"everyone": False}}, "to")):
        status, said = s.call("POST", "/v1/notifications", body)
        expect((status, said["field"]), (422, field), body)


def words():
    """What was checked with the trigger is shown: a time, and also when the workflow has changed since."""
    s.call("PUT", "/v1/users/zoe", {"locale": "de-AT"})
    set_words = lambda en, de: workflow("date", templates={"en": {"title": en}, "de": {"title": de}})
    set_words("on {when, date, long}", "am {when, date, long}")
    one = trigger("date", ["zoe"], data={"when": "2027-03-04T09:00:00Z"})
    trigger("date", ["yve", "zoe"], data={"when": "2027-03-05T09:00:00Z"})
    eventually(lambda: expect((titles("zoe"), titles("yve")), (["am 5. März 2027", "am 4. März 2027"], ["on March 5, 2027"])))
    set_words("at {when, time, short}", "um {when, time, short}")
    s.call("PUT", "/v1/users/yve", {"timezone": "Asia/Tokyo", "locale": "de"})
    s.call("PUT", "/v1/users/zoe", {"timezone": "Europe/Vienna"})
    s.call("POST", "/v1/topics/clocks/users", {"add": ["yve", "zoe", "utc"]})
    phones = {user: mqtt.Client(s.mqtt, user + "s", s.token(user, user + "s")) for user in ("yve", "zoe")}
    for user, c in phones.items():
        c.subscribe(f"users/{user}/notifications", qos=1)
    trigger("date", {"topic": "clocks"}, data={"when": "2027-07-04T09:00:00Z"})
    expect([c.message().json()["title"] for c in phones.values()], ["um 18:00", "um 11:00"], "by the clocks where they live")
    eventually(lambda: expect([titles(user)[:1] for user in ("zoe", "yve", "utc")], [["um 11:00"], ["um 18:00"], ["at 9:00\u202fAM"]]))
    for c in phones.values():
        c.disconnect()
    set_words("at {when, number} {actor}", "um {when, number} {actor}")
    expect(titles("zoe")[1], "um 0 ", "what it was not made for is shown as nothing")
    set_words("on {when}", "am {when}")
    expect(titles("yve")[1:], ["am 2027-03-05T09:00:00Z"])
    s.call("PUT", "/v1/users/zoe/preferences", {"workflows": {"date": {"inapp": False}}})
    workflow("passing", templates=EN("soon without words"))
    gone = trigger("passing", ["yve"])
    expect(s.call("DELETE", "/v1/workflows/passing")[0], 204)
    expect([(n["id"], n["title"], n["body"]) for n in inbox("yve")["items"]][0], (gone, "", ""), "its workflow is gone")
    no = trigger("date", ["zoe"], data={"when": "x"})
    expect([d["reason"] for d in s.call("GET", f"/v1/notifications/{no}/why/zoe")[1]["items"]], ["the person opted out of this workflow"])
    expect(why(one, "zoe"), ["delivered"])


def live():
    workflow("ping", group_by="object")
    s.call("POST", "/v1/topics/dogs/users", {"add": ["yan"]})
    one, two = (mqtt.Client(s.mqtt, name, s.token("yan", name)) for name in ("phone", "tab"))
    for c in (one, two):
        c.subscribe("users/yan/notifications", qos=1)
    backend = mqtt.Client(s.mqtt, "backend", s.key)
    send = lambda body: backend.publish("notifications", body).reason
    expect(send({"workflow": "ping", "to": {"users": ["yan"]}, "actor": "ann", "object": "x"}), 0)
    expect(send({"workflow": "ping", "to": {"topic": "dogs"}, "actor": "bob", "object": "y"}), 0)
    expect(send({"items": [{"workflow": "ping", "to": {"users": ["yan"]}, "actor": "bob", "object": "x"}] * 2}), 0)
    assert send({"workflow": "none", "to": {"users": ["yan"]}}) >= 0x80
    assert send({"items": [{"workflow": "none", "to": {"users": ["yan"]}}]}) >= 0x80
    for c in (one, two):
        got = [m.json() for m in c.messages(4)]
        assert [n["event"] for n in got] == ["created", "created", "updated", "updated"], got
        expect([(n["event"], n["actors"]["count"], n["counts"]["unseen"]) for n in got],
               [("created", 1, 1), ("created", 1, 2), ("updated", 2, 2), ("updated", 2, 2)])
    first = got[0]["id"]
    mark("yan", "read", ids=[first])
    for c in (one, two):
        said = c.message().json()
        expect((said["marked"], said["ids"], said["counts"]), ("read", [first], {"unseen": 1, "unread": 1}))
    end = time.time() + 1.5
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(end)) + ".%03dZ" % (end % 1 * 1000)
    ids = [trigger("ping", to, object=f"brief {n}", expires_at=stamp) for n, to in enumerate((["yan"], {"topic": "dogs"}))]
    for c in (one, two):
        expect([m.json()["counts"] for m in c.messages(2)], [{"unseen": 2, "unread": 2}, {"unseen": 3, "unread": 3}])
        said = [m.json() for m in c.messages(2)]
        expect(sorted((n["event"], n["id"], n["reason"], n["counts"]["unseen"]) for n in said), sorted(("deleted", id, "expired", 1) for id in ids))
    token = s.token("yan", "phone")
    expect(s.call("POST", "/v1/users/yan/notifications/seen", {"upto": first}, key=token)[0], 200)
    expect(s.call("GET", "/v1/users/ann/notifications", key=token)[0], 403)
    expect(s.call("POST", "/v1/notifications", {"workflow": "ping", "to": {"users": ["ann"]}}, key=token)[0], 403)


def outside():
    """Who was not in the audience is told so, wherever they live, once it has reached all of it."""
    for user in ("mia", "noa", "pia", "ria", "late"):
        eventually(lambda: expect(why("to-cats", user), ["not_in_audience"], user))


def kept():
    before = {user: inbox(user) for user in ("mia", "noa", "pia", "c7", "f3", "ria", "yan")}
    s.kill()
    s.start()
    for user, said in before.items():
        expect(inbox(user), said, f"{user} after kill -9")
    s.stop()
    s.check()
    s.start()
    for user, said in before.items():
        expect(inbox(user), said, f"{user} after a restart")


for story in (grouping, undoing, leaving, reckoning, unreachable, collapsing, marking, audiences, digests, taken_back, later, caps, once, words, live, outside, kept):
    story()
s.close()

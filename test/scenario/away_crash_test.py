"""Who was away when a message came is told of it once: whoever blocks, leaves or reads meanwhile, whether the phone said goodbye or vanished, and when the server dies in
the middle of a storm of messages."""
import threading
import time
import urllib.error
from harness import Server, expect, eventually
from mqtt import Client


def post(s, conversation, who, text, **more):
    status, said = s.call("POST", f"/v1/conversations/{conversation}/messages", {"from": who, "body": text, **more})
    assert status in (200, 201), said
    return said


def told(s, user):
    """(text, who) of what stands in the inbox, oldest first."""
    items, cursor = [], ""
    while cursor is not None:
        status, page = s.call("GET", f"/v1/users/{user}/notifications?limit=200" + cursor)
        expect(status, 200, page)
        items += page["items"]
        cursor = page["next"] and "&cursor=" + page["next"]
    return [(n["data"]["text"], n.get("actor")) for n in items][::-1]


def settles(s, user, want):
    eventually(lambda: expect(told(s, user), want, user))


def nobody_without_the_workflow(s):
    expect(s.call("PUT", "/v1/conversations/g", {"type": "group", "members": ["ann", "bob", "cid"], "name": "Friends"})[0], 201)
    expect(s.call("PUT", "/v1/conversations/d", {"type": "direct", "members": ["ann", "bob"]})[0], 201)
    expect(s.call("PUT", "/v1/conversations/c", {"type": "channel", "members": ["ann", "bob"]})[0], 201)
    s.call("PUT", "/v1/users/bob", {"name": "Bob"})
    post(s, "g", "bob", "before")
    time.sleep(.3)
    expect(s.call("PUT", "/v1/workflows/message", {"channels": ["inapp"], "priority": "normal", "templates": {"en": {"title": "{actor}", "body": "{text}"}}})[0], 201)
    expect(told(s, "ann"), [], "the app had no workflow `message`")


def who_is_away_is_told(s):
    phone = Client(s.mqtt, "cid-phone", s.token("cid", "cid-phone"))
    phone.subscribe("users/cid/#")
    post(s, "g", "bob", "hello")
    post(s, "d", "bob", "only you")
    post(s, "c", "bob", "a channel is not told of")
    settles(s, "ann", [("hello", "bob"), ("only you", "bob")])
    item = s.call("GET", "/v1/users/ann/notifications")[1]["items"][1]
    expect((item["workflow"], item["title"], item["body"], item["data"]["conversation"], item["data"]["type"]), ("message", "Bob", "hello", "g", "group"))
    expect(told(s, "bob"), [], "nobody is told what they said")
    expect([p.json()["body"] for p in phone.exactly(1, topic="/messages")], ["hello"])
    expect(told(s, "cid"), [], "a device of theirs had it")
    phone.disconnect()
    expect(s.call("PUT", "/v1/users/ann/conversations/g", {"muted_until": "2099-01-01T00:00:00Z"})[0], 200)
    expect(s.call("PUT", "/v1/users/ann/blocks/bob")[0], 201)
    post(s, "g", "bob", "again")
    settles(s, "cid", [("again", "bob")])
    expect(len(told(s, "ann")), 2, "muted, and blocked")
    s.call("DELETE", "/v1/users/ann/blocks/bob")
    expect(s.call("PUT", "/v1/users/ann/conversations/g", {"muted_until": None})[0], 200)


def what_is_read_goes(s):
    last = post(s, "g", "bob", "third")
    settles(s, "cid", [("again", "bob"), ("third", "bob")])
    expect(s.call("POST", "/v1/conversations/g/receipts?user=cid", {"read": last["seq"] - 1})[0], 200)
    settles(s, "cid", [("third", "bob")])
    expect(s.call("POST", "/v1/conversations/g/receipts?user=cid", {"read": last["seq"]})[0], 200)
    settles(s, "cid", [])
    before = told(s, "ann")
    expect(s.call("DELETE", "/v1/conversations/g/members/ann")[0], 204)
    eventually(lambda: expect([t for t in told(s, "ann") if t not in [("hello", "bob"), ("third", "bob")]], [("only you", "bob")], f"who has left is told no more: {before}"))


def what_is_deleted_goes(s):
    expect(s.call("PUT", "/v1/conversations/del", {"type": "group", "members": ["bob", "eva", "fay", "gil"]})[0], 201)
    post(s, "del", "eva", "stays")
    gone = post(s, "del", "bob", "a secret")
    post(s, "del", "fay", "of who is erased")
    settles(s, "gil", [("stays", "eva"), ("a secret", "bob"), ("of who is erased", "fay")])
    ids = {n["data"]["text"]: n["id"] for n in s.call("GET", "/v1/users/gil/notifications")[1]["items"]}
    expect(s.call("POST", "/v1/users/gil/notifications/read", {"ids": [ids["a secret"]]})[0], 200)
    expect(s.call("DELETE", f"/v1/conversations/del/messages/{gone['id']}?user=bob")[0], 204)
    settles(s, "gil", [("stays", "eva"), ("of who is erased", "fay")])
    expect(s.call("DELETE", "/v1/users/fay")[0], 204)
    settles(s, "gil", [("stays", "eva")])


def a_phone_vanishes(s):
    """It was sent the message, and never acknowledged it."""
    phone = Client(s.mqtt, "dan-phone", s.token("dan", "dan-phone"))
    phone.subscribe("users/dan/#")
    expect(s.call("PUT", "/v1/conversations/dd", {"type": "direct", "members": ["dan", "bob"]})[0], 201)
    post(s, "dd", "bob", "acknowledged")
    eventually(lambda: expect(phone.message(1).json().get("body"), "acknowledged"))
    post(s, "dd", "bob", "not acknowledged")
    expect(phone.message(ack=False).json()["body"], "not acknowledged")
    expect(told(s, "dan"), [], "while it is connected")
    phone.drop()
    settles(s, "dan", [("not acknowledged", "bob")])
    deaf = Client(s.mqtt, "dan-watch", s.token("dan", "dan-watch"))
    deaf.subscribe("users/dan/receipts")
    post(s, "dd", "bob", "to a watch that hears no messages")
    settles(s, "dan", [("not acknowledged", "bob"), ("to a watch that hears no messages", "bob")])
    deaf.disconnect()


def crashes_in_a_storm(s):
    """Some write on, and send again what was not answered; the server dies under them."""
    people, groups = [f"p{i}" for i in range(6)], [f"storm{i}" for i in range(4)]
    for g in groups:
        expect(s.call("PUT", "/v1/conversations/" + g, {"type": "group", "members": people + ["bob"]})[0], 201)
    sent, over = {g: [] for g in groups}, threading.Event()

    def writes(g):
        while not over.is_set():
            n = len(sent[g])
            try:
                post(s, g, "bob", f"{g}-{n}", id=f"{g}-{n}")
                sent[g].append(f"{g}-{n}")
            except (urllib.error.URLError, OSError, AssertionError):
                time.sleep(.02)
    writers = [threading.Thread(target=writes, args=(g,)) for g in groups]
    for w in writers:
        w.start()
    for _ in range(4):
        time.sleep(.25)
        s.kill()
        s.start()
    time.sleep(.2)
    over.set()
    for w in writers:
        w.join()
    total = sum(map(len, sent.values()))
    assert 40 <= total, f"it was hardly written: {total}"
    newest = {g: list_[-40:] for g, list_ in sent.items()}  # an inbox keeps some 1,000 rows

    def complete(person):
        texts = told(s, person)
        expect(len(set(texts)), len(texts), f"{person} is told nothing twice")
        for g in groups:
            expect([t for t, _ in texts if t.startswith(g + "-")][-len(newest[g]):], newest[g], f"{person}, {g}: each of {len(sent[g])}, in order")
    for person in people:
        eventually(lambda: complete(person))


s = Server()
nobody_without_the_workflow(s)
who_is_away_is_told(s)
what_is_read_goes(s)
what_is_deleted_goes(s)
a_phone_vanishes(s)
crashes_in_a_storm(s)
s.stop()
s.check()
s.close()

"""Users: profiles whose absent fields stay, relations in pages, an export that holds everything, an erasure that leaves nothing but stubs."""
import json, subprocess
import harness
from harness import expect, eventually
from lanes import both
from mqtt import Client


def pages(c, path, limit, key=None):
    items, cursor = [], None
    while True:
        status, page = c("GET", f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""), key=key)
        expect(status, 200, path)
        assert len(page["items"]) <= limit
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


def profiles(c):
    status, ann = c("PUT", "/v1/users/ann", {"name": "Ann", "locale": "en", "timezone": "Europe/Berlin", "email": "ann@example.com",
                                            "avatar": "https://example.com/a.png", "metadata": {"plan": "gold", "deep": {"n": [1, 2.5, None]}}})
    expect((status, ann["id"], ann["name"]), (201, "ann", "Ann"))
    expect(c("PUT", "/v1/users/ann", {"name": "Anna"})[0], 200, "changed")
    got = c("GET", "/v1/users/ann")[1]
    expect((got["name"], got["locale"], got["email"], got["metadata"]), ("Anna", "en", "ann@example.com", {"plan": "gold", "deep": {"n": [1, 2.5, None]}}), "absent stays")
    expect(c("PUT", "/v1/users/ann", {"locale": None, "metadata": None})[0], 200)
    got = c("GET", "/v1/users/ann")[1]
    expect(("locale" in got, "metadata" in got, got["name"]), (False, False, "Anna"), "null clears")
    expect(c("PUT", "/v1/users/ann", {})[0], 200, "nothing to change")
    for field, value, status in (("name", 7, 400), ("metadata", [], 400), ("nick", "x", 400), ("email", "nobody", 422), ("email", "<ann@example.com>", 422), ("email", "ann,bob@example.com", 422), ("locale", "!", 422),
                                 ("locale", "not-a-language-tag-at-all-x", 422), ("timezone", "Europe/Atlantis", 422), ("timezone", "", 422), ("timezone", 7, 400)):
        got = c("PUT", "/v1/users/ann", {field: value})
        expect((got[0], got[1]["field"]), (status, field), f"{field}={value}")
    expect(c("GET", "/v1/users/nobody")[0], 404)
    expect(c("PUT", "/v1/users/" + "x" * 64, {})[0], 201, "the longest id")
    expect(c("PUT", "/v1/users/" + "x" * 65, {})[0], 422, "too long an id")
    expect(c("PUT", "/v1/users/sp%20ace", {})[0], 422)
    expect(c("PUT", "/v1/users/a.b:c_d-E9", {})[0], 201)
    expect(c("PUT", "/v1/users/uni", {"name": "Zoë \U0001F469‍\U0001F680", "metadata": {"k": "\u2028\"\\"}})[1]["name"], "Zoë \U0001F469‍\U0001F680")
    expect(c("GET", "/v1/users/uni")[1]["metadata"], {"k": "\u2028\"\\"})


def relations(c):
    for i in range(7):
        expect(c("PUT", f"/v1/users/fan/follows/star{i}")[0], 201)
        expect(c("PUT", f"/v1/users/fan{i}/follows/star0")[0], 201)
    expect(c("PUT", "/v1/users/fan/follows/star3")[0], 200, "again")
    expect(c("PUT", "/v1/users/fan/follows/fan")[0], 422, "oneself")
    expect([i["id"] for i in pages(c, "/v1/users/fan/follows", 3)], [f"star{i}" for i in (6, 5, 4, 3, 2, 1, 0)], "newest first, each once")
    eventually(lambda: expect(sorted(i["id"] for i in pages(c, "/v1/users/star0/followers", 2)), sorted(["fan"] + [f"fan{i}" for i in range(7)])))
    # what arrives while one turns the pages neither repeats nor hides anything
    first = c("GET", "/v1/users/fan/follows?limit=3")[1]
    for late in ("late1", "late2", "late3"):
        c("PUT", "/v1/users/fan/follows/" + late)
    c("DELETE", "/v1/users/fan/follows/star5")
    rest = c("GET", "/v1/users/fan/follows?limit=200&cursor=" + first["next"])[1]["items"]
    expect([i["id"] for i in rest], [f"star{i}" for i in (3, 2, 1, 0)], "a page after changes")
    for what in ("blocks", "mutes"):
        for i in range(3):
            expect(c("PUT", f"/v1/users/fan/{what}/pest{i}")[0], 201, what)
        expect(c("PUT", f"/v1/users/fan/{what}/pest1")[0], 200, what + " again")
        expect([i["id"] for i in pages(c, f"/v1/users/fan/{what}", 2)], ["pest2", "pest1", "pest0"], what)
        expect(c("DELETE", f"/v1/users/fan/{what}/pest1")[0], 204)
        expect(c("DELETE", f"/v1/users/fan/{what}/pest1")[0], 204, "repeated")
        expect([i["id"] for i in pages(c, f"/v1/users/fan/{what}", 200)], ["pest2", "pest0"], what)
    expect(c("PUT", "/v1/users/star1/blocks/fan")[0], 201)
    eventually(lambda: expect("star1" in [i["id"] for i in pages(c, "/v1/users/fan/follows", 200)], False, "who blocks is not followed"))
    c("PUT", "/v1/users/fan/follows/star1")
    eventually(lambda: expect(("star1" in [i["id"] for i in pages(c, "/v1/users/fan/follows", 200)], pages(c, "/v1/users/star1/followers", 9)), (False, []), "nor again"))
    for bad, status in (("limit=0", 422), ("limit=201", 422), ("limit=x", 422), ("cursor=zzz", 400)):
        expect(c("GET", "/v1/users/fan/follows?" + bad)[0], status, bad)
    expect(c("GET", "/v1/users/nobody/follows")[0], 404)


def bare_token(s, user):
    """One for any device, as the command line makes it."""
    return subprocess.check_output([harness.KITH, "token", "--data", s.data, "--user", user, "--app", "demo"], text=True).strip()


def strangers(s):
    """Whom nobody named is nobody; their own token finds empty lists; naming them, also for later, makes them. But what others fill is empty and never missing: who was named a moment ago, in a
    conversation or by a trigger, may not be known yet where they live."""
    c, filled = s.call, ("mailbox", "conversations", "notifications")
    lists = (*filled, "topics")
    for path in ("", "/follows", "/followers", "/blocks", "/mutes", "/devices", "/preferences", "/topics"):
        status, said = c("GET", "/v1/users/stranger" + path)
        expect((status, said["type"].rsplit("/")[-1], "'stranger'" in said["detail"]), (404, "not-found", True), path)
    for i in range(20):
        expect(c("PUT", f"/v1/conversations/naming{i}", {"type": "group", "members": [f"named{i}"]})[0], 201)
        for path in filled:
            expect(c("GET", f"/v1/users/named{i}/{path}")[0], 200, path)
    own = bare_token(s, "stranger")
    for path in lists:
        status, said = c("GET", "/v1/users/stranger/" + path, key=own)
        expect((status, said["items"], said["next"]), (200, [], None), path + " of one's own, whom nobody named")
    expect(c("GET", "/v1/users/stranger/preferences", key=own)[0], 200)
    expect(c("GET", "/v1/users/stranger/notifications")[0], 200)
    expect(c("GET", "/v1/users/stranger")[0], 404, "asking makes nobody")
    expect(c("PUT", "/v1/workflows/later", {"channels": ["inapp"], "templates": {"en": {"title": "hi"}}})[0], 201)
    for who, more in (("direct", {}), ("given", {"id": "for-later"})):
        expect(c("POST", "/v1/notifications", {"workflow": "later", "to": {"users": [who]}, "send_at": "2096-01-01T00:00:00.000Z", **more})[0], 202)
        eventually(lambda: expect(c("GET", f"/v1/users/{who}/notifications")[:2], (200, {"items": [], "next": None, "counts": {"unseen": 0, "unread": 0}})))


def export_and_erase(s):
    c = s.call
    c("PUT", "/v1/users/eva", {"name": "Eva", "email": "eva@example.com", "metadata": {"secret": "meta-4711"}})
    for path in ("eva/follows/fay", "gus/follows/eva", "eva/blocks/pest", "eva/mutes/loud", "gus/blocks/eva2"):
        c("PUT", "/v1/users/" + path)
    expect(c("PUT", "/v1/users/eva/devices/phone", {"push": {"fcm": {"token": "push-4711"}}})[0], 201)
    expect(c("PUT", "/v1/users/eva/keys/phone", {"identity_key": "ik-4711", "one_time_keys": ["otk-4711"]})[0], 201)
    expect(c("PUT", "/v1/topics/topic-4711/users/eva")[0], 201)
    c("PUT", "/v1/conversations/eg", {"type": "direct", "members": ["eva", "gus"]})
    c("PUT", "/v1/conversations/left", {"type": "group", "members": ["gus", "eva", "fay"]})
    c("PUT", "/v1/conversations/stay", {"type": "group", "members": ["gus", "eva", "fay"]})
    for conv in ("eg", "left", "stay"):
        for who in ("eva", "gus"):
            expect(c("POST", f"/v1/conversations/{conv}/messages", {"id": f"{conv}-{who}", "from": who, "body": f"body-{who}-{conv}"})[0], 201)
    expect(c("PUT", "/v1/conversations/stay/messages/stay-gus/reactions/%E2%9D%A4?user=eva")[0], 201)
    expect(c("DELETE", "/v1/conversations/left/members/eva")[0], 204)
    eventually(lambda: c("PUT", "/v1/users/eva/conversations/stay", {"archived": True})[0] == 200)

    def whole():
        text = json.dumps(c("GET", "/v1/users/eva/export")[1])
        for thing in ("topic-4711", "meta-4711", "eva@example.com", "fay", "gus", "pest", "loud", "push-4711", "ik-4711", "phone", "body-eva-eg", "body-eva-left", "body-gus-stay"):
            assert thing in text, f"the export lacks {thing}: {text[:1500]}"
    eventually(whole)
    token = s.token("eva", "phone")
    bare = bare_token(s, "eva")
    online = Client(s.mqtt, "phone", token)
    other = Client(s.mqtt, "tablet", bare)
    online.subscribe("users/eva/#")
    other.subscribe("users/eva/#")
    expect(c("GET", "/v1/users/eva/export", key=token)[0], 403, "not by a device")
    expect(c("DELETE", "/v1/users/eva", key=token)[0], 403)

    expect(c("DELETE", "/v1/users/eva")[0], 204)
    expect(online.ended().reason, 0x87, "its connections end")
    expect(other.ended().reason, 0x87)
    for path in ("", "/export", "/follows", "/blocks", "/devices"):
        expect(c("GET", "/v1/users/eva" + path)[0], 404, path)
    for key in (token, bare):
        expect(c("GET", "/v1/users/eva/mailbox", key=key)[0], 401, "its tokens end")
    expect(Client(s.mqtt, "phone", token).connack.reason, 0x87, "also over MQTT")

    def gone():
        expect([i["id"] for i in c("GET", "/v1/users/fay/followers")[1]["items"]], [])
        expect([i["id"] for i in c("GET", "/v1/users/gus/follows")[1]["items"]], [], "nobody follows who is not there")
        for conv in ("eg", "left", "stay"):
            own, gus = c("GET", f"/v1/conversations/{conv}/messages?after=0")[1]["items"]
            expect(sorted(own), ["conversation", "deleted_at", "id", "seq"], "a stub in " + conv)
            expect((own["seq"], gus["body"]), (1, f"body-gus-{conv}"))
            expect("reactions" in gus, False, "their reaction")
        expect([m["user"] for m in c("GET", "/v1/conversations/stay/members")[1]["items"] if m["user"] == "eva"], [])
        assert "eva-" not in json.dumps(c("GET", "/v1/users/gus/mailbox")[1]).replace("id\": \"", "").replace("eg-eva", ""), "their words in others' mailboxes"
        assert "body-eva" not in json.dumps([c("GET", "/v1/users/gus/mailbox")[1], c("GET", "/v1/users/gus/conversations")[1]])
    eventually(gone)
    expect(c("DELETE", "/v1/users/eva")[0], 204, "repeated")
    # another person may have the id later: nothing of the first is theirs
    expect(c("PUT", "/v1/users/eva", {})[0], 201)
    expect(c("GET", "/v1/users/eva/mailbox")[1]["items"], [])
    expect(c("GET", "/v1/users/eva/conversations")[1]["items"], [])
    expect(c("GET", "/v1/users/eva/mailbox", key=token)[0], 401, "the old token stays out")
    fresh = s.token("eva", "phone")
    expect(c("GET", "/v1/users/eva/mailbox", key=fresh)[0], 200, "a new one is in at once")
    expect(Client(s.mqtt, "tablet", bare_token(s, "eva")).connack.present, False, "the old sessions are not theirs")


def story(s):
    profiles(s.call)
    relations(s.call)
    strangers(s)
    export_and_erase(s)
    before = s.call("GET", "/v1/users/fan/follows")[1]["items"]
    s.kill()
    s.start()
    expect(s.call("GET", "/v1/users/fan/follows")[1]["items"], before, "after kill -9")
    expect(s.call("GET", "/v1/users/uni")[1]["metadata"], {"k": "\u2028\"\\"})


both(story)

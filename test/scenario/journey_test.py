"""Where is my message: /v1/items/{id}/journey says each stage with its time, each device, who read, and what held it; for operators, without content, with one shard and two."""
from harness import expect, eventually
from lanes import both
from mqtt import Client

STAGES = ["came", "appended", "durable", "applied", "written"]


def journey(s, item, **query):
    return s.call("GET", f"/v1/items/{item}/journey" + "".join(f"?{k}={v}" for k, v in query.items()))


def rising(stages):
    times = [x["after_ms"] for x in stages]
    expect(times, sorted(times), "stages follow one another")


def story(s):
    c = s.call
    c("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    phone = Client(s.mqtt, "phone", s.token("bob", "phone"), expiry=3600)
    tab = Client(s.mqtt, "tab", s.token("bob", "tab"), expiry=3600)
    for device in phone, tab:
        device.subscribe("users/bob/#")
    tab.disconnect()
    c("POST", "/v1/conversations/ab/messages", {"id": "m1", "from": "ann", "body": "a secret"})
    got = phone.messages(1, ack=False)

    def kept():
        """At the end of the turn that wrote it to the phone."""
        status, j = journey(s, "m1")
        expect(status, 200)
        expect([x["stage"] for x in j["recipients"][0]["stages"]], ["relayed"] + STAGES[1:])
        return j

    j = eventually(kept)
    expect((j["conversation"], j["conversation_type"], j["seq"], j["from"], j["members"], j["gone"]), ("ab", "direct", 1, "ann", 2, False))
    expect([x["stage"] for x in j["stages"]], STAGES)
    rising(j["stages"])
    expect("secret" in str(j), False, "no content")
    bob = j["recipients"][0]
    expect((bob["user"], bob["state"], bob["held"]), ("bob", "sent", None))
    rising(bob["stages"])
    expect({d["device"]: (d["state"], d["connected"]) for d in bob["devices"]}, {"phone": ("sent", True), "tab": ("offline", False)})
    phone.ack(got[0])
    phone.ping()

    def device(name):
        return next(d for d in journey(s, "m1")[1]["recipients"][0]["devices"] if d["device"] == name)

    expect(device("phone")["state"], "acknowledged")
    expect(device("phone")["acked_after_ms"] >= device("phone")["written_after_ms"] > 0, True)
    c("POST", "/v1/conversations/ab/receipts?user=bob", {"read": 1})
    eventually(lambda: expect(journey(s, "m1")[1]["recipients"][0]["state"], "read"))
    tab = Client(s.mqtt, "tab", s.token("bob", "tab"), expiry=3600)
    tab.messages(1)
    tab.ping()
    expect(device("tab")["state"], "acknowledged", "what waited has come")

    # held: by whom, and why
    c("PUT", "/v1/conversations/g", {"type": "group", "members": ["ann", "bob", "cid"], "history": "from_join"})
    c("PUT", "/v1/users/cid/blocks/ann")
    c("POST", "/v1/conversations/g/messages", {"id": "g1", "from": "ann", "body": "x"})
    c("PUT", "/v1/conversations/g/members/dan", {})

    def held():
        by = {r["user"]: r for r in journey(s, "g1")[1]["recipients"]}
        expect((by["bob"]["state"], by["cid"]["state"], by["dan"]["state"]), ("sent", "held", "held"))
        expect("blocks" in by["cid"]["held"] and "joined later" in by["dan"]["held"], True, str(by))

    eventually(held)

    # who is away is told by records of the server's own, in other shards: they are no part of the way
    c("PUT", "/v1/workflows/message", {"channels": ["inapp"], "templates": {"en": {"title": "{actor}"}}})
    people = [f"p{i}" for i in range(8)]
    for n, far in enumerate(("far-a", "far-b", "far-c", "far-d")):  # in one shard and in the other
        c("PUT", f"/v1/conversations/{far}", {"type": "group", "members": ["ann", *people]})
        c("POST", f"/v1/conversations/{far}/messages", {"id": f"of-{far}", "from": "ann", "body": "x"})
        for p in people:
            eventually(lambda: expect(len(c("GET", f"/v1/users/{p}/notifications")[1]["items"]), n + 1, f"{p} is told"))
        j = journey(s, f"of-{far}")[1]
        expect(j["stages"][0]["after_ms"], 0)
        for stages in (j["stages"], *(r["stages"] for r in j["recipients"])):
            expect(len(stages), 5)
            rising(stages)
            assert stages[0]["after_ms"] >= 0 and stages[-1]["after_ms"] < 60_000, stages

    # older than what is kept: who has it is known still, when it is not
    s.stop()
    s.start()
    status, problem = journey(s, "nothing")
    expect((status, problem["field"]), (404, "conversation"))
    expect(journey(s, "g1")[1]["conversation"], "g", "found by its id alone")
    status, j = journey(s, "m1", conversation="ab")
    expect((status, j["stages"], j["recipients"][0]["stages"], j["recipients"][0]["state"]), (200, [], [], "read"))
    expect({d["device"]: d["state"] for d in j["recipients"][0]["devices"]}, {"phone": "acknowledged", "tab": "acknowledged"})

    # refusals
    expect(journey(s, "m1", conversation="zz")[0], 404)
    expect(journey(s, "nothing", conversation="ab")[0], 404)
    expect(journey(s, "m1", conversation="%20")[0], 422)
    expect(s.call("GET", "/v1/items/m1/journey?conversation=ab", key=s.token("bob", "phone"))[0], 403)


both(story)

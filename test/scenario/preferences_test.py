"""How a person wants to be told: wishes by workflow and channel, quiet hours, a pause; what is absent stays, and null takes back."""
import datetime

from harness import Server, eventually, expect

s = Server("--shards", "2")
P = "/v1/users/ann/preferences"
expect(s.call("PUT", "/v1/users/ann", {"name": "Ann"})[0], 201)
ann = s.token("ann", "phone")


def put(body, status=200, path=P):
    got, said = s.call("PUT", path, body, key=ann if path == P else None)
    expect(got, status, f"{body}: {said}")
    return said


def refused(status, field, body):
    got, said = s.call("PUT", P, body, key=ann)
    expect((got, said.get("field", "")), (status, field), f"{body}: {said}")
    assert len(said["detail"]) > 15, said


expect(s.call("GET", P, key=ann), (200, {"workflows": {}}))
expect(put({"workflows": {"likes": {"push": False, "email": True}}}), {"workflows": {"likes": {"push": False, "email": True}}})
expect(put({"workflows": {"likes": {"inapp": False}, "news": {"webhook": False}}})["workflows"], {"likes": {"inapp": False, "push": False, "email": True}, "news": {"webhook": False}})
expect(put({"workflows": {"likes": {"push": None, "email": False}, "*": {"email": False}}})["workflows"],
       {"likes": {"inapp": False, "email": False}, "news": {"webhook": False}, "*": {"email": False}}, "one channel is taken back")
expect(put({"workflows": {"likes": None, "news": {"webhook": None}}})["workflows"], {"*": {"email": False}}, "a workflow with no wish left is gone")
QUIET = {"from": "22:00", "to": "07:30"}
expect(put({"quiet_hours": {**QUIET, "days": ["sun", "mon"]}})["quiet_hours"], {**QUIET, "days": ["mon", "sun"]})
expect(put({"quiet_hours": QUIET})["quiet_hours"], QUIET, "replaced as a whole")
whole = put({"paused_until": "2100-01-01T00:00:00.000Z"})
expect(whole, {"workflows": {"*": {"email": False}}, "quiet_hours": QUIET, "paused_until": "2100-01-01T00:00:00.000Z"})
expect(put({}), whole)
for status, field, body in (
        (400, "x", {"x": 1}), (400, "workflows", {"workflows": []}), (400, "workflows.likes", {"workflows": {"likes": True}}), (422, "workflows.a b", {"workflows": {"a b": {"push": True}}}),
        (400, "workflows.likes.sms", {"workflows": {"likes": {"sms": True}}}), (400, "workflows.likes.push", {"workflows": {"likes": {"push": "no"}}}), (400, "quiet_hours", {"quiet_hours": "22:00"}),
        (422, "quiet_hours.to", {"quiet_hours": {"from": "22:00"}}), (422, "quiet_hours.to", {"quiet_hours": {"from": "22:00", "to": "22:00"}}), (422, "quiet_hours.from", {"quiet_hours": {"from": "24:00", "to": "07:00"}}),
        (422, "quiet_hours.from", {"quiet_hours": {"from": "9:00", "to": "07:00"}}), (422, "quiet_hours.to", {"quiet_hours": {"from": "22:00", "to": "07:60"}}), (400, "quiet_hours.from", {"quiet_hours": {"from": 22, "to": "07:00"}}),
        (422, "quiet_hours.days", {"quiet_hours": {**QUIET, "days": []}}), (422, "quiet_hours.days", {"quiet_hours": {**QUIET, "days": ["monday"]}}), (400, "quiet_hours.days", {"quiet_hours": {**QUIET, "days": [1]}}),
        (400, "quiet_hours.zone", {"quiet_hours": {**QUIET, "zone": "UTC"}}), (422, "paused_until", {"paused_until": "tomorrow"}), (400, "paused_until", {"paused_until": 1}),
        (422, "workflows", {"workflows": {f"w{i}": {"push": False} for i in range(501)}})):
    refused(status, field, body)
put({"workflows": {f"w{i}": {"push": False} for i in range(499)}})
refused(422, "workflows", {"workflows": {"more": {"push": False}, "yet more".replace(" ", "-"): {"push": False}}})
expect(s.call("GET", P)[1]["workflows"].get("more"), None, "what was refused changed nothing")
expect(put({"workflows": None}), {k: v if k != "workflows" else {} for k, v in whole.items()})
expect(put({"paused_until": "2001-01-01T00:00:00.000Z"}), {"workflows": {}, "quiet_hours": QUIET}, "a pause that is over is none")

# who may; who is named for the first time; who is erased
expect(s.call("PUT", "/v1/users/bob/preferences", {}, key=ann)[0], 403)
expect(s.call("GET", "/v1/users/bob/preferences")[0], 404)
expect(put({"workflows": {"likes": {"push": False}}}, path="/v1/users/bob/preferences"), {"workflows": {"likes": {"push": False}}})
expect(s.call("GET", "/v1/users/bob")[0], 200)
# what they do: Kathmandu is always 5:45 ahead of UTC, so that the end of quiet hours can be reckoned here
for id, channels, priority in (("pushed", ["inapp", "push"], "normal"), ("urgent", ["inapp", "push"], "high")):
    expect(s.call("PUT", f"/v1/workflows/{id}", {"channels": channels, "templates": {"en": {"title": "t"}}, "priority": priority})[0], 201)
expect(s.call("PUT", "/v1/users/ann", {"timezone": "Asia/Kathmandu"})[0], 200)


def decided(workflow, user="ann"):
    """Each decision about a trigger of it, and the titles' number in the inbox."""
    id = s.call("POST", "/v1/notifications", {"workflow": workflow, "to": {"users": [user]}})[1]["id"]

    def whys():
        found = s.call("GET", f"/v1/notifications/{id}/why/{user}")[1]["items"]
        assert found, "nothing was decided yet"
        return {d["decision"]: d for d in found}
    return eventually(whys)


local = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=5, minutes=45)
end = (local + datetime.timedelta(hours=2)).replace(second=0, microsecond=0)
until = (end - datetime.timedelta(hours=5, minutes=45)).strftime("%Y-%m-%dT%H:%M:00.000Z")
put({"quiet_hours": {"from": (local - datetime.timedelta(hours=1)).strftime("%H:%M"), "to": end.strftime("%H:%M")}})
held = decided("pushed")
expect((held["held"]["until"], held["held"].get("channels"), "delivered" in held), (until, "push", True), "push is held until clocks there show it, in-app is not")
assert "held" not in decided("urgent"), "what is urgent waits for nobody"
expect(s.call("PUT", "/v1/users/ann", {"timezone": "Etc/UTC"})[0], 200)
last = s.call("GET", "/v1/users/ann/notifications?limit=2")[1]["items"][-1]["id"]
eventually(lambda: expect(s.call("GET", f"/v1/notifications/{last}/why/ann")[1]["items"][-1]["decision"], "no_address", "who lives by other clocks is out of them: it leaves"))
expect(s.call("PUT", "/v1/users/ann", {"timezone": "Asia/Kathmandu"})[0], 200)
put({"paused_until": "2100-01-01T00:00:00.000Z"})
expect(decided("pushed")["held"]["until"] >= "2100-01-01", True, "a pause holds longer")
put({"workflows": {"*": {"push": False}}})
expect("held" in decided("pushed"), False, "nothing is held of what they do not want")
put({"workflows": {"pushed": {"push": True}}})
expect("held" in decided("pushed"), True, "what is said of a workflow wins over what is said of all")
put({"workflows": {"pushed": {"push": False, "inapp": False}, "urgent": {"push": False, "inapp": False}}})
expect([list(decided(w)) for w in ("pushed", "urgent")], [["opted_out"]] * 2, "an opt-out wins over urgency")
put({"workflows": None, "paused_until": None, "quiet_hours": QUIET})

# what is held of someone shows it, and goes with them
expect(s.call("PUT", "/v1/workflows/news", {"channels": ["inapp"], "templates": {"en": {"title": "News of {topic}"}}})[0], 201)
expect(s.call("PUT", "/v1/topics/cats/users/bob")[0], 201)
for to in ({"users": ["bob"]}, {"topic": "cats"}):
    expect(s.call("POST", "/v1/notifications", {"workflow": "news", "to": to, "data": {"topic": "cats"}})[0], 202)


def held():
    export = s.call("GET", "/v1/users/bob/export")[1]
    expect((export["preferences"], export["topics"], [n["title"] for n in export["notifications"]]), ({"workflows": {"likes": {"push": False}}}, ["cats"], ["News of cats"] * 2))


eventually(held)
expect(s.call("PUT", "/v1/users/eve/preferences", {"workflows": {"likes": {"push": False}}})[0], 200)
expect(s.call("DELETE", "/v1/users/eve")[0], 204)
expect(s.call("PUT", "/v1/users/eve", {})[0], 201)
eventually(lambda: expect(s.call("GET", "/v1/users/eve/preferences")[1], {"workflows": {}}))
s.kill()
s.start()
expect(s.call("GET", P, key=ann)[1], {"workflows": {}, "quiet_hours": QUIET})
expect(s.call("GET", "/v1/users/bob/preferences")[1], {"workflows": {"likes": {"push": False}}})
s.stop()
s.check()
print("preferences: all as promised")

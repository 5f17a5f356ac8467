"""A message to someone who is away triggers the workflow `message`; what they read elsewhere is taken back."""
import mqtt
from harness import Server, eventually, expect

s = Server()
s.call("PUT", "/v1/users/ann", {"name": "Ann"})
expect(s.call("PUT", "/v1/conversations/pair", {"type": "direct", "members": ["ann", "bob"]})[0], 201)
expect(s.call("PUT", "/v1/conversations/team", {"type": "group", "name": "The team", "members": ["ann", "bob", "cat", "dan"]})[0], 201)


def say(conversation, body, sender="ann"):
    status, said = s.call("POST", f"/v1/conversations/{conversation}/messages", {"from": sender, "body": body})
    expect(status, 201, said)
    return said["seq"]


def inbox(user):
    said = s.call("GET", f"/v1/users/{user}/notifications")[1]
    return [(n["title"], n["body"]) for n in said["items"]], said["counts"]["unseen"]


say("pair", "before there is a workflow")
status, said = s.call("PUT", "/v1/workflows/message", {"channels": ["inapp"], "templates": {"en": {"title": "{actor}{type, select, direct {} other { in {name}}}", "body": "{text}"}}})
expect(status, 201, said)
first = say("pair", "are you there?")
eventually(lambda: expect(inbox("bob"), ([("Ann", "are you there?")], 1)))
phone = mqtt.Client(s.mqtt, "phone", s.token("cat", "phone"))
phone.subscribe("users/cat/#", qos=1)
s.call("PUT", "/v1/users/dan/conversations/team", {"muted_until": "2100-01-01T00:00:00Z"})
second = say("team", "lunch?")
eventually(lambda: expect(inbox("bob"), ([("Ann in The team", "lunch?"), ("Ann", "are you there?")], 2)))
expect(phone.message().json()["body"], "lunch?")
expect((inbox("cat"), inbox("dan"), inbox("ann")), (([], 0),) * 3, "who is connected, who has muted it, and who sent it")
say("team", "anyone?")
eventually(lambda: expect(inbox("bob")[1], 3))
expect(s.call("POST", "/v1/conversations/team/receipts?user=bob", {"read": second})[0], 200)
eventually(lambda: expect(inbox("bob"), ([("Ann in The team", "anyone?"), ("Ann", "are you there?")], 2), "what was read is taken back"))
expect(s.call("PUT", "/v1/users/eve/blocks/ann")[0], 201)
expect(s.call("PUT", "/v1/conversations/team/members/eve", {})[0], 201)
say("team", "and now?")
say("team", "from bob", "bob")
eventually(lambda: expect(inbox("eve"), ([("bob in The team", "from bob")], 1), "whom one blocks is not told of"))
s.kill()
s.start()
expect(inbox("bob")[1], 3, "told once, also over a crash")
expect(s.call("POST", "/v1/conversations/pair/receipts?user=bob", {"read": first})[0], 200)
eventually(lambda: expect(inbox("bob"), ([("Ann in The team", "and now?"), ("Ann in The team", "anyone?")], 2)))
s.close()

"""Two people talk, over HTTP and MQTT: order, ids, marks, roles, blocks, edits, stubs, restarts."""
from harness import Server, expect, eventually

s = Server("--shards", "2")
c = s.call
expect(c("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})[0], 201, "made")
expect(c("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})[0], 200, "again")
expect(c("PUT", "/v1/conversations/ab", {"type": "group"})[1]["type"], "/problems/conflict", "type stays")
expect(c("PUT", "/v1/conversations/x", {"type": "direct", "members": ["ann"]})[0], 422, "direct has two")
expect(c("PUT", "/v1/conversations/x", {"type": "group", "wrong": 1})[1]["field"], "wrong", "unknown field is named")
expect(c("GET", "/v1/conversations/none")[0], 404)
expect(c("GET", "/v1/nothing")[0], 404)
expect(c("GET", "/v1/users/bob/mailbox", key="kith_nope")[0], 401)

# ids: the same again gives the first answer; other content is a conflict
status, first = c("POST", "/v1/conversations/ab/messages", {"id": "m1", "from": "ann", "body": "one"})
expect((status, first["seq"]), (201, 1))
expect(c("POST", "/v1/conversations/ab/messages", {"id": "m1", "from": "ann", "body": "one"}), (201, first), "sent twice")
expect(c("POST", "/v1/conversations/ab/messages", {"id": "m1", "from": "ann", "body": "two"})[0], 409)
expect(c("POST", "/v1/conversations/ab/messages", {"from": "eve", "body": "x"})[1]["type"], "/problems/not-a-member")
expect(c("POST", "/v1/conversations/ab/messages", {"from": "ann"})[0], 422)
expect(c("POST", "/v1/conversations/ab/messages", b"{not json")[0], 400)
k = {"Idempotency-Key": "abc"}
once = c("POST", "/v1/conversations/ab/messages", {"from": "ann", "body": "key"}, headers=k)
expect(c("POST", "/v1/conversations/ab/messages", {"from": "ann", "body": "key"}, headers=k), once, "idempotency key")
status, said = c("POST", "/v1/conversations/ab/messages", {"from": "ann", "body": "another"}, headers=k)
assert status == 409 and "this Idempotency-Key was used" in said["detail"], said

# tokens: own paths and conversations only
ann, bob = s.token("ann", "a1"), s.token("bob", "b1")
eve = s.token("eve", "e1")
expect(c("GET", "/v1/conversations/ab/messages", key=eve)[0], 404, "not visible")
expect(c("GET", "/v1/users/bob/mailbox", key=ann)[0], 403)
expect(c("POST", "/v1/users/bob/tokens", {"device": "x"}, key=ann)[0], 403)
expect(c("POST", "/v1/conversations/ab/messages", {"from": "bob", "body": "x"}, key=ann)[0], 403, "a token sends as itself")
expect(c("POST", "/v1/conversations/ab/messages", {"body": "by token"}, key=ann)[0], 201)

# marks and unread
def unread(n):
    row = c("GET", "/v1/users/bob/conversations")[1]["items"][0]
    expect((row["unread"], row["last"]["seq"]), (n, 3))
eventually(lambda: unread(3))
expect(c("POST", "/v1/conversations/ab/receipts", {"read": 2}, key=bob)[1], {"user": "bob", "delivered": 2, "read": 2})
expect(c("POST", "/v1/conversations/ab/receipts", {"read": 1}, key=bob)[1]["read"], 2, "only forward")
expect(c("POST", "/v1/conversations/ab/receipts", {"read": 9}, key=bob)[0], 422)
eventually(lambda: unread(1))

# edits, reactions, replies, deletes
expect(c("PATCH", "/v1/conversations/ab/messages/m1", {"body": "uno"}, key=bob)[0], 403)
expect(c("PATCH", "/v1/conversations/ab/messages/m1", {"body": "uno"}, key=ann)[1]["body"], "uno")
expect(c("PUT", "/v1/conversations/ab/messages/m1/reactions/%F0%9F%91%8D", key=bob)[0], 201)
expect(c("PUT", "/v1/conversations/ab/messages/m1/reactions/%F0%9F%91%8D", key=bob)[0], 200)
expect(c("GET", "/v1/conversations/ab/messages/m1")[1]["reactions"], {"\U0001F44D": 1})
expect(c("POST", "/v1/conversations/ab/messages", {"id": "r1", "reply_to": "m1", "body": "re"}, key=bob)[0], 201)
expect([m["id"] for m in c("GET", "/v1/conversations/ab/messages/m1/replies")[1]["items"]], ["r1"])
expect(c("DELETE", "/v1/conversations/ab/messages/m1", key=ann)[0], 204)
expect(c("DELETE", "/v1/conversations/ab/messages/m1", key=ann)[0], 204)
stub = c("GET", "/v1/conversations/ab/messages?after=0&limit=1", key=bob)[1]["items"][0]
expect(sorted(stub), ["conversation", "deleted_at", "id", "seq"], "a stub")

# pages walk each message once
seen, cursor = [], ""
while cursor is not None:
    page = c("GET", f"/v1/conversations/ab/messages?limit=2{'&cursor=' + cursor if cursor else ''}")[1]
    seen += [m["seq"] for m in page["items"]]
    cursor = page["next"]
expect(seen, [4, 3, 2, 1])

# groups, roles, and who blocks
expect(c("PUT", "/v1/conversations/g", {"type": "group", "name": "G", "members": ["bob", "cid"]}, key=ann)[1]["member_count"], 3)
expect(c("PUT", "/v1/conversations/g/members/dan", {}, key=bob)[0], 403)
expect(c("PUT", "/v1/conversations/g/members/dan", {"role": "admin"}, key=ann)[0], 201)
expect(c("PUT", "/v1/users/cid/blocks/bob")[0], 201)
expect(c("PUT", "/v1/conversations/cb", {"type": "direct", "members": ["cid", "bob"]})[0], 201)
eventually(lambda: expect(c("POST", "/v1/conversations/cb/messages", {"from": "bob", "body": "x"})[1].get("type"), "/problems/blocked"))
expect(c("POST", "/v1/conversations/g/messages", {"body": "hi all"}, key=bob)[0], 201)
cid = s.token("cid", "c1")
expect(c("GET", "/v1/conversations/g/messages", key=cid)[1]["items"][0].get("hidden"), True, "hidden from who blocks")
eventually(lambda: expect([e["type"] for e in c("GET", "/v1/users/dan/mailbox")[1]["items"]], ["conversation", "message"]))
expect([e["type"] for e in c("GET", "/v1/users/cid/mailbox")[1]["items"]].count("message"), 0)

# apps are apart
import subprocess, harness
other = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", "o", "--app", "other"], text=True).strip()
expect(c("GET", "/v1/conversations/ab", key=other)[0], 404)

# erasing leaves stubs
expect(c("DELETE", "/v1/users/ann")[0], 204)
eventually(lambda: expect([m.get("body") for m in c("GET", "/v1/conversations/ab/messages")[1]["items"] if "from" in m and m["from"] == "ann"], []))
expect(c("GET", "/v1/users/ann")[0], 404)
expect(c("GET", "/v1/users/ann/mailbox", key=ann)[0], 401, "their tokens end")

eventually(lambda: expect([e for e in c("GET", "/v1/users/bob/mailbox")[1]["items"] if e.get("message", {}).get("from") == "ann"], [], "bob's copy too"))

before = c("GET", "/v1/users/bob/mailbox")[1]["items"]
s.kill()
s.start()
expect(c("GET", "/v1/users/bob/mailbox")[1]["items"], before, "after kill -9")
s.stop()
expect(subprocess.run([harness.KITH, "check", "--data", s.data], capture_output=True).returncode, 0, "check")
s.start()
expect(c("GET", "/v1/users/bob/mailbox")[1]["items"], before, "after a clean stop")

# backup while serving; restored elsewhere it serves the same
expect(subprocess.run([harness.KITH, "backup", "--data", s.data, s.dir + "/copy"], capture_output=True).returncode, 0, "backup")
s.stop()
expect(subprocess.run([harness.KITH, "restore", s.dir + "/copy", "--data", s.dir + "/again"], capture_output=True).returncode, 0, "restore")
s.data = s.dir + "/again"
s.start()
strip = lambda l: [{k: v for k, v in e.items() if k != "cursor"} for e in l]
expect(strip(c("GET", "/v1/users/bob/mailbox")[1]["items"]), strip(before), "restored")
expect(c("GET", "/v1/users/bob/mailbox?cursor=" + before[0]["cursor"])[0], 410, "a cursor of before the restore")
s.close()

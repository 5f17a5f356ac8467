"""Who may what: keys and their scopes, tokens and the paths open to them, devices that end at once, apps that never meet."""
import base64, datetime, hmac, json, os, subprocess, time
import harness
from harness import expect, eventually
from lanes import both
from mqtt import Client, Closed


def key_make(s, *options):
    return subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, *options], text=True).strip()


def code(answer):
    return answer[0], (answer[1] or {}).get("type", "") if isinstance(answer[1], dict) else ""


def scopes(s):
    c = s.call
    read, write = key_make(s, "--name", "r", "--app", "demo", "--scope", "read"), key_make(s, "--name", "w", "--app", "demo", "--scope", "write")
    operate, tokens = key_make(s, "--name", "o", "--app", "demo", "--scope", "operate"), key_make(s, "--name", "t", "--app", "demo", "--scope", "tokens")
    for key, path, method, body, want in (
            (read, "/v1/users/ann", "GET", None, 200), (read, "/v1/users/ann", "PUT", {}, 403), (read, "/v1/users/ann", "DELETE", None, 403),
            (write, "/v1/users/ann", "PUT", {}, 200), (write, "/v1/users/ann", "GET", None, 403), (write, "/v1/users/ann/export", "GET", None, 403),
            (operate, "/v1/users/ann", "GET", None, 403), (operate, "/v1/conversations/ab/messages", "GET", None, 403), (operate, "/metrics", "GET", None, 200),
            (read, "/metrics", "GET", None, 403), (tokens, "/v1/users/ann/tokens", "POST", {"device": "d"}, 201), (write, "/v1/users/ann/tokens", "POST", {"device": "d"}, 403),
            (read, "/v1/conversations/ab/messages", "POST", {"from": "ann", "body": "x"}, 403)):
        expect(c(method, path, body, key=key)[0], want, f"{method} {path}")
    expect(c("GET", "/healthz", key="none")[0], 200, "open")
    expect(c("GET", "/readyz", key="none")[0], 200, "open")
    for bad in ("kith_a_b", s.key[:-1], s.key + "x", "a.b.c", "x" * 9000):
        expect(code(c("GET", "/v1/users/ann", key=bad)), (401, "/problems/unauthorized"), bad[:20])
    # a backend over MQTT is held to its scopes too
    b = Client(s.mqtt, "backend", read, clean=True)
    expect(b.connack.reason, 0)
    ack = b.publish("conversations/ab/messages", {"from": "ann", "body": "read only"})
    expect(ack.reason, 0x87, "a key without the write scope: " + ack.words)
    b.disconnect()
    b = Client(s.mqtt, "backend", write, clean=True)
    expect(b.publish("conversations/ab/messages", {"from": "ann", "body": "by a backend"}).reason, 0)
    expect(b.publish("conversations/ab/messages", {"from": "nobody", "body": "x"}).reason, 0x87)
    expect(b.subscribe("users/ann/#"), [0x87], "a backend has no mailbox")
    # revoked: over HTTP and on the open connection at once
    stream_key = key_make(s, "--name", "revoked", "--app", "demo", "--scope", "all")
    expect(c("GET", "/v1/users/ann", key=stream_key)[0], 200)
    for name, key in (("revoked", stream_key), ("w", write)):
        expect(subprocess.run([harness.KITH, "key", "revoke", "--data", s.data, name], capture_output=True).returncode, 0)
        expect(c("PUT", "/v1/users/ann", {}, key=key)[0], 401, "a revoked key")
    try:
        refused = b.publish("conversations/ab/messages", {"from": "ann", "body": "after revoking"}).reason
    except (Closed, AssertionError):
        refused = 0x87
    expect(refused, 0x87, "a revoked key's connection")
    expect("after revoking" in json.dumps(c("GET", "/v1/conversations/ab/messages")[1]), False)
    expect(Client(s.mqtt, "backend", write).connack.reason, 0x86)
    listed = subprocess.check_output([harness.KITH, "key", "list", "--data", s.data], text=True)
    assert "revoked" in listed and write not in listed and write.split("_", 2)[2] not in listed, "keys are listed without their secret"


def token_paths(s):
    c = s.call
    ann = s.token("ann", "a1")
    c("PUT", "/v1/users/bob", {"name": "Bob", "avatar": "b.png", "email": "bob@example.com", "metadata": {"x": 1}})
    expect(c("GET", "/v1/users/bob", key=ann)[1], {"id": "bob", "name": "Bob", "avatar": "b.png"}, "others' id, name, avatar")
    expect(c("PUT", "/v1/users/ann", {"email": "ann@example.com"}, key=ann)[0], 200)
    expect(c("GET", "/v1/users/ann", key=ann)[1]["email"], "ann@example.com")
    expect(c("GET", "/v1/users/nobody", key=ann)[0], 404)
    for method, path in (("PUT", "/v1/users/bob"), ("DELETE", "/v1/users/bob"), ("GET", "/v1/users/bob/mailbox"), ("GET", "/v1/users/bob/stream"),
                         ("GET", "/v1/users/bob/conversations"), ("PUT", "/v1/users/bob/blocks/ann"), ("GET", "/v1/users/bob/blocks"),
                         ("GET", "/v1/users/bob/devices"), ("PUT", "/v1/users/bob/devices/x"), ("POST", "/v1/users/ann/tokens"), ("DELETE", "/v1/users/ann"),
                         ("GET", "/v1/users/ann/export"), ("PUT", "/v1/users/bob/keys/b1"), ("GET", "/metrics")):
        expect(c(method, path, {} if method in ("PUT", "POST") else None, key=ann)[0], 403, f"{method} {path}")
    # a conversation that one is not in looks like one that is not there
    c("PUT", "/v1/conversations/secret", {"type": "group", "members": ["bob", "cid"]})
    c("POST", "/v1/conversations/secret/messages", {"id": "s1", "from": "bob", "body": "x"})
    for conv in ("secret", "not-there"):
        for method, path, body in (("GET", "", None), ("GET", "/members", None), ("GET", "/messages", None), ("GET", "/messages/s1", None),
                                   ("GET", "/messages/s1/replies", None), ("GET", "/receipts", None), ("POST", "/messages", {"body": "x"}),
                                   ("POST", "/receipts", {"read": 1}), ("POST", "/typing", None), ("PATCH", "/messages/s1", {"body": "y"}),
                                   ("DELETE", "/messages/s1", None), ("PUT", "/messages/s1/reactions/x", None), ("PUT", "/members/ann", {}),
                                   ("DELETE", "/members/bob", None)):
            got = c(method, f"/v1/conversations/{conv}{path}", body, key=ann)
            expect(code(got), (404, "/problems/not-found"), f"{method} {conv}{path}")
    expect(c("PUT", "/v1/conversations/secret", {"name": "mine"}, key=ann)[0], 404)
    # tokens end: too old, of a device that is gone, of another server
    made = c("POST", "/v1/users/ann/tokens", {"device": "short", "ttl": "3s"})[1]
    short = made["token"]
    expect(c("GET", "/v1/users/ann/mailbox", key=short)[0], 200)
    time.sleep(max(0, datetime.datetime.fromisoformat(made["expires_at"]).timestamp() - time.time()) + 0.05)
    expect(c("GET", "/v1/users/ann/mailbox", key=short)[0], 401, "expired")
    head, body, signature = ann.split(".")
    for forged in (f"{head}.{body}.", f"eyJhbGciOiJub25lIn0.{body}.", f"{head}.{body[:-2]}AA.{signature}", f"{head}.{body}.{'A' * len(signature)}"):
        expect(c("GET", "/v1/users/ann/mailbox", key=forged)[0], 401, "forged")
    for ttl, status in (("0s", 422), ("-1h", 422), ("9999d", 422), ("soon", 422), (5, 400)):
        expect(c("POST", "/v1/users/ann/tokens", {"device": "d", "ttl": ttl})[0], status, f"ttl {ttl}")
    # a token made by the command line, while serving
    made = subprocess.check_output([harness.KITH, "token", "--data", s.data, "--user", "ann", "--app", "demo", "--device", "cli"], text=True).strip()
    expect(c("GET", "/v1/users/ann/mailbox", key=made)[0], 200)


def devices(s):
    c = s.call
    expect(c("PUT", "/v1/users/dev/devices/phone", {"push": {"webpush": {"endpoint": "https://push.example/1", "keys": {"auth": "A" * 22, "p256dh": "B" + "A" * 86}}}})[0], 201)
    expect(c("PUT", "/v1/users/dev/devices/phone", {"push": None})[0], 200)
    expect(c("PUT", "/v1/users/dev/devices/phone", {"push": {"pigeon": {}}})[0], 400)
    expect([d["id"] for d in c("GET", "/v1/users/dev/devices")[1]["items"]], ["phone"])
    token, other = s.token("dev", "phone"), s.token("dev", "tablet")
    phone, tablet = Client(s.mqtt, "phone", token), Client(s.mqtt, "tablet", other)
    phone.subscribe("users/dev/#")
    tablet.subscribe("users/dev/#")
    stream = Stream(s, "dev", token)
    expect(c("DELETE", "/v1/users/dev/devices/phone")[0], 204)
    expect(phone.ended().reason, 0x87, "its session ends")
    stream.ended()
    expect(c("GET", "/v1/users/dev/mailbox", key=token)[0], 401, "its token ends")
    expect(Client(s.mqtt, "phone", token).connack.reason, 0x87)
    expect(c("DELETE", "/v1/users/dev/devices/phone")[0], 204, "repeated")
    tablet.ping()
    expect(c("GET", "/v1/users/dev/mailbox", key=other)[0], 200, "the other device goes on")
    again = s.token("dev", "phone")
    expect(c("GET", "/v1/users/dev/mailbox", key=again)[0], 200, "a new token of the same device is in at once")
    expect(Client(s.mqtt, "phone", again).connack.present, False, "the kept session went with the device")
    for i in range(100):
        status, answer = c("PUT", f"/v1/users/many/devices/d{i}", {})
        if status != 201:
            expect((status, answer["type"]), (422, "/problems/limit-reached"))
            break
    else:
        raise AssertionError("devices without a limit")


def issuers(s):
    """An app's own issuer: its tokens are taken while it is set, and what they opened ends when it is removed."""
    secret, path = "0123456789abcdef0123456789abcdef", s.dir + "/secret"
    with open(path, "w") as f:
        f.write(secret)
    kith = lambda *args: expect(subprocess.run([harness.KITH, "issuer", *args, "--data", s.data, "--issuer", "https://id.example", "--audience", "chat"], capture_output=True).returncode, 0)
    part = lambda v: base64.urlsafe_b64encode(v if isinstance(v, bytes) else json.dumps(v).encode()).rstrip(b"=").decode()
    claims = {"iss": "https://id.example", "aud": "chat", "sub": "ivy", "dev": "i1", "exp": int(time.time()) + 600, "iat": int(time.time())}
    text = part({"alg": "HS256", "typ": "JWT"}) + "." + part(claims)
    token = text + "." + part(hmac.digest(secret.encode(), text.encode(), "sha256"))
    s.call("PUT", "/v1/users/ivy", {})
    expect(s.call("GET", "/v1/users/ivy/mailbox", key=token)[0], 401, "not set yet")
    kith("set", "--app", "demo", "--hs256", path)
    expect(s.call("GET", "/v1/users/ivy/mailbox", key=token)[0], 200)
    phone, stream, ours = Client(s.mqtt, "i1", token), Stream(s, "ivy", token), Client(s.mqtt, "i2", s.token("ivy", "i2"))
    expect(phone.connack.reason, 0)
    kith("remove")
    expect(phone.ended().reason, 0x87)
    stream.ended()
    expect(s.call("GET", "/v1/users/ivy/mailbox", key=token)[0], 401)
    ours.ping()


class Stream:
    def __init__(self, s, user, token):
        import socket
        self.socket = socket.create_connection(("127.0.0.1", s.http), timeout=30)
        self.socket.sendall(f"GET /v1/users/{user}/stream?access_token={token} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = b""
        while b"kith" not in head:
            head += self.socket.recv(4096)
        assert b" 200 " in head and b"text/event-stream" in head, head

    def ended(self):
        while self.socket.recv(4096):
            pass


def prekeys(s):
    c = s.call
    bundle = {"identity_key": "ik", "registration_id": 4, "signed_prekey": {"id": 1, "key": "sk", "signature": "sig"}, "kem_last_resort": {"id": 99, "key": "last"},
              "one_time_keys": [{"id": i, "key": f"k{i}"} for i in range(3)], "kem_one_time_keys": [{"id": 70, "key": "kem"}]}
    expect(c("PUT", "/v1/users/kim/keys/phone", {"one_time_keys": []})[1]["field"], "identity_key")
    expect(c("PUT", "/v1/users/kim/keys/phone", bundle)[0], 201)
    expect(c("PUT", "/v1/users/kim/keys/tablet", {"identity_key": "tk", "one_time_keys": [{"id": 50, "key": "t"}]})[0], 201)
    ann = s.token("ann", "a1")
    ec, kem = [], []
    for _ in range(5):
        status, answer = c("POST", "/v1/users/kim/keys/claim", {"devices": ["phone"]}, key=ann)
        expect((status, len(answer["items"])), (200, 1))
        item = answer["items"][0]
        expect((item["device"], item["identity_key"], item["registration_id"], item["signed_prekey"]["id"]), ("phone", "ik", 4, 1))
        ec.append(item.get("one_time_key", {}).get("id"))
        kem.append((item.get("kem_one_time_key") or item["kem_last_resort"])["id"])
    expect((ec, kem), ([0, 1, 2, None, None], [70, 99, 99, 99, 99]), "each one-time key once, then the last resort")
    answer = c("POST", "/v1/users/kim/keys/claim", {}, key=ann)[1]
    expect(sorted(i["device"] for i in answer["items"]), ["phone", "tablet"], "one bundle a device")
    expect(answer["items"][1]["one_time_key"], {"id": 50, "key": "t"})
    s.kill()
    s.start()
    answer = c("POST", "/v1/users/kim/keys/claim", None, key=ann)[1]
    expect([i.get("one_time_key") for i in answer["items"]], [None, None], "handed out stays handed out after kill -9")
    # the same Idempotency-Key: the first answer, and no other key is taken
    c("PUT", "/v1/users/kim/keys/phone", {"one_time_keys": [{"id": 60, "key": "a"}, {"id": 61, "key": "b"}]})
    once = {"headers": {"Idempotency-Key": "claim-1"}, "key": ann}
    first = c("POST", "/v1/users/kim/keys/claim", {"devices": ["phone"]}, **once)
    expect((first[0], first[1]["items"][0]["one_time_key"]["id"]), (200, 60))
    expect(c("POST", "/v1/users/kim/keys/claim", {"devices": ["phone"]}, **once), first)
    expect(c("POST", "/v1/users/kim/keys/claim", {"devices": ["tablet"]}, **once)[0], 409, "other devices")
    s.kill()
    s.start()
    expect(c("POST", "/v1/users/kim/keys/claim", {"devices": ["phone"]}, **once), first, "also after kill -9")
    other = c("POST", "/v1/users/kim/keys/claim", {"devices": ["phone"]}, headers={"Idempotency-Key": "claim-1"})
    expect(other[1]["items"][0]["one_time_key"]["id"], 61, "another claimant's key of the same name is another")
    expect(c("POST", "/v1/users/nobody/keys/claim", {}, key=ann)[0], 404)
    expect(c("POST", "/v1/users/kim/keys/claim", {"devices": [7]}, key=ann)[0], 400)


def tokens_once(s):
    """The same Idempotency-Key gives the same token, which is kept nowhere."""
    c = s.call
    post = lambda key, body, user="ida": c("POST", f"/v1/users/{user}/tokens", body, headers={"Idempotency-Key": key})
    first = post("t-1", {"device": "phone", "ttl": "2h"})
    expect(first[0], 201)
    time.sleep(0.01)
    expect(post("t-1", {"device": "phone", "ttl": "2h"}), first)
    assert post("t-2", {"device": "phone", "ttl": "2h"})[1]["token"] != first[1]["token"], "another key is another token"
    for other in ({"device": "tablet", "ttl": "2h"}, {"device": "phone", "ttl": "3h"}, {"device": "phone"}):
        expect(code(post("t-1", other)), (409, "/problems/conflict"), "other content")
    expect([d["id"] for d in c("GET", "/v1/users/ida/devices")[1]["items"]], ["phone"], "a conflict makes no device")
    assert post("t-1", {"device": "phone", "ttl": "2h"}, "other")[1]["token"] != first[1]["token"], "another user's"
    expect(c("GET", "/v1/users/ida/mailbox", key=first[1]["token"])[0], 200)
    for i in range(70):  # more than is kept
        expect(post(f"many-{i}", {"device": "phone"})[0], 201)
    newest = post("many-69", {"device": "phone"})
    expect(post("many-69", {"device": "phone"}), newest)
    s.stop()
    credentials = {"token": first[1]["token"].rsplit(".", 1)[1].encode(), "server key": s.key.split("_", 2)[2].encode()}
    for folder, _, names in os.walk(s.data):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                data = f.read()
            for what, text in credentials.items():
                assert text not in data, f"the {what} lies in {folder}/{name}"
    s.start()
    expect(post("many-69", {"device": "phone"}), newest, "also after a start")
    expect(c("DELETE", "/v1/users/ida")[0], 204)
    again = post("many-69", {"device": "phone"})[1]["token"]
    expect(c("GET", "/v1/users/ida/mailbox", key=again)[0], 200, "after an erasing it is a new one, which holds")


def apps(s):
    c = s.call
    other = key_make(s, "--name", "other", "--app", "other", "--scope", "all")
    c("PUT", "/v1/users/twin", {"name": "Demo twin"})
    expect(c("PUT", "/v1/users/twin", {"name": "Other twin"}, key=other)[0], 201)
    expect((c("GET", "/v1/users/twin")[1]["name"], c("GET", "/v1/users/twin", key=other)[1]["name"]), ("Demo twin", "Other twin"))
    for key, word in ((None, "demo"), (other, "other")):
        expect(c("PUT", "/v1/conversations/tt", {"type": "direct", "members": ["twin", "pal"], "name": word}, key=key)[0], 201)
    theirs = c("POST", "/v1/users/twin/tokens", {"device": "d"}, key=other)[1]["token"]
    ours = s.token("twin", "d")
    mine, their = Client(s.mqtt, "d", ours), Client(s.mqtt, "d", theirs)
    for x in (mine, their):
        expect(x.subscribe("users/twin/#"), [1], "the same user and client id in two apps")
    expect(c("POST", "/v1/conversations/tt/messages", {"id": "same", "from": "pal", "body": "for demo"})[0], 201)
    expect(c("POST", "/v1/conversations/tt/messages", {"id": "same", "from": "pal", "body": "for other"}, key=other)[0], 201)
    expect([p.json()["body"] for p in mine.messages(1, topic="/messages")], ["for demo"])
    expect([p.json()["body"] for p in their.messages(1, topic="/messages")], ["for other"])
    expect((mine.messages(), their.messages()), ([], []), "and nothing else")
    expect(c("GET", "/v1/conversations/ab", key=other)[0], 404)
    expect(c("GET", "/v1/users/bob", key=other)[0], 404)
    c("PUT", "/v1/users/pal/blocks/twin")
    eventually(lambda: expect(c("POST", "/v1/conversations/tt/messages", {"from": "twin", "body": "x"})[1].get("type"), "/problems/blocked"))
    expect(c("POST", "/v1/conversations/tt/messages", {"from": "twin", "body": "x"}, key=other)[0], 201, "a block of the other app")
    expect(c("DELETE", "/v1/users/twin", key=other)[0], 204)
    expect(their.ended().reason, 0x87)
    mine.ping()
    expect(c("GET", "/v1/users/twin", key=ours)[0], 200)


def story(s):
    s.call("PUT", "/v1/users/ann", {"name": "Ann"})
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    scopes(s)
    token_paths(s)
    devices(s)
    issuers(s)
    prekeys(s)
    tokens_once(s)
    apps(s)


both(story)

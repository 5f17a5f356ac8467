"""What operators see: /v1/flow moves with the load and costs little, a user's sessions show where each device is, and with --console all that is served at that door only."""
import time
import urllib.request

from harness import Server, eventually, expect


def columns(history):
    """The history with its differences added up: {name: values}, and when each point was taken."""
    def whole(steps):
        values, v = [], 0
        for i in range(history["count"]):
            v += steps[i] if i < len(steps) else 0
            values.append(v)
        return values
    return {name: whole(steps) for name, steps in history["columns"].items()}, whole(history["at"])


def flow(s, since=None, **how):
    status, answer = s.call("GET", "/v1/flow" + (f"?since={since}" if since is not None else ""), **how)
    expect(status, 200, answer)
    return answer


def scope(s, name, scopes):
    status, said = s.tool("key", "create", "--data", s.data, "--name", name, "--app", "demo", "--scope", scopes)
    expect(status, 0, said)
    return said.strip()


def load_is_seen(s, key):
    s.call("PUT", "/v1/conversations/c", {"type": "group", "members": ["ann", "bob"]})
    for i in range(60):
        expect(s.call("POST", "/v1/conversations/c/messages", {"from": "ann", "body": f"secret {i}"})[0], 201)

    def seen():
        history = flow(s, key=key)["history"]
        values, at = columns(history)
        assert history["count"] >= 2, history["count"]
        assert sum(values["messages_accepted_per_s"]) >= 50, values["messages_accepted_per_s"]
        assert max(values["durable_p99_us"]) > 0 and max(values["apply_p50_us"]) > 0
        expect(at, sorted(at))
        assert all(900 < b - a < 10000 for a, b in zip(at, at[1:])), at
        return history, values
    history, values = eventually(seen)
    assert all(len(steps) <= history["count"] for steps in history["columns"].values())
    assert min(values["resident_kib"]) > 1000 and min(values["disk_free_mib"]) > 0
    now = flow(s, key=key)
    assert "secret" not in str(now)
    expect([l["listener"] for l in now["listeners"]], ["http", "mqtt"])
    expect(len(now["partitions"]), 64)
    expect(sum(p["log_lag"] + p["apply_lag"] for p in now["partitions"]), 0, "nothing waits")
    assert sum(p["last"] for p in now["partitions"]) > 100 and any(p["first"] == 1 for p in now["partitions"])
    expect([t["thread"] for t in now["threads"]], ["shard-0", "shard-1", "log", "tables", "watch"])
    assert {"limit_rate", "limit_memory"} <= {l["limit"] for l in now["limits"]}
    return history["first"] + history["count"] - 1


def decisions_are_counted(s, key):
    """Each decision about notifications, once, also where one is stored for a whole audience; not again when the log is replayed."""
    put = lambda id, **more: expect(s.call("PUT", f"/v1/workflows/{id}", {"channels": ["inapp"], "templates": {"en": {"title": "{actor}"}}, **more})[0], 201)
    post = lambda w, users, **more: expect(s.call("POST", "/v1/notifications", {"workflow": w, "to": {"users": users} if isinstance(users, list) else users, "actor": "eve", **more})[0], 202)
    counts = lambda: {n["outcome"]: n["count"] for n in flow(s, key=key)["notifications"] if n["count"]}
    put("like", group_by="object")
    put("once", cap={"count": 1, "per": "day"})
    put("out", channels=["inapp", "push"])
    s.call("PUT", "/v1/users/dan/mutes/eve")
    s.call("PUT", "/v1/users/cid/preferences", {"workflows": {"like": {"inapp": False}}})
    s.call("POST", "/v1/topics/t/users", {"add": ["ann", "bob", "cid"]})
    expect(counts(), {})
    post("like", ["ann", "bob", "cid", "dan"], object="x")
    post("like", ["ann"], object="x", actor="bob")
    post("once", ["ann"])
    post("once", ["ann"])
    post("once", ["ann"], collapse_key="k", actor="bob", id="again")
    post("once", ["ann"], collapse_key="k", actor="bob", id="again")
    expect(s.call("POST", "/v1/notifications/batch", {"items": [{"workflow": "none", "to": {"users": ["ann"]}}]})[0], 202)
    put("news")
    post("news", {"topic": "t"})
    want = {"triggers": 6, "recipients": 11, "delivered": 4, "merged": 3, "grouped": 1, "opted_out": 1, "muted": 1, "capped": 2}
    eventually(lambda: expect(counts(), want))
    top = s.call("GET", "/v1/users/ann/notifications")[1]["items"][0]["id"]
    s.call("POST", "/v1/users/ann/notifications/clicked", {"ids": [top]})
    want.update(seen=1, read=1, clicked=1)
    eventually(lambda: expect(counts(), want))
    text = s.call("GET", "/metrics", key=key)[1].decode()
    assert 'kith_notify_decisions_total{outcome="merged"} 3\n' in text and "kith_notify_triggers_total 6\n" in text, text
    assert eventually(lambda: sum(columns(flow(s, key=key)["history"])[0]["notify_recipients_per_s"]) >= 9 or expect(False, True)) is not None
    s.kill()
    s.start()
    eventually(lambda: expect(s.call("GET", "/v1/users/ann/notifications")[0], 200))
    expect(counts(), {}, "since the start")


def newer_points_only(s, last):
    def one_more():
        h = flow(s, last)["history"]
        expect(h["first"], last + 1)
        assert 1 <= h["count"] <= 5, h["count"]
    eventually(one_more)
    expect(flow(s, last + 1000000)["history"]["first"], 1, "of a server before this one")
    expect(s.call("GET", "/v1/flow?since=-1")[0], 400)


def watch_seconds(s):
    text = s.call("GET", "/metrics")[1].decode()
    return float(next(l.split()[1] for l in text.splitlines() if l.startswith("kith_watch_cpu_seconds_total ")))


def costs_little(s):
    """As with an open console: polled each second. The sanitizers make it twice as dear."""
    before, began, last = watch_seconds(s), time.time(), 0
    for _ in range(3):
        h = flow(s, last)["history"]
        last = h["first"] + h["count"] - 1
        time.sleep(1)
    share = (watch_seconds(s) - before) / (time.time() - began)
    print(f"the watch takes {share * 100:.2f} % of a core")
    assert 0 < share < 0.03, share


def sessions_of_a_user(s, key):
    token = s.token("bob", "phone")
    expect(s.sub("bob", "phone", token, seconds=1), [], "it has a session from now on")
    before = s.call("GET", "/v1/users/bob/sessions", key=key)[1]["items"][0]["acknowledged"]
    s.call("POST", "/v1/conversations/c/messages", {"from": "ann", "body": "while away"})

    def waiting():
        status, answer = s.call("GET", "/v1/users/bob/sessions", key=key)
        expect(status, 200, answer)
        phone, = answer["items"]
        expect((phone["device"], phone["connected"], phone["kept"], phone["waiting"]), ("phone", False, True, 1))
        assert phone["acknowledged"] < answer["mailbox"]["last"] and "left_at" in phone
    eventually(waiting)
    expect(len(s.sub("bob", "phone", token, count=1)), 1)

    def taken():
        status, answer = s.call("GET", "/v1/users/bob/sessions", key=key)
        phone, = answer["items"]
        assert phone["acknowledged"] > before, (phone, before)
    eventually(taken)
    expect(s.call("GET", "/v1/users/eve/sessions", key=key)[0], 404)
    expect(s.call("GET", "/v1/users/bob/sessions", key=token)[0], 403)


def operators_see_no_content(s, key):
    expect(s.call("GET", "/v1/conversations/c/receipts", key=key)[0], 200)
    expect(s.call("GET", "/v1/users/bob/devices", key=key)[0], 200)
    for path in "/v1/conversations/c/messages", "/v1/conversations/c", "/v1/users/bob/mailbox", "/v1/users/bob":
        expect(s.call("GET", path, key=key)[0], 403, path)
    expect(s.call("GET", "/v1/flow", key=scope(s, "reads", "read,write,tokens"))[0], 403)


def status_at(port, path, key=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": "Bearer " + key} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code


def door_of_their_own():
    import json
    s = Server("--shards", "1", "--console", "127.0.0.1:0")
    console = json.loads(s.servings()[-1])["console"]
    for path in "/v1/flow", "/metrics", "/v1/sessions", "/console":
        expect(status_at(s.http, path, s.key), 404, path)
        expect(status_at(console, path, s.key), 200, path)
    for path, inside in ("/v1/users/x/mailbox", 200), ("/healthz", 200):
        expect(status_at(s.http, path, s.key), inside, path)
    expect(status_at(console, "/v1/users/x/mailbox", s.key), 404)
    expect(status_at(console, "/v1/users/x/devices", s.key), status_at(s.http, "/v1/users/x/devices", s.key))
    expect(status_at(console, "/healthz"), 200)
    expect(status_at(console, "/v1/flow"), 401)
    s.close()


s = Server("--shards", "2")
operate = scope(s, "console", "operate")
last = load_is_seen(s, operate)
newer_points_only(s, last)
sessions_of_a_user(s, operate)
operators_see_no_content(s, operate)
expect(status_at(s.http, "/console"), 200, "in every mode")
decisions_are_counted(s, operate)
costs_little(s)
s.close()
door_of_their_own()

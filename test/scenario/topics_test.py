"""Topics: who is in one is told what is sent to it. People come and go one by one or by the thousand; lists have everyone once; all of it outlives kill -9;
who is erased is in none."""
import random, threading
from harness import Server, expect, eventually


def listed(s, path, limit):
    ids, cursor = [], None
    while True:
        status, page = s.call("GET", f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        expect(status, 200, path)
        assert len(page["items"]) <= limit
        ids += [i["id"] for i in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return ids


def change(s, topic, **lists):
    status, said = s.call("POST", f"/v1/topics/{topic}/users", lists)
    expect(status, 200, said)
    return said["added"], said["removed"]


def one_by_one(s):
    c = s.call
    expect(c("GET", "/v1/topics/news"), (200, {"id": "news", "count": 0}), "nobody yet")
    expect(c("PUT", "/v1/topics/news/users/ann"), (201, {"id": "ann"}))
    expect(c("GET", "/v1/users/ann")[0], 200, "naming makes")
    expect(c("PUT", "/v1/topics/news/users/ann")[0], 200)
    expect(c("PUT", "/v1/topics/sport/users/ann")[0], 201)
    expect(c("PUT", "/v1/topics/news/users/ann?user=ann")[0], 200)
    expect(listed(s, "/v1/users/ann/topics", 1), ["sport", "news"], "newest first")
    expect(c("DELETE", "/v1/topics/news/users/ann")[0], 204)
    expect(c("DELETE", "/v1/topics/news/users/ann")[0], 204, "repeated")
    expect(c("DELETE", "/v1/topics/news/users/never")[0], 204)
    expect(c("GET", "/v1/users/never")[0], 404, "to go makes nobody")
    expect(c("PUT", "/v1/topics/news/users/ann")[0], 201, "again")
    expect(listed(s, "/v1/users/ann/topics", 50), ["news", "sport"])
    token = s.token("ann", "phone")
    expect(c("GET", "/v1/users/ann/topics", key=token)[0], 200, "their own")
    expect(c("PUT", "/v1/topics/news/users/ann", key=token)[0], 403)
    expect(c("GET", "/v1/topics/news/users", key=token)[0], 403)


def thousands(s):
    people = [f"p{i}" for i in range(3000)]
    for i in range(0, 3000, 1000):
        expect(change(s, "all", add=people[i:i + 1000]), (1000, 0))
    expect(change(s, "all", add=people[:10] + people[:10], remove=["stranger"] + people[10:20]), (0, 10), "who is in is not counted, nor who is not")
    inside, r = set(people[:10] + people[20:]), random.Random(5)
    for round in range(4):
        expect(s.call("GET", "/v1/topics/all")[1]["count"], len(inside))
        for limit in (200, 97):
            found = listed(s, "/v1/topics/all/users", limit)
            expect((len(found), set(found) == inside), (len(inside), True), "everyone once")
        go = r.sample(sorted(inside), min(len(inside), 900))
        come = r.sample(sorted(set(people) - inside), min(len(people) - len(inside), 400)) + [f"q{round}-{i}" for i in range(300)]
        expect(change(s, "all", add=come, remove=go), (len(come), len(go)))
        inside = inside - set(go) | set(come)


def who_stays_is_listed_once(s):
    """Others come and go while the list is read."""
    stay = [f"s{i}" for i in range(400)]
    change(s, "busy", add=stay)
    done = threading.Event()

    def churn():
        r = random.Random(7)
        while not done.is_set():
            some = r.sample(range(1000), 100)
            change(s, "busy", add=[f"t{i}" for i in some])
            change(s, "busy", remove=[f"t{i}" for i in r.sample(range(1000), 300)])
    other = threading.Thread(target=churn)
    other.start()
    for limit in (23, 60, 200):
        found = [i for i in listed(s, "/v1/topics/busy/users", limit) if i[0] == "s"]
        expect((len(found), set(found) == set(stay)), (400, True), f"limit {limit}")
    done.set()
    other.join()


def refusals(s):
    for body, status, field in (({}, 422, "add"), ({"add": [], "remove": []}, 422, "add"), ({"add": "ann"}, 400, "add"), ({"add": [7]}, 400, "add"), ({"add": ["no id"]}, 422, "add"),
                                ({"add": ["a"] * 1001}, 422, "add"), ({"remove": [f"x{i}" for i in range(1001)]}, 422, "remove"),
                                ({"add": ["a", "b"], "remove": ["c", "b"]}, 422, "remove"), ({"users": ["a"]}, 400, "users")):
        status_got, said = s.call("POST", "/v1/topics/t/users", body)
        expect((status_got, said["field"]), (status, field), f"{str(body)[:60]}")
    expect(s.call("GET", "/v1/topics/t")[1]["count"], 0, "nothing of it happened")
    expect(s.call("GET", "/v1/topics/t/users?cursor=junk")[0], 400)
    reader = s.tool("key", "create", "--data", s.data, "--name", "reader", "--app", "demo", "--scope", "read")[1].strip()
    expect(s.call("PUT", "/v1/topics/t/users/ann", key=reader)[0], 403)
    expect(s.call("GET", "/v1/topics/t", key=reader)[0], 200)


s = Server()
one_by_one(s)
thousands(s)
who_stays_is_listed_once(s)
refusals(s)
before = {t: sorted(listed(s, f"/v1/topics/{t}/users", 200)) for t in ("news", "sport", "all", "busy")}
s.kill()
s.start()
expect({t: sorted(listed(s, f"/v1/topics/{t}/users", 200)) for t in before} == before, True, "as before kill -9")
expect({t: s.call("GET", f"/v1/topics/{t}")[1]["count"] for t in before}, {t: len(ids) for t, ids in before.items()})
expect(s.call("DELETE", "/v1/users/ann")[0], 204)
expect((listed(s, "/v1/topics/news/users", 50), s.call("GET", "/v1/topics/sport")[1]["count"], s.call("GET", "/v1/users/ann/topics")[0]), ([], 0, 404), "who is erased is in none")
expect(s.call("PUT", "/v1/users/ann", {})[0], 201)
expect(listed(s, "/v1/users/ann/topics", 50), [], "and somebody new is in none")
s.stop()
s.check()
s.close()

"""What is sent to a topic, to someone's followers or to everyone reaches exactly those who belong to it then: who comes later has not got it, who has gone keeps what
they had, a connected device is told once, and nothing of it is lost with kill -9. Random acts against a model that keeps a list for each person."""
import random
import time
from harness import Server, expect, eventually
from mqtt import Client

USERS = [f"u{i}" for i in range(12)]
STARS, TOPICS = ["star0", "star1"], ["t0", "t1", "t2"]


class Model:
    def __init__(self):
        self.got, self.inside = {}, {}  # by user: triggers in order; by audience: users

    def of(self, audience):
        return set(self.got) if audience == "*" else self.inside.setdefault(audience, set())


def send(s, m, audience):
    to = {"everyone": True} if audience == "*" else {"topic": audience[1:]} if audience[0] == "#" else {"followers_of": audience[1:]}
    status, said = s.call("POST", "/v1/notifications", {"workflow": "news", "to": to, "object": audience})
    expect(status, 202, said)
    for user in m.of(audience):
        m.got[user].append(said["id"])
    return said["id"]


def settled(s, m, users):
    """Each inbox, newest first, is what the model has, and its counts say so."""
    for user in users:
        status, page = s.call("GET", f"/v1/users/{user}/notifications?limit=200")
        if user not in m.got:
            expect(page.get("items", []), [], f"{user} is nobody")
            continue
        expect([n["trigger"] for n in page["items"]], m.got[user][::-1], user)
        expect(page["counts"], {"unseen": len(m.got[user]), "unread": len(m.got[user])}, user)


def act(s, m, r):
    user, dice = r.choice(USERS), r.random()
    if dice < .3:
        topic = r.choice(TOPICS)
        s.call("PUT", f"/v1/topics/{topic}/users/{user}")
        m.got.setdefault(user, [])
        m.of("#" + topic).add(user)
    elif dice < .45:
        topic = r.choice(TOPICS)
        s.call("DELETE", f"/v1/topics/{topic}/users/{user}")
        m.of("#" + topic).discard(user)
    elif dice < .65:
        star = r.choice(STARS)
        s.call("PUT", f"/v1/users/{user}/follows/{star}")
        m.got.setdefault(user, [])
        m.of("@" + star).add(user)
    elif dice < .75:
        star = r.choice(STARS)
        s.call("DELETE", f"/v1/users/{user}/follows/{star}")
        m.got.setdefault(user, [])  # naming makes
        m.of("@" + star).discard(user)
    elif dice < .8:
        s.call("DELETE", f"/v1/users/{user}")
        m.got.pop(user, None)
        for inside in m.inside.values():
            inside.discard(user)
    else:
        send(s, m, r.choice(["*"] + ["#" + t for t in TOPICS] + ["@" + x for x in STARS]))
        eventually(lambda: settled(s, m, USERS))


def histories(s, seed, acts):
    m, r = Model(), random.Random(seed)
    for star in STARS:
        s.call("PUT", f"/v1/users/{star}", {})
        m.got[star] = []
    for i in range(acts):
        act(s, m, r)
        if i == acts // 2:
            s.kill()
            s.start()
    eventually(lambda: settled(s, m, USERS + STARS))
    return m


def devices(s, m):
    """Connected, each hears at once and once; away, the same when it comes back."""
    phones = {u: Client(s.mqtt, u + "-phone", s.token(u, u + "-phone")) for u in ("u0", "u1", "new")}
    m.got.setdefault("u0", []), m.got.setdefault("u1", [])
    m.got["new"] = []
    for u, phone in phones.items():
        phone.subscribe(f"users/{u}/notifications")
    for u in ("u0", "u1"):
        s.call("PUT", f"/v1/topics/live/users/{u}")
        m.of("#live").add(u)
    s.call("PUT", "/v1/users/new/follows/star0")
    m.of("@star0").add("new")
    before = {u: len(m.got[u]) for u in phones}
    for audience in ("#live", "*", "@star0", "#live"):
        send(s, m, audience)
    for u, phone in phones.items():
        heard = [p.json() for p in phone.exactly(len(m.got[u]) - before[u])]
        expect([(n["trigger"], n["event"]) for n in heard], [(t, "created") for t in m.got[u][before[u]:]], u)
        expect(heard[-1]["counts"], {"unseen": len(m.got[u]), "unread": len(m.got[u])}, u)
    phones["u0"].disconnect()
    for audience in ("*", "#live"):
        send(s, m, audience)
    eventually(lambda: settled(s, m, ["u0", "u1", "new"]))
    again = Client(s.mqtt, "u0-phone", s.token("u0", "u0-phone"))
    expect([p.json()["trigger"] for p in again.exactly(2)], m.got["u0"][-2:], "what came while it was away")


s = Server()
expect(s.call("PUT", "/v1/workflows/news", {"channels": ["inapp"], "priority": "normal", "templates": {"en": {"title": "{object}", "body": "something happened"}}})[0], 201)
m = histories(s, 1, 120)
devices(s, m)
s.stop()
s.check()
s.close()

"""relevance: learned. A person's first day has what the owner wants at once and the rest waits for the digest; those who open it hear of such sooner; high priority does not ask; a coin is told as one; `why` shows the chance and the terms that weighed most; who is erased is forgotten."""
import re

from harness import eventually, expect
from lanes import both

TEMPLATES = {"en": {"title": "{actor} liked it", "body": "b"}}
TERMS = r"(habit|workflow|actor|hour|channel|last opened|last sent|others) [+-]\d+\.\d\d"
WORDS = re.compile(rf"\d+\.\d % against \d+\.\d %(, by a coin of \d+\.\d\d %)?: {TERMS}(, {TERMS}){{0,3}}")


def ids(s, user):
    return [x["id"] for x in s.call("GET", f"/v1/users/{user}/notifications?limit=200")[1]["items"]]


def tell(s, user, name, workflow, actor="ann"):
    expect(s.call("POST", "/v1/notifications", {"id": name, "workflow": workflow, "to": {"users": [user]}, "actor": actor})[0], 202)


def decided(s, user, name):
    """The decision about its relevance, once it is there."""
    def look():
        items = s.call("GET", f"/v1/notifications/{name}/why/{user}")[1]["items"]
        found = [x for x in items if x["decision"] in ("likely", "unlikely", "explored")]
        expect(len(found), 1, f"{name}: {items}")
        expect(bool(WORDS.fullmatch(found[0]["detail"])), True, found[0]["detail"])
        return found[0]
    return eventually(look)


def story(s):
    put = lambda name, **more: expect(s.call("PUT", f"/v1/workflows/{name}", {"channels": ["inapp"], "templates": TEMPLATES, **more})[0], 201)
    put("likes", relevance={"mode": "learned", "target_per_day": 3, "explore": 0})
    put("coin", relevance={"mode": "learned", "target_per_day": 3, "explore": 1})
    put("alarm", relevance="learned", priority="high")

    # the first day has its worth
    for i in range(6):
        tell(s, "bob", f"b{i}", "likes")
        expect(decided(s, "bob", f"b{i}")["decision"], "likely" if i < 3 else "unlikely", f"b{i}")
    expect(ids(s, "bob"), ["b2", "b1", "b0"])
    status, totals = s.call("GET", "/v1/notifications/b5")
    expect((totals["held_back"]["unlikely"], totals["held_back"]["waiting"], totals["delivered"]), (1, 1, 0))

    # high priority leaves whatever was learned
    tell(s, "bob", "high", "alarm")
    eventually(lambda: expect(ids(s, "bob")[0], "high"))
    expect([x["decision"] for x in s.call("GET", "/v1/notifications/high/why/bob")[1]["items"]], ["delivered"])

    # what cid opens is likelier the next time; what dan does not open is not
    for i in range(2):
        for user in "cid", "dan":
            tell(s, user, f"{user}{i}", "likes")
            decided(s, user, f"{user}{i}")
        eventually(lambda: expect(f"cid{i}" in ids(s, "cid"), True))
        expect(s.call("POST", "/v1/users/cid/notifications/read", {"ids": [f"cid{i}"]})[0] < 300, True)
    chance = {}
    for user in "cid", "dan":
        tell(s, user, f"{user}2", "likes")
        chance[user] = float(decided(s, user, f"{user}2")["detail"].split(" ")[0])
    expect(chance["cid"] > 1.5 * chance["dan"], True, str(chance))

    # a coin
    sent = 0
    for i in range(24):
        tell(s, "eve", f"e{i}", "coin")
        said = decided(s, "eve", f"e{i}")
        expect("by a coin of 50.00 %" in said["detail"], True, said["detail"])
        sent += said["decision"] == "explored" and f"e{i}" in ids(s, "eve")
    expect(4 <= sent <= 20, True, f"{sent} of 24 by a fair coin")

    # forgotten
    expect(s.call("DELETE", "/v1/users/cid")[0], 204)
    s.call("PUT", "/v1/users/cid", {})
    tell(s, "cid", "again", "likes")
    forgot = eventually(lambda: decided(s, "cid", "again"))
    expect("actor" in forgot["detail"], False, forgot["detail"])
    s.stop()
    s.check()


if __name__ == "__main__":
    both(story)

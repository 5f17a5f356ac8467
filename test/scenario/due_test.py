"""What is due later comes in time: not before, and once, also when the server was killed meanwhile, and a crowd that is due at one moment comes whole."""
import time
from datetime import datetime, timedelta, timezone

from harness import eventually, expect
from lanes import both

CROWD = 300


def moment(seconds):
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def inbox(s, user):
    status, page = s.call("GET", f"/v1/users/{user}/notifications?limit=200")
    expect(status, 200)
    return page["items"]


def story(s):
    s.call("PUT", "/v1/workflows/w", {"channels": ["inapp"], "templates": {"en": {"title": "t", "body": "b"}}})

    # one after the other, and a kill between them: what fell due meanwhile comes after the start, in any order
    due = {f"n{i}": moment(0.4 + i * 0.15) for i in range(8)}
    for name, at in reversed(due.items()):
        status, _ = s.call("POST", "/v1/notifications", {"id": name, "workflow": "w", "to": {"users": ["bob"]}, "send_at": at})
        expect(status, 202)
    early = inbox(s, "bob")
    expect(early == [] or moment(0) >= due["n0"], True, "nothing is due yet")
    eventually(lambda: expect(len(inbox(s, "bob")) > 0, True))
    s.kill()
    killed = moment(0)
    time.sleep(0.4)
    s.start()
    started = moment(0)
    eventually(lambda: expect(len(inbox(s, "bob")), len(due)))
    got = inbox(s, "bob")
    expect(sorted(x["id"] for x in got), sorted(due), "each once")
    for x in got:
        expect(x["created_at"] >= due[x["id"]], True, f"{x['id']} came before its time: {x['created_at']}, {due[x['id']]}")
    # each waits for a commit, and a disk that others use may hold one up, but not all
    late = min((datetime.fromisoformat(x["created_at"][:-1]) - datetime.fromisoformat(max(due[x["id"]], started)[:-1]) for x in got if due[x["id"]] > killed), default=timedelta())
    expect(late < timedelta(seconds=2), True, f"the most punctual one is {late} late")

    # many at one moment
    at = moment(1)
    batch = [{"id": f"c{i}", "workflow": "w", "to": {"users": ["eve", f"u{i % 40}"]}, "send_at": at} for i in range(CROWD)]
    expect(s.call("POST", "/v1/notifications/batch", {"items": batch})[0], 202)
    early = inbox(s, "eve")
    expect(early == [] or moment(0) >= at, True, "not before its time")

    def all_there():
        seen, cursor = [], ""
        while cursor is not None:
            page = s.call("GET", "/v1/users/eve/notifications?limit=200" + (f"&cursor={cursor}" if cursor else ""))[1]
            seen += [x["id"] for x in page["items"]]
            cursor = page["next"]
        expect(sorted(seen), sorted(x["id"] for x in batch))

    eventually(all_there)
    expect(sum(len(inbox(s, f"u{i}")) for i in range(40)), CROWD)
    s.stop()
    s.check()


if __name__ == "__main__":
    both(story)

"""A client that sends again and again what is stored is told by the doctor, who and how often, though nothing is slow for it; one that does it once is no illness."""
import re

from harness import Server, eventually, expect
from mqtt import Client

AT_ONCE = 25  # more than the twenty within a second that are told


def check_of(s):
    status, said = s.call("GET", "/v1/doctor")
    expect(status, 200)
    return next(c for c in said["checks"] if c["check"] == "retries")


def again(client, enough):
    """As often as it takes: twenty must come within a second."""
    for _ in range(AT_ONCE):
        client.publish("conversations/ab/messages", {"id": "once", "body": "hello"})
    check = check_of(s)
    assert enough(check), check
    return check


s = Server("--shards", "1")
s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
ann = Client(s.mqtt, "anns", s.token("ann", "anns"))
check = eventually(lambda: again(ann, lambda c: c["evidence"]["events"]))
assert re.search(r"at least \d+; \d+ of them the user ann of the app demo, in ", check["words"]), check["words"]
assert check["evidence"]["user"] == "ann", check

# over and over: five seconds that had twenty are a loop
check = eventually(lambda: again(ann, lambda c: c["status"] == "warning"))
assert re.search(r"of them the user ann of the app demo, in \d+ seconds?(?:, up to \d+ in one)?", check["words"]), check["words"]
assert "Mend the client" in check["do"], check

# who looks after another app sees that there is one, and not who
key = s.tool("key", "create", "--data", s.data, "--name", "other", "--app", "other", "--scope", "operate")[1].strip()
said = next(c for c in s.call("GET", "/v1/doctor", key=key)[1]["checks"] if c["check"] == "retries")
assert "one user of another app" in said["words"] and "user" not in said["evidence"] and "ann" not in said["words"], said
s.close()

"""kith replay: a trace played at full speed and at its own, across a kill -9, and what it says about traces that cannot be read."""
import json, os, subprocess, time
from harness import KITH, Server, expect
from ports import free_port

EXAMPLE = os.path.join(os.path.dirname(__file__), "../../docs/guide/example.trace")
s = Server("--http", f"127.0.0.1:{free_port()}", "--mqtt", f"127.0.0.1:{free_port()}")  # the same after the next start


def replay(file, *options, during=None):
    p = subprocess.Popen([KITH, "replay", file, "--http", f"127.0.0.1:{s.http}", "--mqtt", f"127.0.0.1:{s.mqtt}", "--json", *options],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ, KITH_KEY=s.key))
    if during:
        during()
    out, err = p.communicate(timeout=100)
    return p.returncode, json.loads(out) if out else None, err


def written(text):
    path = os.path.join(s.dir, "trace")
    with open(path, "w") as f:
        f.write(text)
    return path


# at full speed, twice, and each time all of it
for run in ("one", "two"):
    status, r, err = replay(EXAMPLE, "--run", run)
    expect((status, r["ok"], r["messages"], r["users"], r["deliveries"], r["lost"], r["duplicated"], r["out_of_order"]), (0, True, 200, 20, 400, 0, 0, 0), err)
first = open(EXAMPLE).read().splitlines()[2].split()
status, kept = s.call("GET", "/v1/conversations/one.c0/messages?after=0")
expect((kept["items"][0]["id"], kept["items"][0]["from"], kept["items"][0]["seq"]), ("one.m0", first[0], 1))
status, _, err = replay(EXAMPLE, "--run", "one")
expect((status, "played to this server before" in err), (1, True), "a run is played once")

# in the trace's time; commas, a header, a note to oneself, more columns
status, r, err = replay(written("from,to,at,mood\nann,bob,10.5,good\nbob,ann,11,\"so so\"\n\n% remark\nann,ann,12,x\n"), "--speed", "2")
expect((status, r["deliveries"], 0.7 < r["seconds"] < 10), (0, 5, True), err)


# kill -9 in the middle: nothing is lost, nothing twice
def kill():
    time.sleep(2.5)
    s.kill()
    s.start()


status, r, err = replay(EXAMPLE, "--speed", "4000", during=kill)
expect((status, r["ok"], r["connections_lost"], r["sessions_lost"], r["deliveries"]), (0, True, 20, 0, 400), err)

# what cannot be played is said with file and line, before anything is sent
for text, said in (("a b 1\nb a 2\nc d x\n", ":3: the third field must be a time"), ("#\na b 1\nb a\n", ":3: a line is"), ("a b 1\na/b c 2\n", ":2: this cannot be a user's id"),
                   ("a b 1\n\na b nan\n", ":3: the third field"), ("", "holds no message")):
    status, _, err = replay(written(text))
    expect((status, said in err and "trace" in err), (1, True), err)
expect(replay("/nowhere/trace")[0], 1)
expect(replay(EXAMPLE, "--speed", "slow")[0], 2)
expect(replay(EXAMPLE, "--nosuch")[0], 2)
expect(replay(EXAMPLE, "--key", "wrong")[0], 1)
s.close()

"""Least privilege: what a server that serves may not do any more, whose it is, and what others may read of its data."""
import ctypes, os, pwd, re, socket, stat, subprocess, tempfile
import harness
from harness import Server, expect
from mqtt import Client

ME = os.geteuid() == 0
LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1) >= 2  # landlock_create_ruleset: its version


def proof(s):
    """What the server says when it tries: {"files": "held", ...}."""
    with socket.socket(socket.AF_UNIX) as c:
        c.settimeout(10)
        c.connect(os.path.join(s.data, "control"))
        c.sendall(b"proof\n")
        said = b""
        while data := c.recv(4096):
            said += data
    assert said.startswith(b"ok "), said
    return dict(word.split(" ") for word in said.decode()[3:].strip().split(", "))


def status(path):
    with open(path) as f:
        return dict(line.split(":", 1) for line in f.read().splitlines())


def threads(s):
    folder = f"/proc/{s.process.pid}/task"
    return [status(f"{folder}/{t}/status") for t in os.listdir(folder)]


def works(s):
    """Serves, stores, hears of new keys, backs up, stops."""
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    c = Client(s.mqtt, "d", s.token("ann", "d"))
    expect(c.publish("conversations/ab/messages", {"body": "x"}).reason, 0)
    key = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", "later", "--app", "demo", "--scope", "read"], text=True).strip()
    expect(s.call("GET", "/v1/users/ann", key=key)[0], 200, "a key made while it serves")
    for name in ("one", "two"):
        to = os.path.join(s.dir, name)
        expect(s.tool("backup", "--data", s.data, to), (0, f"ok backup written to {to}\n"))
        s.check(to)
    code, said = s.tool("backup", "--data", s.data, os.path.join(s.dir, "one"))
    assert code == 1 and "not an empty folder" in said, said
    code, said = s.tool("backup", "--data", s.data, "/proc/nowhere")
    assert code == 1 and "cannot be made" in said, said
    assert not [n for n in os.listdir(s.data) if n.startswith("backup")], "nothing is left where it was made"


def held():
    s = Server("--confine", "on" if LANDLOCK else "try", "--providers", "none")
    works(s)
    for t in threads(s):
        expect((t["Seccomp"].strip(), t["NoNewPrivs"].strip()), ("2", "1"), t["Name"])
    want = {"files": "held" if LANDLOCK else "open", "calls": "held", "privileges": "held"}
    expect(proof(s), want)
    # what was to leave is a dead letter at once
    s.call("PUT", "/v1/workflows/ring", {"channels": ["push"], "templates": {"en": {"title": "ring"}}})
    s.call("PUT", "/v1/users/bob/devices/phone", {"push": {"apns": {"token": "00fc13"}}})
    expect(s.call("POST", "/v1/notifications", {"workflow": "ring", "to": {"users": ["bob"]}})[0], 202)
    harness.eventually(lambda: expect([x["reason"] for x in s.call("GET", "/v1/dead-letters")[1]["items"]], ["no provider of this channel is configured"]))
    expect(s.call("GET", "/healthz")[0], 200, "it lives after trying")
    assert "not confined" not in s.said() or not LANDLOCK, s.said()
    for folder, _, names in os.walk(s.data):
        expect(stat.S_IMODE(os.stat(folder).st_mode) & 0o077, 0, folder)
        for name in names:
            mode = os.lstat(os.path.join(folder, name)).st_mode
            assert stat.S_ISLNK(mode) or not mode & 0o077, f"{folder}/{name} is open to others: {mode & 0o777:o}"
    # what was opened to others is closed, and said
    s.stop()
    os.chmod(s.data, 0o755)
    os.chmod(os.path.join(s.data, "secrets"), 0o644)
    s.start()
    assert re.search(r"data was open to others \(755\).*secrets was open to others \(644\)", s.said()), s.said()[-1000:]
    expect([stat.S_IMODE(os.stat(p).st_mode) for p in (s.data, os.path.join(s.data, "secrets"))], [0o700, 0o600])
    expect(s.call("GET", "/v1/users/ann")[0], 200, "and it serves")
    s.close()


def elsewhere():
    """A log in another folder is within reach too."""
    s = Server(data=None)
    s.stop()
    there = os.path.join(s.dir, "log-elsewhere")
    s.data, s.options = os.path.join(s.dir, "data2"), ("--log", "file:" + there, "--confine", "on" if LANDLOCK else "try")
    s.start()
    s.key = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", "t", "--app", "demo", "--scope", "all"], text=True).strip()
    works(s)
    assert os.listdir(there), "the log is there"
    s.close()


def sending():
    """A server that sends push and webhooks makes connections, and reads its providers' files, and nothing else."""
    s = Server()
    s.stop()
    with open(s.dir + "/ca.pem", "w") as f:
        f.write("-----BEGIN CERTIFICATE-----\n")
    with open(s.dir + "/providers.json", "w") as f:
        f.write('{"providers": [{"name": "hooks", "channel": "webhook", "ca_file": "ca.pem"}]}')
    s.options = ("--providers", s.dir + "/providers.json", "--confine", "on" if LANDLOCK else "try")
    s.start()
    expect(proof(s), {"files": "held" if LANDLOCK else "open", "calls": "open", "privileges": "held"})
    expect(len(s.call("GET", "/v1/push/key")[1]["webpush"]), 87)
    s.close()


def off():
    s = Server("--confine", "off")
    expect([t["Seccomp"].strip() for t in threads(s)][0], "0")
    expect(proof(s), {"files": "open", "calls": "open", "privileges": "open"}, "so the trying can fail")
    s.close()
    expect(subprocess.run([harness.KITH, "serve", "--confine", "much", "--data", s.data], capture_output=True).returncode, 2)


def user():
    said = subprocess.run([harness.KITH, "serve", "--user", "nobody-there", "--data", s_dir() + "/d"], capture_output=True, text=True)
    assert said.returncode == 1 and "there is no user 'nobody-there'" in said.stderr, said
    if not ME:
        print("skipped: --user needs root")
        return
    nobody = pwd.getpwnam("nobody")
    s = Server.__new__(Server)
    s.dir = s_dir()
    os.chmod(s.dir, 0o711)
    s.data, s.options, s.key = os.path.join(s.dir, "data"), ("--user", "nobody"), None
    s.start()
    try:
        s.key = subprocess.check_output([harness.KITH, "key", "create", "--data", s.data, "--name", "t", "--app", "demo", "--scope", "all"], text=True).strip()
        for t in threads(s):
            expect((t["Uid"].split(), t["Gid"].split()), ([str(nobody.pw_uid)] * 4, [str(nobody.pw_gid)] * 4))
            assert "0" not in t["Groups"].split(), "root's groups are gone"
            assert int(t["CapEff"], 16) & ~(1 << 10) == 0, f"more than low ports is left: {t['CapEff']}"
        works(s)
        for name in os.listdir(s.data):
            expect(os.lstat(os.path.join(s.data, name)).st_uid, nobody.pw_uid, name)
        s.stop()
        s.start()
        expect(s.call("GET", "/v1/users/ann")[0], 200, "again, with what root wrote")
    finally:
        s.abandon()
    s.close()


def s_dir():
    return tempfile.mkdtemp(prefix="kith-test-")


held()
sending()
elsewhere()
off()
user()

"""A kith server of its own in a temporary folder, and clients to it. Every scenario tells a story: act, expect."""
import atexit, json, os, re, shutil, signal, subprocess, tempfile, time, urllib.error, urllib.request

import answers
from patience import PATIENCE

KITH = os.environ.get("KITH", "build/kith")


class Server:
    def __init__(self, *options, data=None, start=True):
        self.dir = tempfile.mkdtemp(prefix="kith-test-")
        self.data = data or os.path.join(self.dir, "data")
        self.options = options
        atexit.register(self.abandon)
        if start:
            self.start()
            self.make_key()

    def make_key(self):
        self.key = subprocess.check_output([KITH, "key", "create", "--data", self.data, "--name", "test", "--app", "demo", "--scope", "all"], text=True).strip()

    def start(self, wait=True):
        self.log = open(os.path.join(self.dir, "log"), "a+")
        before = len(self.servings())
        self.process = subprocess.Popen([KITH, "serve", "--data", self.data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", *self.options],
                                        stdout=subprocess.DEVNULL, stderr=self.log)
        if not wait:
            return None
        until = time.time() + PATIENCE
        while time.time() < until:
            lines = self.servings()
            if len(lines) > before:
                said = json.loads(lines[-1])
                self.http, self.mqtt, self.https, self.mqtts = (said.get(n) for n in ("http", "mqtt", "https", "mqtts"))
                return None
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the server did not start, its exit status is {self.process.poll()}: " + self.said()[-4000:])

    def servings(self):
        return [l for l in self.said().splitlines() if l.endswith("}") and '"serving"' in l]

    def said(self):
        """All that it wrote on standard error, over all its starts."""
        with open(self.log.name, errors="replace") as f:
            return f.read()

    def lines(self):
        """The same as objects: every line must be one, with its time, level and message."""
        out = []
        for line in self.said().splitlines():
            try:
                said = json.loads(line)
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", said["time"]) and said["level"] in ("info", "warning", "error", "fatal") and said["message"]
            except (ValueError, KeyError, TypeError, AssertionError):
                raise AssertionError(f"on standard error, and not a line of the log: {line[:300]!r}")
            out.append(said)
        return out

    def fails(self, seconds=PATIENCE):
        """Starts and ends by itself with a failure: what it said."""
        done = subprocess.run([KITH, "serve", "--data", self.data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", *self.options],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=seconds)
        assert done.returncode == 1, f"exit status {done.returncode}: {done.stderr[-2000:]}"
        return done.stderr

    def tool(self, *args):
        """Runs `kith ARGS`: (exit status, what it said)."""
        done = subprocess.run([KITH, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        return done.returncode, done.stdout

    def check(self, data=None):
        """`kith check` must find nothing wrong."""
        status, said = self.tool("check", "--data", data or self.data)
        assert status == 0, "kith check: " + said

    def abandon(self):
        """A test that fails leaves no server behind; its folder stays, to be looked at."""
        if getattr(self, "process", None) and self.process.poll() is None:
            self.kill()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE) == 0, open(self.log.name).read()

    def close(self):
        if self.process.poll() is None:
            self.stop()
        self.lines()
        shutil.rmtree(self.dir)

    def call(self, method, path, body=None, key=None, headers=None):
        """(status, body): JSON decoded, else bytes, None when empty. Each is checked against docs/openapi.json."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", method=method,
                                         data=None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode()))
        request.add_header("Authorization", "Bearer " + (key or self.key))
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            answer = urllib.request.urlopen(request, timeout=PATIENCE)
        except urllib.error.HTTPError as e:
            answer = e
        with answer:
            text = answer.read()
            said = json.loads(text) if text and "json" in answer.headers.get("Content-Type", "") else text
            answers.check(method, path, None if isinstance(body, bytes) else body, answer.status, answer.headers, said)
            return answer.status, said if text or answer.status < 400 else None

    def token(self, user, device):
        status, answer = self.call("POST", f"/v1/users/{user}/tokens", {"device": device})
        assert status == 201, answer
        return answer["token"]

    def pub(self, user, device, token, topic, message, version="5"):
        return subprocess.run(["mosquitto_pub", "-V", version, "-h", "127.0.0.1", "-p", str(self.mqtt), "-q", "1", "-i", device, "-u", user, "-P", token,
                               "-t", topic, "-m", json.dumps(message)], capture_output=True, text=True, timeout=30)

    def sub(self, user, device, token, count=None, seconds=3, version="5"):
        """What a kept session of the device receives, `count` of them or all that come in so many seconds: a list of (topic, payload)."""
        seconds = PATIENCE if count else seconds
        args = ["mosquitto_sub", "-V", version, "-h", "127.0.0.1", "-p", str(self.mqtt), "-q", "1", "-c", "-i", device, "-u", user, "-P", token,
                "-t", f"users/{user}/#", "-F", "%t %p", "-W", str(seconds)]
        if version == "5":
            args += ["-x", "86400"]
        if count:
            args += ["-C", str(count)]
        out = subprocess.run(args, capture_output=True, text=True, timeout=seconds + 20).stdout
        return [(l.split(" ", 1)[0], json.loads(l.split(" ", 1)[1])) for l in out.splitlines()]


def expect(got, want, what=""):
    assert got == want, f"{what}: got {got!r}, expected {want!r}"


def eventually(fn, seconds=PATIENCE):
    """Runs until it returns without an assertion failing: what crosses partitions takes two commits."""
    until = time.time() + seconds
    while True:
        try:
            return fn()
        except AssertionError:
            if time.time() > until:
                raise
            time.sleep(0.05)

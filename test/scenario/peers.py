"""Programs that nobody here wrote, for the tests that talk to kith through them. Each comes by its registry's ordinary client, its version pinned, into a cache outside the tree,
once; what cannot be had here is skipped in words. And devices: scripts of test/peers that run on top of such a program, told what to do line by line."""
import fcntl, hashlib, json, os, shutil, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "..", "peers")
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "kith")
PATIENCE = 120  # seconds for one installation
AGAIN = 600     # seconds after which what failed is tried again: without a network, each test would wait for itself


class Missing(Exception):
    """It cannot be had on this machine; the words say why."""


def skip(why):
    """The whole test, from here on."""
    print(f"skipped: {why}")
    sys.exit(0)


def install(home, what, command, works):
    """Runs the command once, if `home` is not ready, then `works`, which says with its exit status whether what came is of use here. Of tests that ask at once, one does it for all."""
    os.makedirs(home, exist_ok=True)
    with open(os.path.join(home, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return install_alone(home, what, command, works)


def install_alone(home, what, command, works):
    ready, failed = os.path.join(home, "ready"), os.path.join(home, "failed")
    if os.path.exists(ready):
        return home
    if os.path.exists(failed) and time.time() - os.path.getmtime(failed) < AGAIN:
        raise Missing(open(failed).read())
    why = None
    for step in (command, works):
        try:
            done = subprocess.run(step, cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
            if done.returncode:
                said = [line for line in done.stdout.splitlines() if line.strip()]
                best = [line for line in said if "rror" in line] or said[-1:] or [step[0] + " failed"]
                why = f"{what} cannot be had here: {best[0].strip()[:200]}"
        except (OSError, subprocess.TimeoutExpired) as e:
            why = f"{what} cannot be had here: {e}"
        if why:
            with open(failed, "w") as f:
                f.write(why)
            raise Missing(why)
    open(ready, "w").close()
    return home


def npm(package, *more):
    """The folder in which scripts find the package, `name@version`. More: what it needs and does not say."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise Missing(f"{package}: node and npm are not installed")
    home = os.path.join(CACHE, "npm-" + package.replace("/", "-").strip("@"))
    return install(home, package, ["npm", "install", "--prefix", home, "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-timeout=20000",
                                   package, *more],
                   ["node", "--input-type=module", "-e", f"await import({json.dumps(package.rsplit('@', 1)[0])})"])


def npm_of(package_json):
    """The folder in which scripts find all that a package.json of ours names. Its versions are pinned there; no lock is kept, which would name where each came from."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise Missing(f"{package_json}: node and npm are not installed")
    with open(package_json) as f:
        text = f.read()
    said = json.loads(text)
    home = os.path.join(CACHE, f"npm-{said['name']}-{hashlib.sha256(text.encode()).hexdigest()[:12]}")
    os.makedirs(home, exist_ok=True)
    shutil.copy(package_json, home)
    works = " ".join(f"await import({json.dumps(name)});" for name in said["dependencies"])
    return install(home, ", ".join(said["dependencies"]), ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", "--ignore-scripts", "--fetch-retries=1",
                                                           "--fetch-timeout=20000"], ["node", "--input-type=module", "-e", works])


def pip(package, version, module, python=sys.executable):
    """The folder to put on PYTHONPATH; or, with namespaces in it, to give to site.addsitedir."""
    home = os.path.join(CACHE, f"pip-{package}-{version}")
    return install(home, package, [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "20", "--target", home,
                                   f"{package}=={version}"], [python, "-c", f"import site; site.addsitedir({home!r}); import {module}"])


class Device:
    """A script of test/peers as a process of its own. It answers each line with a line; what it throws is an AssertionError here."""

    def __init__(self, script, home, **about):
        self.name = f"{about.get('user')}/{about.get('device')}"
        self.process = subprocess.Popen(["node", os.path.join(SCRIPTS, script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "PEER_HOME": home, "PEER_ABOUT": json.dumps(about)})

    def begin(self, act, **args):
        self.process.stdin.write(json.dumps({"act": act, **args}) + "\n")
        self.process.stdin.flush()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended by itself")
        return json.loads(line)

    def value(self, said):
        assert "error" not in said, f"{self.name}: {said['error']}"
        return said["value"]

    def end(self):
        return self.value(self.line())

    def do(self, act, **args):
        self.begin(act, **args)
        return self.end()

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()

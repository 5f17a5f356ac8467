"""A server with faults made in it on purpose (test/inject, preloaded), a steady load on it, and what the doctor makes of the requests that fell into
a fault. Counted are all slow ones that the fault alone made slow: they overlap it for at least 20 ms."""
import datetime, mmap, os, shutil, struct, subprocess, tempfile, time

import harness
from harness import Server

INJECT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "inject")
LOG_SYNC_US, TABLES_US, LOCK_US, CLOCK_MS, WORDS, DONE_MAX = 0, 1, 2, 3, 16, 1024
SLOW_MS = 20
MEMORY = "/dev/shm"
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 << 30:
    tempfile.tempdir = MEMORY   # the disk of a machine that others use is slow by itself now and then


class Inject:
    """What a preloaded library is asked for, and what it has done: see test/inject/inject.h."""

    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(bytes(8 * (WORDS + 1 + 2 * DONE_MAX)))
        self.file = open(path, "r+b")
        self.page = mmap.mmap(self.file.fileno(), 0)

    def ask(self, word, value):
        self.page[8 * word:8 * word + 8] = struct.pack("<q", value)

    def asked(self, word):
        return struct.unpack_from("<q", self.page, 8 * word)[0]

    def done(self):
        """Faults made: (from, to), seconds of the monotonic clock."""
        n = min(struct.unpack_from("<q", self.page, 8 * WORDS)[0], DONE_MAX)
        times = struct.unpack_from(f"<{2 * n}q", self.page, 8 * (WORDS + 1))
        return [(a / 1e9, b / 1e9) for a, b in zip(times[::2], times[1::2])]

    def once(self, word, value, seconds=5):
        """One fault: when it is over."""
        before, until = len(self.done()), time.time() + seconds
        self.ask(word, value)
        while len(self.done()) == before and time.time() < until:
            time.sleep(0.01)
        return self.done()[before:]


class FaultyServer(Server):
    def __init__(self, library, *options, start=True):
        super().__init__(*options, start=False)
        self.inject = Inject(os.path.join(self.dir, "inject"))
        built = os.path.join(self.dir, library + ".so")
        subprocess.run(["cc", "-O1", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", built, os.path.join(INJECT, library + ".c"), "-ldl", "-lpthread"], check=True)
        preload = [built]
        linked = subprocess.run(["ldd", harness.KITH], capture_output=True, text=True).stdout
        if "libasan" in linked:   # it insists on being the first
            preload.insert(0, subprocess.check_output(["cc", "-print-file-name=libasan.so"], text=True).strip())
        os.environ.update(LD_PRELOAD=" ".join(preload), KITH_INJECT=os.path.join(self.dir, "inject"))
        try:
            self.start()
        finally:
            del os.environ["LD_PRELOAD"], os.environ["KITH_INJECT"]
        self.make_key()
        prefer(self)


alone = True


def prefer(s):
    """Before all other programs of this machine, if we may: what they do is not what a test injects."""
    global alone
    for thread in os.listdir(f"/proc/{s.process.pid}/task"):
        try:
            os.sched_setscheduler(int(thread), os.SCHED_RR, os.sched_param(1))
        except ProcessLookupError:
            pass
        except PermissionError:
            if alone:
                print("not root: other programs may take the core, and are named then")
            alone = False
    return s


def steady(s, seconds, rate=150, pairs=8, payload=100):
    """Messages at a steady rate, from a program of its own."""
    return subprocess.Popen([harness.KITH, "bench", "one-to-one", "--http", f"127.0.0.1:{s.http}", "--mqtt", f"127.0.0.1:{s.mqtt}", "--key", s.key, "--pairs", str(pairs),
                             "--rate", str(rate), "--duration", str(seconds), "--warmup", "0", "--payload", str(payload)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def slow(s, limit=200):
    status, body = s.call("GET", f"/v1/slow?limit={limit}")
    assert status == 200, body
    return body


def when(item):
    """(from, to) on the monotonic clock."""
    at = datetime.datetime.fromisoformat(item["at"].replace("Z", "+00:00")).timestamp() - time.time() + time.monotonic()
    return at, at + item["took_ms"] / 1000


def overlap_ms(item, faults):
    a, b = when(item)
    return 1000 * sum(max(0, min(b, to) - max(a, start)) for start, to in faults)


def judge(what, items, faults, causes, least=3, share=0.95):
    """Of the slow ones that a fault alone made slow, so many must have one of the causes. Prints the count."""
    causes = {causes} if alone else {causes, "cpu_taken"}
    hit = [i for i in items if overlap_ms(i, faults) >= SLOW_MS]
    wrong = [i for i in hit if i["cause"]["code"] not in causes]
    others = len(items) - len(hit)
    for i in wrong[:5]:
        print(f"  {what}: {i['cause']['code']}: {i['took_ms']} ms, {[(t['stage'], t['ms']) for t in i['stages']]}, {i['cause']['words']}")
    print(f"{what}: {len(faults)} faults, {len(hit)} slow ones in them, {len(hit) - len(wrong)} named {'/'.join(sorted(causes))}; {others} slow ones beside them")
    assert len(hit) >= least, f"{what}: only {len(hit)} slow ones of {len(items)} fell into {len(faults)} faults"
    assert len(wrong) <= (1 - share) * len(hit), f"{what}: {len(wrong)} of {len(hit)} have another cause: " + "\n".join(
        f"{i['cause']['code']}: {i['took_ms']} ms, {i['stages']}, {i['cause']['words']}" for i in wrong[:5])
    for i in hit:
        assert i["cause"]["do"] and len(i["cause"]["words"]) > 30 and (i["cause"]["code"] == "unknown" or i["cause"]["evidence"] or i["what"] == "device"), i
    return hit

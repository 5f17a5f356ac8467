#!/usr/bin/env python3
"""The benchmarks of docs/benchmarks.md: kith, and mosquitto beside it in the same run, alternating, medians of ROUNDS rounds.

    make bench                      all, about an hour
    make bench ONLY=one,paced       some: one survive paced group channel offline plain fanout connect storm abuse idle long measure notify notify-topic decisions
    make bench ROUNDS=3
    make bench ONLY=measure WINDOWS=48

Each round starts a new server on an empty folder, measures and ends it. Loopback only. A run that lost, repeated, reordered or refused a message is not a
result: it is said and left out. Writes every run to build/bench/runs.json and the table to build/bench/table.md. SPDX-License-Identifier: Apache-2.0
"""
import contextlib, datetime, glob, itertools, json, math, os, platform, random, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, threading, time, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KITH = os.environ.get("KITH", os.path.join(ROOT, "build", "kith"))
OUT = os.path.join(ROOT, "build", "bench")
ROUNDS = int(os.environ.get("ROUNDS", "5"))
WINDOWS = int(os.environ.get("WINDOWS", "0"))  # of `measure`, for each server and load; 0: as many as its way of counting needs
SECONDS = os.environ.get("SECONDS_EACH", "8")
DEVICES = os.environ.get("DEVICES", "10000")
PEOPLE = os.environ.get("PEOPLE", "1000000")
FILL = int(os.environ.get("FILL", "10000000"))
PARTS = ["one", "survive", "paced", "group", "channel", "offline", "plain", "fanout", "connect", "storm", "abuse", "idle", "long", "measure", "notify", "notify-topic", "decisions"]
RUNS = []
sys.path.insert(0, os.path.join(ROOT, "test", "scenario"))
import peers as packages  # what npm installs
import mqtt  # the client of the scenario tests: one that the server's death does not end

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
REDIS = shutil.which("redis-server")
NATS = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
WS = "ws@8.18.3"  # of npm
# Nagle's algorithm off, no limit on what waits, as fast as it goes: nothing on the disk.
LIVE = "persistence false\nset_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 0\n"
# The only setting in which what it acknowledged is there after kill -9: it writes its whole database at each change.
KEPT = LIVE.replace("persistence false", "persistence true\npersistence_location {dir}/\nautosave_on_changes true\nautosave_interval 1")


def port():
    """A free one, below those that connections are given: the ends of these linger, and mosquitto's WebSocket listener will not have them."""
    while True:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", random.randint(10000, 30000)))
            return s.getsockname()[1]


def until(ready, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if ready():
                return
        time.sleep(0.005)
    raise SystemExit("bench: the server did not become ready")


class Kith:
    name = "kith"

    options, runner = [], []  # runner: what runs the server

    def __init__(self, folder=None):
        self.dir = folder or tempfile.mkdtemp(prefix="kith-bench-")
        self.http, self.mqtt = port(), port()
        self.start()
        self.key = subprocess.check_output([KITH, "key", "create", "--data", self.dir + "/data", "--name", "bench", "--app", "demo", "--scope", "all"],
                                           text=True).strip()

    def start(self):
        begun = time.monotonic()
        self.process = subprocess.Popen([*self.runner, KITH, "serve", "--data", self.dir + "/data", "--http", f"127.0.0.1:{self.http}", "--mqtt", f"127.0.0.1:{self.mqtt}",
                                         *self.options],
                                        stdout=subprocess.DEVNULL, stderr=open(self.dir + "/log", "a"))
        until(lambda: urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5).status == 200)
        return time.monotonic() - begun

    def command(self, scenario, *options):
        return [KITH, "bench", scenario, "--http", f"127.0.0.1:{self.http}", "--mqtt", f"127.0.0.1:{self.mqtt}", "--key", self.key,
                "--pid", str(self.process.pid), "--json", *options]

    def run(self, scenario, *options):
        said = subprocess.run(self.command(scenario, *options), capture_output=True, text=True)
        if said.returncode not in (0, 1) or not said.stdout.startswith("{"):
            raise SystemExit(f"bench: {scenario}: {said.stderr[-500:]}")
        return json.loads(said.stdout)

    def metric(self, name):
        ask = urllib.request.Request(f"http://127.0.0.1:{self.http}/metrics", headers={"Authorization": "Bearer " + self.key})
        for line in urllib.request.urlopen(ask, timeout=10).read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        return 0.0

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def broker_command(server, at, scenario, *options):
    return [KITH, "bench", scenario, "--broker", "mqtt", "--mqtt", f"127.0.0.1:{at}", "--pid", str(server.process.pid), "--json", *options]


def any_broker(server, at, scenario, *options):
    """A scenario in plain MQTT, as it is for all of them."""
    said = subprocess.run(broker_command(server, at, scenario, *options), capture_output=True, text=True)
    if not said.stdout.startswith("{"):
        raise SystemExit(f"bench: {scenario} of {server.name}: {said.stderr[-500:]}")
    return json.loads(said.stdout)


class Plain(Kith):
    """kith with plain channels for anonymous clients, driven as any other broker."""
    name, options = "kith, plain channels", ["--dev"]

    def run(self, scenario, *options):
        return any_broker(self, self.http if "--websocket" in options else self.mqtt, scenario, *options)


class OneShard(Plain):
    name, options = "kith, plain channels, --shards 1", ["--dev", "--shards", "1"]


class Mosquitto:
    def __init__(self, kept=False):
        self.name = "mosquitto, autosave on each change" if kept else "mosquitto, no persistence"
        self.dir = tempfile.mkdtemp(prefix="kith-bench-")
        self.mqtt, self.web = port(), port()
        with open(self.dir + "/conf", "w") as f:
            f.write((KEPT if kept else LIVE).format(dir=self.dir) + f"listener {self.mqtt} 127.0.0.1\nallow_anonymous true\nuser root\nlog_dest none\n"
                    f"listener {self.web} 127.0.0.1\nprotocol websockets\n")
        self.start()

    def start(self):
        begun = time.monotonic()
        self.process = subprocess.Popen([MOSQUITTO, "-c", self.dir + "/conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: socket.create_connection(("127.0.0.1", self.mqtt)).close() is None)
        until(lambda: socket.create_connection(("127.0.0.1", self.web)).close() is None)
        return time.monotonic() - begun

    def run(self, scenario, *options):
        return any_broker(self, self.web if "--websocket" in options else self.mqtt, scenario, *options)

    def command(self, scenario, *options):
        return broker_command(self, self.mqtt, scenario, *options)

    end = Kith.end


class Nats:
    """Speaks MQTT 3.1.1, and wants JetStream for it."""
    name = "nats-server, MQTT"

    def __init__(self):
        self.dir, self.mqtt = tempfile.mkdtemp(prefix="kith-bench-"), port()
        with open(self.dir + "/conf", "w") as f:
            f.write(f'server_name: bench\nlisten: "127.0.0.1:{port()}"\njetstream {{ store_dir: "{self.dir}/store" }}\nmqtt {{ listen: "127.0.0.1:{self.mqtt}" }}\n')
        self.process = subprocess.Popen([NATS, "-c", self.dir + "/conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: socket.create_connection(("127.0.0.1", self.mqtt)).close() is None)

    def run(self, scenario, *options):
        return any_broker(self, self.mqtt, scenario, "--version", "4", *options)

    end = Kith.end


class Ws:
    """npm's `ws`, which holds connections and does nothing else (bench/peers/ws.mjs)."""
    name = "npm " + WS

    def __init__(self):
        self.dir, self.web = tempfile.mkdtemp(prefix="kith-bench-"), port()
        self.process = subprocess.Popen(["node", os.path.join(ROOT, "bench", "peers", "ws.mjs"), str(self.web)], env={**os.environ, "PEER_HOME": packages.npm(WS)},
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: socket.create_connection(("127.0.0.1", self.web)).close() is None)

    def run(self, scenario, *options):
        return any_broker(self, self.web, scenario, *options)

    end = Kith.end


class Usual:
    """The usual notification stack, a stand-in (bench/peers/notify): an API, a worker and a socket server of Node, and a Redis that is queue and store."""
    shape, name = "staged", "usual stack, staged"
    source = os.path.join(ROOT, "bench", "peers", "notify")

    def __init__(self):
        self.dir, self.redis, self.api, self.socket = tempfile.mkdtemp(prefix="kith-bench-"), port(), port(), port()
        self.processes, self.log = [], open(self.dir + "/log", "a")
        # What was answered is on the disk, as with kith; the log is never rewritten, which spares it work.
        self.begin(REDIS, "--port", self.redis, "--bind", "127.0.0.1", "--dir", self.dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
                   "--auto-aof-rewrite-percentage", 0)
        self.listens(self.redis)
        env = {**os.environ, "PEER_HOME": packages.npm_of(self.source + "/package.json"), "PEER_REDIS": str(self.redis), "PEER_SHAPE": self.shape, "NODE_ENV": "production"}
        for script, at in (("api", self.api), ("worker", ""), ("socket", self.socket)):
            self.begin("node", f"{self.source}/{script}.mjs", at, env=env)
        self.listens(self.api)
        self.listens(self.socket)

    def begin(self, *command, env=None):
        self.processes.append(subprocess.Popen([str(word) for word in command], stdout=self.log, stderr=self.log, env=env))

    def listens(self, at):
        until(lambda: socket.create_connection(("127.0.0.1", at)).close() is None)

    def run(self, scenario, *options):
        pids = ",".join(str(p.pid) for p in self.processes)
        said = subprocess.run([KITH, "bench", scenario, "--peer", "socketio", "--http", f"127.0.0.1:{self.api}", "--mqtt", f"127.0.0.1:{self.socket}", "--server-pids", pids,
                               "--json", *options], capture_output=True, text=True)
        if not said.stdout.startswith("{"):
            raise SystemExit(f"bench: {scenario} of {self.name}: {said.stderr[-500:]} {open(self.dir + '/log').read()[-500:]}")
        return json.loads(said.stdout)

    def end(self):
        for process in self.processes[1:] + self.processes[:1]:
            process.terminate()
            process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class UsualLean(Usual):
    shape, name = "lean", "usual stack, lean"


def installed(*kinds):
    """Of these servers those that this machine has; says which it has not."""
    def lacks(kind):
        if kind is Ws:
            try:
                packages.npm(WS)
            except packages.Missing as why:
                return str(why)
        if issubclass(kind, Usual):
            try:
                packages.npm_of(Usual.source + "/package.json")
            except packages.Missing as why:
                return str(why)
            return not REDIS and "redis-server is not installed"
        return {Mosquitto: not MOSQUITTO and "mosquitto is not installed", Nats: not NATS and "nats-server is not installed"}.get(kind)
    for kind in kinds:
        if why := lacks(kind):
            print(f"bench: skipped: {kind.__name__}: {why}", file=sys.stderr)
    return [kind for kind in kinds if not lacks(kind)]


def peers(kept=False):
    """Who is measured in a round, in turn."""
    return [Kith] + ([Mosquitto] if MOSQUITTO else []) + ([lambda: Mosquitto(kept=True)] if MOSQUITTO and kept else [])


def rounds(part, scenario, *options, kept=False, n=None, only_kith=False, live=True, kinds=None):
    """Runs the scenario alternating; returns {server name: valid results}."""
    got = {}
    for i in range(n or ROUNDS):
        for make in kinds or ([Kith] if only_kith else peers(kept)):
            if make is Mosquitto and not live:
                continue
            server = make()
            try:
                records = server.metric("kith_records_appended_total") if server.name == "kith" else 0
                result = server.run(scenario, *options)
                if server.name == "kith":
                    result["records"] = server.metric("kith_records_appended_total") - records
            finally:
                server.end()
            RUNS.append({"part": part, "server": server.name, "round": i + 1, "options": list(options), **result})
            if result["valid"]:
                got.setdefault(server.name, []).append(result)
            else:
                print(f"bench: {server.name}, {part} {' '.join(options)}, round {i + 1}: not valid, left out: lost {result.get('lost')}, repeated "
                      f"{result.get('repeated')}, reordered {result.get('reordered')}, refused {result.get('refused')}", file=sys.stderr)
    return got


def mid(results, *path):
    def at(r):
        for p in path:
            r = r[p]
        return r
    return statistics.median(at(r) for r in results)


ROWS = []


def row(*cells):
    ROWS.append(cells)
    print("  ".join(str(c) for c in cells), flush=True)


def table(title, *heads):
    ROWS.append(None)
    ROWS.append(title)
    ROWS.append(heads)
    print(f"\n{title}", flush=True)


def ms(us):
    return f"{us / 1000:.2f}" if us < 100000 else f"{us / 1000:.0f}"


def one():
    table("One-to-one: 100 pairs, QoS 1 both ways, 100-byte bodies", "server", "in flight each", "delivered/s", "server CPU us", "delivery p50 / p99 ms")
    for inflight in ("1", "8", "32"):
        for name, r in rounds("one", "one-to-one", "--inflight", inflight, "--duration", SECONDS).items():
            row(name, inflight, f"{mid(r, 'delivered_per_s'):,.0f}", f"{mid(r, 'server_cpu_us'):.1f}", f"{ms(mid(r, 'delivery_us', 'p50'))} / {ms(mid(r, 'delivery_us', 'p99'))}")


# Same client, same shape for both; 5 s each. What waits grows while it runs, but where the receivers are connected.
AWAY = ("--messages", "1000000", "--inflight", "1")
SURVIVE = [("one sender, one in flight, receiver connected", "one-to-one", ("--kept", "--pairs", "1", "--duration", "5", "--warmup", "1")),
           ("one sender, one in flight, receiver away", "offline", (*AWAY, "--devices", "1", "--senders", "1", "--seconds", "5")),
           ("100 pairs connected, one in flight each", "one-to-one", ("--kept", "--duration", "5", "--warmup", "1")),
           ("100 pairs connected, 8 in flight each", "one-to-one", ("--kept", "--inflight", "8", "--duration", "5", "--warmup", "1")),
           ("100 pairs, receivers away, the first 1,000 messages", "offline", ("--messages", "10", "--inflight", "1", "--devices", "100", "--senders", "100")),
           ("100 pairs, receivers away, 10,000 messages", "offline", ("--messages", "100", "--inflight", "1", "--devices", "100", "--senders", "100")),
           ("100 pairs, receivers away, for 5 s", "offline", (*AWAY, "--devices", "100", "--senders", "100", "--seconds", "5")),
           ("100 pairs, receivers away, for 20 s", "offline", (*AWAY, "--devices", "100", "--senders", "100", "--seconds", "20"))]


def killed(server):
    """One sender, its receiver away; kill -9 in the middle; start again: (acknowledged, of them not there)."""
    names, tokens, topic, to = ("k-sub", "k-pub"), ("", ""), "bench/k", "bench/k"
    if server.name == "kith":
        call = lambda method, path, body: json.load(urllib.request.urlopen(urllib.request.Request(
            f"http://127.0.0.1:{server.http}/v1/{path}", json.dumps(body).encode(), {"Authorization": "Bearer " + server.key}, method=method), timeout=10))
        call("PUT", "conversations/k", {"type": "direct", "members": list(names)})
        tokens = [call("POST", f"users/{name}/tokens", {"device": name})["token"] for name in names]
        topic, to = "users/k-sub/messages", "conversations/k/messages"
    receiver = mqtt.Client(server.mqtt, names[0], tokens[0])
    receiver.subscribe(topic)
    receiver.disconnect()
    sender, acked = mqtt.Client(server.mqtt, names[1], tokens[1], clean=True), []
    threading.Timer(2.0, server.process.kill).start()
    with contextlib.suppress(OSError, mqtt.Closed, AssertionError):
        while sender.publish(to, {"id": f"k-{len(acked)}", "body": f"{len(acked)}"}, seconds=3).reason < 0x80:
            acked.append(str(len(acked)))
    server.process.wait()
    server.start()
    receiver, got = mqtt.Client(server.mqtt, names[0], tokens[0]), set()
    if not receiver.connack.present:
        receiver.subscribe(topic)
    while (p := receiver.message(2)) is not None:
        got.add(p.json()["body"])
    return len(acked), len(set(acked) - got)


def survive():
    """mosquitto in the one mode that is meant to survive kill -9, and what each mode really kept."""
    if not MOSQUITTO:
        return
    table("Each in its mode that survives kill -9, kept sessions: stored, or delivered, a second", "shape", "kith", "mosquitto, autosave on each change", "ratio",
          "server CPU us", "waiting in the end")
    for shape, scenario, options in SURVIVE:
        got = rounds("survive", scenario, *options, kept=True, n=min(ROUNDS, 3), live=False)
        if len(got) < 2:
            continue
        (ours, theirs), away = (got["kith"], got["mosquitto, autosave on each change"]), scenario == "offline"
        rate, cpu = ("stored_per_s", "stored_cpu_us") if away else ("delivered_per_s", "server_cpu_us")
        row(shape, f"{mid(ours, rate):,.0f}", f"{mid(theirs, rate):,.0f}", f"{mid(ours, rate) / mid(theirs, rate):.1f}", f"{mid(ours, cpu):.1f} / {mid(theirs, cpu):.1f}",
            f"{mid(ours, 'stored'):,.0f} / {mid(theirs, 'stored'):,.0f}" if away else "-")
    table("kill -9 after 2 s, one sender with one in flight, the receiver away; four times", "server", "acknowledged", "of them gone after the start")
    for make in peers(kept=True):
        acked, gone = [], []
        for _ in range(4):
            server = make()
            try:
                a, g = killed(server)
            finally:
                server.end()
            RUNS.append({"part": "survive", "server": server.name, "acknowledged": a, "gone": g})
            acked.append(a)
            gone.append(g)
        row(server.name, ", ".join(f"{a:,}" for a in acked), ", ".join(f"{g:,}" for g in gone))


def paced():
    table("The same, paced (open loop, timed from when each was due)", "server", "messages/s", "server CPU us", "delivery p50 / p90 / p99 / max ms")
    for rate in ("1000", "10000", "40000"):
        for name, r in rounds("paced", "one-to-one", "--rate", rate, "--duration", SECONDS).items():
            row(name, rate, f"{mid(r, 'server_cpu_us'):.1f}", " / ".join(ms(mid(r, "delivery_us", p)) for p in ("p50", "p90", "p99", "max")))


class Unmeasured(Kith):
    name, options = "kith, --journeys off", ["--journeys", "off"]


def counted_threads(pid):
    """Ids of those whose instructions count, each with its place in the order of their making. Not of the tables' threads, nor of RocksDB's: they time
    nothing, and work in bursts, of which one window has some and the next has none."""
    tasks = sorted(int(t) for t in os.listdir(f"/proc/{pid}/task"))
    names = {t: open(f"/proc/{pid}/task/{t}/comm").read().split()[0] for t in tasks}
    return {t: i + 1 for i, t in enumerate(tasks) if t == pid or names[t] in ("shard", "log", "log-spare", "send", "watch")}


class Counter:
    """Counts the instructions of a process in user space, from when it is told to enable until to disable: by the processor."""
    seconds, windows, runner, options = 1, 24, [], []

    def __init__(self, server):
        (told, self.tell), (self.heard, hear) = os.pipe(), os.pipe()
        threads = ",".join(map(str, counted_threads(server.process.pid)))
        self.perf = subprocess.Popen(["perf", "stat", "-x", ";", "-e", "instructions:u", "-t", threads, "-D", "-1", "--control", f"fd:{told},{hear}"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(told, hear), text=True)
        os.close(told)
        os.close(hear)

    def say(self, what):
        """Returns when it is done."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.tell, what + b"\n")
            os.read(self.heard, 16)

    def end(self):
        """What was counted; None where that cannot be."""
        self.perf.send_signal(signal.SIGINT)
        said = self.perf.communicate()[1]
        os.close(self.tell)
        os.close(self.heard)
        count = [line.split(";")[0] for line in said.splitlines() if "instructions" in line]
        return float(count[0]) if count and count[0].isdigit() else None


class SimulatedCounter:
    """The same by a simulated processor, for where the real one tells nothing: exact, but some 20 times as slow, so that batches are larger than they would be
    at that rate. One shard, as it runs one thread at a time."""
    seconds, windows = 8, 8
    folder = tempfile.gettempdir() + "/kith-bench-callgrind"
    runner = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", f"--callgrind-out-file={folder}.%p"]
    options = ["--shards", "1", "--confine", "off"]

    def __init__(self, server):
        self.pid = server.process.pid
        self.threads = counted_threads(self.pid).values()

    def control(self, *what):
        subprocess.run(["callgrind_control", *what, str(self.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    def say(self, what):
        self.control("-i", "on" if what == b"enable" else "off")

    def end(self):
        self.control("-d")  # and begins anew
        count = 0
        for path in glob.glob(f"{self.folder}.{self.pid}*"):
            head = open(path, errors="replace").read()
            thread, total = (re.search(rf"^{word}: (\d+)", head, re.M) for word in ("thread", "totals"))
            if thread and total and int(thread[1]) in self.threads:
                count += int(total[1])
            os.unlink(path)
        return float(count) or None


DELIVERED = "kith_messages_delivered_total"


def window(server, load, counter):
    """Instructions a delivered message; the load's connections are there for this window only. It is short, so that what is compared has the same neighbours."""
    before = server.metric(DELIVERED)
    bench = subprocess.Popen(server.command("one-to-one", "--duration", "60", *load), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # A shard that had rest keeps ten seconds' worth of journeys at once (journey.h): that is over by then.
    until(lambda: server.metric(DELIVERED) > before + 4000)
    counting = counter(server)
    time.sleep(0.3)
    before = server.metric(DELIVERED)
    counting.say(b"enable")
    time.sleep(counter.seconds)
    counting.say(b"disable")
    messages = server.metric(DELIVERED) - before
    bench.terminate()
    bench.wait()
    count = counting.end()
    return count / messages if count and messages else None


def middle(values):
    """The median, and between which two of the values it is with 95 % certainty, whatever their distribution (at least 6 of them)."""
    values, n = sorted(values), len(values)
    low = max((k for k in range(n // 2) if 2 * sum(math.comb(n, i) for i in range(k + 1)) <= 0.05 * 2**n), default=0)
    return statistics.median(values), values[low], values[n - 1 - low]


def percent(ratios):
    return "{:+.1f} % ({:+.1f} to {:+.1f})".format(*(100 * (r - 1) for r in middle(ratios)))


# A rate that is kept makes batches alike, as far as the machine allows; without one they are as large as the neighbours make them.
MEASURED = [("2,000 a second", ("--rate", "2000")), ("100 pairs, one message each under way", ()), ("100 pairs, 20 each", ("--inflight", "20"))]
# As much for its one shard as for each of two above; and so few pairs that a message takes about as long, so that as many are slow.
SIMULATED = [("1,000 a second", ("--rate", "1000")), ("4 pairs, one message each under way", ("--pairs", "4")), ("4 pairs, 20 each", ("--pairs", "4", "--inflight", "20"))]


def counter_here():
    """How instructions are counted on this machine; None: not at all."""
    if shutil.which("perf"):
        said = subprocess.run(["perf", "stat", "-x", ";", "-e", "instructions:u", "true"], capture_output=True, text=True).stderr
        if re.search(r"^\d+;.*instructions", said, re.M):
            return Counter
    return SimulatedCounter if shutil.which("valgrind") else None


def windows(load, counter, n):
    """{server: instructions a message, window by window} of one without and two with, side by side, each first, second and third as often."""
    def beside(kind):
        return type(kind.__name__, (kind,), {"runner": counter.runner, "options": kind.options + counter.options})()

    servers = {"without": beside(Unmeasured), "with": beside(Kith), "again": beside(Kith)}
    got = {name: [] for name in servers}
    orders = list(itertools.permutations(servers))
    try:
        for server in servers.values():
            window(server, load, counter)  # warm
        for i in range(n):
            for name in orders[i % len(orders)]:
                got[name].append(window(servers[name], load, counter))
    finally:
        for server in servers.values():
            server.end()
    return got


def measure():
    """What timing each record on its way costs, beside how far two servers that both do it differ when they are compared alike."""
    counter = counter_here()
    if not counter:
        print("bench: measure: this machine's processor tells no instructions (or perf is not installed), and there is no valgrind to simulate one", file=sys.stderr)
        return
    n = WINDOWS or counter.windows
    by = "by the processor" if counter is Counter else "by a simulated one"
    table(f"Instructions a delivered message, counted {by} (the threads of the tables left out), with its way timed (--journeys on) and without: {n} windows of each, in turn; the median, and its 95 % interval",
          "load", "without", "with", "more", "two with, compared alike")
    for name, load in MEASURED if counter is Counter else SIMULATED:
        got = windows(load, counter, n)
        if None in itertools.chain(*got.values()):
            raise SystemExit("bench: measure: nothing was counted in a window")
        RUNS.append({"part": "measure", "load": name, "instructions_a_message": got})
        both = [(a + b) / 2 for a, b in zip(got["with"], got["again"])]
        more, alike = ([a / b for a, b in zip(x, y)] for x, y in ((both, got["without"]), (got["again"], got["with"])))
        row(name, f"{statistics.median(got['without']):,.0f}", f"{statistics.median(both):,.0f}", percent(more), percent(alike))


def decisions():
    """What is decided about people, by one thread of one partition, without sockets and without a log (src/notify/notify_bench.c)."""
    build = os.path.dirname(KITH)
    subprocess.run(["ninja", "-C", build, "--quiet", "notify_notify_bench"], check=True)
    got = [json.loads(subprocess.check_output([os.path.join(build, "notify_notify_bench")], text=True)) for _ in range(ROUNDS)]
    RUNS.extend({"part": "decisions", "server": "kith", **g} for g in got)
    table("Decisions about people on one core, with preferences, quiet hours, caps and grouping in play", "decisions/s", "ns each", "instructions each")
    told = [g["instructions"] for g in got if "instructions" in g]
    row(f"{statistics.median(g['decisions_per_s'] for g in got):,.0f}", f"{statistics.median(g['ns'] for g in got):,.0f}", f"{statistics.median(told):,.0f}" if told else "-")


def group():
    table("A group of 1,000, all connected: until the last has the message", "server", "delivered/s", "server CPU us a delivery", "last p50 / p99 ms")
    for name, r in rounds("group", "group", "--messages", "300").items():
        row(name, f"{mid(r, 'delivered_per_s'):,.0f}", f"{mid(r, 'server_cpu_us'):.1f}", f"{ms(mid(r, 'last_us', 'p50'))} / {ms(mid(r, 'last_us', 'p99'))}")


def channel():
    table("A channel of 100,000 members, 1,000 of them connected", "server", "made in s", "relays a message", "partitions", "last p50 / p99 ms")
    for name, r in rounds("channel", "channel", "--messages", "50", "--qos", "0", n=min(ROUNDS, 3), only_kith=True).items():
        row(name, f"{mid(r, 'made_s'):.1f}", f"{mid(r, 'relays_per_message'):.0f}", 64, f"{ms(mid(r, 'last_us', 'p50'))} / {ms(mid(r, 'last_us', 'p99'))}")


def offline():
    table("1,000 devices away, 100 messages to each, then all come back at once", "server", "stored/s", "CPU us", "caught up/s", "CPU us", "caught up p50 / p99 ms")
    for name, r in rounds("offline", "offline").items():
        row(name, f"{mid(r, 'stored_per_s'):,.0f}", f"{mid(r, 'stored_cpu_us'):.1f}", f"{mid(r, 'delivered_per_s'):,.0f}", f"{mid(r, 'server_cpu_us'):.1f}",
            f"{ms(mid(r, 'caught_up_us', 'p50'))} / {ms(mid(r, 'caught_up_us', 'p99'))}")


def against(results, peer):
    """CPU a message as a share of the peer's in the same round, the median: others' work weighs on both."""
    return f"{statistics.median(a['server_cpu_us'] / b['server_cpu_us'] for a, b in zip(results, peer)):.2f}" if peer else "-"


SHORT = ("--duration", "1", "--warmup", "0.3")


def plain():
    """What another broker does too: nothing is stored."""
    table("Plain channels, one-to-one: 100 pairs, 100-byte payload", "QoS", "in flight each", "server", "delivered/s", "server CPU us", "delivery p50 / p99 ms", "CPU of mosquitto's")
    kinds = installed(Plain, OneShard, Mosquitto)
    for qos in "012":
        for inflight in ("1", "8"):
            got = rounds("plain", "one-to-one", "--qos", qos, "--inflight", inflight, *SHORT, n=ROUNDS if inflight == "1" else min(ROUNDS, 3), kinds=kinds)
            peer = got.get("mosquitto, no persistence")
            for name, r in got.items():
                cpu = mid(r, "server_cpu_us")
                row(qos, inflight, name, f"{mid(r, 'delivered_per_s'):,.0f}", f"{cpu:.2f}", f"{ms(mid(r, 'delivery_us', 'p50'))} / {ms(mid(r, 'delivery_us', 'p99'))}",
                    against(r, peer))


# One message at a time costs a write to each; many under way leave together. The pace is what all can follow.
FANOUT = [("0", "64 under way", ("--window", "64")), ("0", "1 under way", ("--window", "1")), ("0", "500 messages/s", ("--rate", "500")),
          ("1", "16 under way", ("--window", "16")), ("2", "16 under way", ("--window", "16"))]


def fanout():
    table("Plain channels, fan-out: 1 publisher, 200 subscribers, 100-byte payload", "QoS", "messages", "server", "deliveries/s", "server CPU us each", "deliveries/s of a busy core",
          "delivery p50 / p99 ms")
    for qos, shape, options in FANOUT:
        kinds = installed(Plain, OneShard, Mosquitto, *([Nats] if qos == "0" else []))
        for name, r in rounds("fanout", "fanout", "--qos", qos, *options, *SHORT, n=min(ROUNDS, 3 if qos == "0" else 1), kinds=kinds).items():
            row(qos, shape, name, f"{mid(r, 'delivered_per_s'):,.0f}", f"{mid(r, 'server_cpu_us'):.3f}", f"{mid(r, 'delivered_per_core_s'):,.0f}",
                f"{ms(mid(r, 'delivery_us', 'p50'))} / {ms(mid(r, 'delivery_us', 'p99'))}")


def connect():
    table("15,000 devices connect and subscribe, QoS 1, and stay idle", "server", "connects/s", "server CPU us", "resident bytes each", "connect to SUBACK p50 / p99 ms")
    for label, options, kinds in (("", (), (Kith, Plain, Mosquitto)), (", WebSocket", ("--websocket",), (Kith, Plain, Mosquitto, Ws))):
        for name, r in rounds("connect", "connect", "--devices", "15000", "--sources", "60", *options, n=min(ROUNDS, 3), kinds=installed(*kinds)).items():
            row(name + label, f"{mid(r, 'connects_per_s'):,.0f}", f"{mid(r, 'server_cpu_us'):.1f}", f"{mid(r, 'connection_bytes'):,.0f}",
                f"{ms(mid(r, 'handshake_us', 'p50'))} / {ms(mid(r, 'handshake_us', 'p99'))}")


def stormed(server, at_once):
    """The scenario waits for somebody to kill the server and to start it again."""
    run = subprocess.Popen(server.command("storm", "--at-once", at_once), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = run.stderr.readline()
    if not said.startswith("kith: kill the server"):
        run.communicate()
        raise SystemExit(f"bench: storm of {server.name}: {said}")
    before = rss(server.process.pid)
    server.process.kill()
    server.process.wait()
    ready = server.start()
    out, err = run.communicate()
    result = json.loads(out) if out.startswith("{") else {"valid": False, "why": err[-200:]}
    pid = server.process.pid
    return {**result, "ready_s": ready, "all_s": ready + result.get("caught_up_s", 0), "rss_before": before, "rss_most": rss(pid, "VmHWM"), "rss_after": rss(pid),
            "cpu_s": cpu_s(pid)}


def storm():
    table("10,000 connected devices with 3 unacknowledged messages each; kill -9; a start; all come back at once", "server", "handshakes at a time", "start to ready s",
          "ready to all connected s", "to all caught up s", "start to that s", "resident MB before, at most, after", "server CPU s", "of what it acknowledged")
    # mosquitto's listen backlog is 100.
    for make, at_once in ((Kith, "2000"), (Kith, "60"), *([(lambda: Mosquitto(kept=True), "60")] if MOSQUITTO else [])):
        runs = []
        for i in range(min(ROUNDS, 3 if make is Kith else 1)):
            server = make()
            try:
                result = stormed(server, at_once)
            finally:
                server.end()
            RUNS.append({"part": "storm", "server": server.name, "round": i + 1, **result})
            if result["valid"]:
                runs.append(result)
            else:
                print(f"bench: storm of {server.name}, round {i + 1}: not valid, left out: {result}", file=sys.stderr)
                row(server.name, at_once, f"{result['ready_s']:.2f}", *["-"] * 5, f"{result.get('lost', 0):,} of {result.get('stored', 0):,} gone")
        if runs:
            row(server.name, at_once, *(f"{mid(runs, what):.2f}" for what in ("ready_s", "back_s", "caught_up_s", "all_s")),
                ", ".join(f"{mid(runs, what) / 1e6:.0f}" for what in ("rss_before", "rss_most", "rss_after")), f"{mid(runs, 'cpu_s'):.2f}", "none")


def abuse():
    """test/scenario/abuse_test.py with more people: what others notice of who means harm."""
    table("100 pairs, 500 messages/s, while others mean harm (5 windows of 1 s each, quiet and attacked by turns)", "attack", "p99 ms quiet", "p99 ms attacked")
    env = {**os.environ, "KITH": KITH, "ABUSE_PAIRS": "100", "ABUSE_RATE": "500", "ABUSE_WINDOW": "1", "ABUSE_ROUNDS": "5"}
    said = subprocess.run([sys.executable, os.path.join(ROOT, "test", "scenario", "abuse_test.py")], capture_output=True, text=True, env=env, cwd=ROOT)
    if not said.stdout.startswith("{"):
        raise SystemExit(f"bench: abuse: {said.stderr[-500:]}")
    got = json.loads(said.stdout.splitlines()[0])
    RUNS.append({"part": "abuse", "passed": said.returncode == 0, **got})
    words = {"HalfOpen": "400 half-open connections", "Stalled": "one reader that stops", "Malformed": "malformed and oversize packets", "Storm": "a storm of connects",
             "SlowHttp": "100 slow heads, 50 unread answers",
             "Strangers": "200 strangers who ask for much and read nothing"}
    for kind, p99 in got["p99_ms"].items():
        row(words[kind], p99["quiet"], p99["attacked"])
    row("half-open connections were closed after s", got["half_open_closed_s"], "")
    row("memory after all of it, MiB more; at most", got["memory_mib"], got["memory_most_mib"])


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(what))


def idle():
    table("Idle and empty", "server", "resident MB", "CPU % of a core over 20 s")
    for make in peers():
        server = make()
        time.sleep(2)
        before = cpu_s(server.process.pid)
        time.sleep(20)
        used, memory = cpu_s(server.process.pid) - before, rss(server.process.pid)
        RUNS.append({"part": "idle", "server": server.name, "rss_bytes": memory, "cpu_s": used})
        row(server.name, f"{memory / 1e6:.1f}", f"{used / 20 * 100:.2f}")
        server.end()


def folder_bytes(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files)


def long():
    """What is stored must not make a message dearer, nor a restart slow."""
    table(f"With {FILL:,} messages stored (10,000 conversations)", "what", "at 10,000", f"at {FILL:,}", "ratio")
    server = Kith()

    def settle():
        """Waits until the tables have nothing left to compact of what was stored before."""
        for _ in range(60):
            before = cpu_s(server.process.pid)
            time.sleep(2)
            if cpu_s(server.process.pid) - before < 0.1:
                return

    def cost(label):
        settle()
        pairs = [server.run("one-to-one", "--inflight", "8", "--duration", "3", "--warmup", "1") for _ in range(3)]
        wide = [server.run("fill", "--messages", "200000") for _ in range(3)]
        RUNS.append({"part": "long", "at": label, "pairs": pairs, "wide": wide})
        if not all(r["valid"] for r in pairs + wide):
            raise SystemExit(f"bench: long, {label}: a run lost, repeated, reordered or refused something: {pairs + wide}")
        return mid(pairs, "server_cpu_us"), mid(wide, "server_cpu_us"), rss(server.process.pid)

    server.run("fill", "--messages", "10000")
    few = cost("few")
    filled = server.run("fill", "--messages", str(FILL))
    RUNS.append({"part": "long", "at": "fill", **filled})
    if not filled["valid"]:
        raise SystemExit(f"bench: long: filling lost or refused something: {filled}")
    many = cost("many")
    row("server CPU us a delivered message, 100 pairs", f"{few[0]:.1f}", f"{many[0]:.1f}", f"{many[0] / few[0]:.2f}")
    row("server CPU us a stored message, 10,000 conversations", f"{few[1]:.1f}", f"{many[1]:.1f}", f"{many[1] / few[1]:.2f}")
    row("resident MB", f"{few[2] / 1e6:.0f}", f"{many[2] / 1e6:.0f}", "")
    row("stored/s while filling", "", f"{filled['stored_per_s']:,.0f}", "")
    times = []
    for _ in range(3):
        load = subprocess.Popen(server.command("one-to-one", "--inflight", "32", "--duration", "60"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(8)
        server.process.kill()
        server.process.wait()
        load.kill()
        load.wait()
        times.append(server.start())
        RUNS.append({"part": "long", "at": "restart", "ready_s": times[-1], "log_bytes": folder_bytes(server.dir + "/data/log"),
                     "tables_bytes": folder_bytes(server.dir + "/data/tables")})
    last = RUNS[-1]
    row("restart after kill -9 at full load: ready after s", "", f"{statistics.median(times):.2f}", "")
    row("log, tables: GiB", "", f"{last['log_bytes'] / 2**30:.1f}, {last['tables_bytes'] / 2**30:.1f}", "")
    server.end()


# (fan-out, triggers a request, half of the load to beat)
NOTIFY = [(1, "100", "71000"), (100, "10", "88000"), (10000, "1", "117500")]
# Batches under way at capacity: what keeps each busy and no more. A batch of kith's takes milliseconds.
KITH_INFLIGHT, PEER_INFLIGHT = {1: "16", 100: "16", 10000: "8"}, {1: "8", 100: "4", 10000: "2"}
SINGLE = ("--batch", "1", "--inflight", "64", "--connections", "32")  # who has no batches sends requests side by side
# At 10,000 a trigger takes the staged stack four seconds, and at half of its capacity one comes every eight.
NOTIFY_SECONDS = {(Usual, 10000): ("40", "10"), (Usual, 100): (SECONDS, "6"), (Usual, 1): (SECONDS, "4")}


def notified(kind, fanout, *options):
    """One run of one server with 10,000 connected devices; None when it is no result."""
    seconds, warmup = NOTIFY_SECONDS.get((kind, fanout), (SECONDS, "2"))
    server = kind()
    try:
        result = server.run("notify", "--fanout", str(fanout), "--devices", DEVICES, "--seconds", seconds, "--warmup", warmup, *options)
    finally:
        server.end()
    RUNS.append({"part": "notify", "server": server.name, "options": list(options), **result})
    if not result["valid"]:
        print(f"bench: {server.name}, fan-out {fanout} {' '.join(options)}: not valid, left out: lost {result['lost']}, repeated {result['repeated']}, refused {result['refused']}",
              file=sys.stderr)
    return result if result["valid"] else None


def notify_rounds(fanout, of):
    """Alternating; `of`: [(name, class, options)]; {name: valid results}."""
    got = {}
    for _ in range(min(ROUNDS, 3)):
        for name, kind, options in of:
            if result := notified(kind, fanout, *options):
                got.setdefault(name, []).append(result)
    return got


def notify_capacity(fanout, batch, peers):
    of = [(name, Kith, ("--batch", batch, "--inflight", KITH_INFLIGHT[fanout], *qos)) for name, qos in (("kith", ()), ("kith, QoS 1", ("--qos", "1")))]
    of += [(kind.name, kind, ("--batch", batch, "--inflight", PEER_INFLIGHT[fanout])) for kind in peers]
    of += [(kind.name + ", a trigger a request", kind, SINGLE) for kind in (Kith, *peers) if fanout == 1]
    got = notify_rounds(fanout, of)
    ours = got.get("kith")
    for name, r in got.items():
        rate, cpu, ratios = mid(r, "delivered_per_s"), mid(r, "server_cpu_us"), ("-", "-")
        if ours and not name.startswith("kith"):
            ratios = (f"{mid(ours, 'delivered_per_s') / rate:.1f}", f"{cpu / mid(ours, 'server_cpu_us'):.1f}")
        row(f"{fanout:,}", name, f"{rate:,.0f}", f"{cpu:.1f}", *ratios, f"{mid(r, 'own_cpu_us'):.1f}", f"{mid(r, 'others_percent'):.0f}")
    return {name: mid(r, "delivered_per_s") for name, r in got.items()}


def notify_paced(fanout, batch, half, peers, capacity):
    of = [(name, Kith, ("--batch", batch, "--rate", half, *qos)) for name, qos in (("kith", ()), ("kith, QoS 1", ("--qos", "1")))]
    of += [(kind.name, kind, ("--batch", batch, "--rate", f"{capacity[kind.name] / 2:.0f}")) for kind in peers if kind.name in capacity]
    got = notify_rounds(fanout, of)
    ours = got.get("kith")
    for name, r in got.items():
        p = [mid(r, "delivery_us", percentile) for percentile in ("p50", "p99")]
        less = ", ".join(f"{own / mid(ours, 'delivery_us', percentile):.1f}" for own, percentile in zip(p, ("p50", "p99"))) if ours and not name.startswith("kith") else "-"
        row(f"{fanout:,}", name, f"{r[0]['rate']:,.0f}", f"{mid(r, 'delivered_per_s'):,.0f}", f"{mid(r, 'server_cpu_us'):.1f}", f"{ms(p[0])} / {ms(p[1])}", less,
            f"{ms(mid(r, 'accepted_us', 'p50'))} / {ms(mid(r, 'accepted_us', 'p99'))}", f"{mid(r, 'others_percent'):.0f}")


def notify():
    """The comparison: kith, and what teams get by installing the standard open-source product, driven by one program with the same batches."""
    peers = installed(UsualLean, Usual)
    table(f"Notifications to {DEVICES} connected devices, batches over HTTP, all stored and synced before the 202: capacity", "fan-out", "server", "deliveries/s", "server CPU us each",
          "kith: times the deliveries", "times less CPU", "generator CPU us each", "used by others, %")
    capacity = {fanout: notify_capacity(fanout, batch, peers) for fanout, batch, _ in NOTIFY}
    table("The same, paced, from when each trigger was due to each device's arrival: kith at half of the load to beat, the others at half of their own capacity", "fan-out", "server",
          "paced at", "delivered/s", "server CPU us each", "p50 / p99 ms", "kith: times less p50, p99", "to the 202 p50 / p99 ms", "used by others, %")
    for fanout, batch, half in NOTIFY:
        notify_paced(fanout, batch, half, peers, capacity[fanout])


def notify_topic():
    table(f"One trigger to a topic of {int(PEOPLE):,} people who are not connected", "what", "")
    for r in rounds("notify-topic", "notify-topic", "--people", PEOPLE, n=1, only_kith=True).values():
        row("members made in s", f"{mid(r, 'made_s'):.1f}")
        row("trigger to the 202, p50 / p99 ms", f"{ms(mid(r, 'accepted_us', 'p50'))} / {ms(mid(r, 'accepted_us', 'p99'))}")
        row("server CPU a trigger ms; a recipient ns", f"{mid(r, 'trigger_cpu_us') / 1000:.2f}; {mid(r, 'recipient_cpu_ns'):.2f}")
        row("an inbox with its counts read, p50 / p99 ms", f"{ms(mid(r, 'read_us', 'p50'))} / {ms(mid(r, 'read_us', 'p99'))}")
        row("resident MB", f"{mid(r, 'rss_bytes') / 1e6:.0f}")


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.machine())
    version = subprocess.run([MOSQUITTO, "-h"], capture_output=True, text=True).stdout.split("\n")[0] if MOSQUITTO else "no mosquitto: kith alone"
    return f"{datetime.date.today()}, {os.cpu_count()} cores of {model}, Linux {platform.release()}, generator on the same cores; {version}; medians of {ROUNDS} rounds"


def write_out():
    os.makedirs(OUT, exist_ok=True)
    with open(OUT + "/runs.json", "w") as f:
        json.dump(RUNS, f, indent=1)
    with open(OUT + "/table.md", "w") as f:
        f.write(machine() + "\n")
        heads = False
        for r in ROWS:
            if r is None:
                f.write("\n")
            elif isinstance(r, str):
                f.write(f"### {r}\n\n")
                heads = True
            else:
                f.write("| " + " | ".join(str(c) for c in r) + " |\n")
                if heads:
                    f.write("|" + "---|" * len(r) + "\n")
                heads = False


def main():
    only = [p for p in os.environ.get("ONLY", "").split(",") if p] or PARTS
    unknown = [p for p in only if p not in PARTS]
    if unknown:
        raise SystemExit(f"bench: there is no part {', '.join(unknown)}; parts: {' '.join(PARTS)}")
    if os.getloadavg()[0] > 0.5:
        print(f"bench: other work uses this machine (load {os.getloadavg()[0]:.1f}): read the ratios, not the figures", file=sys.stderr)
    print(machine())
    for p in only:
        globals()[p.replace("-", "_")]()
        write_out()
    print(f"\nwritten: {os.path.relpath(OUT, ROOT)}/table.md, runs.json")


if __name__ == "__main__":
    main()

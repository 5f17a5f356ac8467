"""sdk/js, the JavaScript client, against a server: the stories that every client tells, in Node and in Chromium, over MQTT and SSE; what it keeps while it is offline, over reloads and kills; tokens
that expire; networks that let no WebSocket through; and the examples of its README, run as they stand.

Runs early: many clients, one after the other."""
import http.server, json, os, random, re, shutil, socket, subprocess, sys, tempfile, threading, time, traceback, urllib.parse

import peers
from harness import Server, eventually, expect
from stories import Peer, Relay, Story, tell_all

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SDK = os.path.join(ROOT, "sdk", "js")
TYPESCRIPT = "typescript@5.9.3"


def run(*command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **more)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}"
    return done.stdout


def readme(language, which=0):
    with open(os.path.join(SDK, "README.md"), encoding="utf-8") as f:
        return re.findall(rf"```{language}\n(.*?)```", f.read(), re.S)[which]


# ---- without a server ----
def parts():
    done = subprocess.run(["node", "--test", *sorted("test/" + f for f in os.listdir(SDK + "/test"))], cwd=SDK, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, "\n".join(re.findall(r"(?s)^(?:not ok|✖).*?(?:\n  \.\.\.|\Z)", done.stdout, re.M)) or done.stdout[-4000:]
    run("node", "tool/types.mjs", "--check", cwd=SDK)
    with open(os.path.join(SDK, "package.json"), encoding="utf-8") as f:
        package = json.load(f)
    expect([package.get(k) for k in ("name", "type", "license", "dependencies", "peerDependencies", "optionalDependencies")], ["kith-client", "module", "Apache-2.0", None, None, None])
    browser = sum(os.path.getsize(os.path.join(folder, f)) for folder in (SDK, SDK + "/src") for f in os.listdir(folder) if f.endswith(".js") and not f.startswith(("node", "push-worker")))
    assert browser < 80_000, f"what a page loads has grown to {browser} bytes"


def packed():
    if not shutil.which("npm"):
        print("skipped: npm is not installed, so what a package would hold is not looked at")
        return
    said = json.loads(run("npm", "pack", "--dry-run", "--json", "--loglevel=error", cwd=SDK))
    said = said[0] if isinstance(said, list) else next(iter(said.values()))
    files = sorted(f["path"] for f in said["files"])
    source = sorted("src/" + f for f in os.listdir(SDK + "/src"))
    expect(files, sorted(["LICENSE", "README.md", "api.d.ts", "index.d.ts", "index.js", "node.d.ts", "node.js", "package.json", "push-worker.js", *source]))


USES = """
import { Kith, KithError, isShown, memoryStore, type Entry, type Outgoing } from 'kith-client';
const kith = new Kith({ url: 'http://x', token: async ({ device }) => (await fetch('/t?' + device)).json(), store: memoryStore(), presence: { every: 5000 } });
const off: () => void = kith.on('message', (e) => { if (isShown(e.message)) console.log(e.message.body?.length, e.message.reactions?.['a']); });
kith.on('notification', ({ notification: n }) => { if ('marked' in n) console.log(n.marked); else if ('title' in n) console.log(n.title.length, n.replaces); else console.log(n.reason); });
const inbox = kith.inbox({ state: 'unread' });
inbox.on('change', ({ items, counts }) => console.log(items[0]?.actors?.count, counts.unseen));
await inbox.mark('read', { upto: inbox.items[0]?.id ?? '' });
await kith.putPreferences({ workflows: { like: { push: false, email: null } }, quiet_hours: { from: '22:00', to: '07:00', days: ['mon'] }, paused_until: null });
// @ts-expect-error there is no such mark
await kith.mark('liked', 'x');
const faults: string[] = [];
kith.on('error', (e) => faults.push(e.code));
kith.once('state', async ({ state, retryIn }) => console.log(state === 'online', retryIn));
await kith.connect();
const sent: Outgoing = kith.send('c', 'hello');
kith.send('c', { body: 'x', data: { any: ['thing'] }, reply_to: sent.id, mentions: ['bob'] });
try { await kith.stored(sent); } catch (e) { if (e instanceof KithError) console.log(e.code, e.retryAfter); }
const user = await kith.call('GET /v1/users/{id}', { path: { id: 'bob' } });
const name: string | undefined = user.name;
const page = await kith.call('GET /v1/conversations/{id}/messages', { path: { id: 'c' }, query: { before: 5, limit: 10 } });
const next: string | null = page.next;
await kith.call('GET /healthz');
await kith.call('POST /v1/conversations/{id}/messages', { path: { id: 'c' }, body: { body: 'x' } });
await kith.call<{ id: string }>('PUT', '/v1/users/bob/mutes/eve');
for await (const m of kith.all((cursor) => kith.messages('c', { cursor }))) if (isShown(m)) console.log(m.body, name, next, off);
const seen: Entry[] = [];
for await (const e of kith.entries()) { seen.push(e); if (e.type === 'receipt') console.log(e.receipt.read); }
// @ts-expect-error the path wants an id
await kith.call('GET /v1/users/{id}', { path: {} });
// @ts-expect-error there is no such field
kith.send('c', { text: 'x' });
// @ts-expect-error there is no such call
await kith.call('GET /v1/nothing');
// @ts-expect-error there is no such event
kith.on('nothing', () => {});
"""


def types():
    """What an application writes, as strict as TypeScript is: in a browser's project and in Node's. The README's examples too."""
    try:
        compiler = os.path.join(peers.npm(TYPESCRIPT), "node_modules", "typescript", "bin", "tsc")
    except peers.Missing as e:
        print("skipped:", e)
        return
    folder = tempfile.mkdtemp(prefix="kith-types-")
    try:
        os.makedirs(folder + "/node_modules")
        os.symlink(SDK, folder + "/node_modules/kith-client")
        with open(folder + "/package.json", "w") as f:
            f.write('{"type": "module"}')
        page = re.search(r"<script type=\"module\">(.*)</script>", readme("html"), re.S).group(1).replace("./kith-client/index.js", "kith-client")
        # what JavaScript cannot say: that this takes any message, that a line has a seq, and that the form's first element is an input
        page = page.replace("function show(", "/** @param {any} m */ function show(").replace("const line", "/** @type {any} */ const line").replace("[...list.children]", "/** @type {any[]} */ ([...list.children])").replace("form[0].value", "String(form[0])")
        bell = re.search(r"<script type=\"module\">(.*)</script>", readme("html", 1), re.S).group(1).replace("./kith-client/index.js", "kith-client").replace("bell.onclick", "/** @type {HTMLElement} */ (bell).onclick").replace("list.onclick", "/** @type {HTMLElement} */ (list).onclick")
        for name, text in (("uses.ts", USES), ("page.js", page), ("bell.js", bell), ("bot.ts", "declare const process: { env: { KITH_URL: string; KITH_TOKEN: string } };\n" + readme("js"))):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        base = ["node", compiler, "--noEmit", "--target", "es2022", "--lib", "es2022,dom,dom.iterable,dom.asynciterable"]
        browsers = [*base, "--module", "esnext", "--moduleResolution", "bundler", "--customConditions", "browser"]
        run(*browsers, "--strict", "uses.ts", cwd=folder)
        run(*browsers, "--checkJs", "page.js", "bell.js", cwd=folder)
        run(*base, "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--module", "nodenext", "--moduleResolution", "nodenext", "uses.ts", "bot.ts", cwd=folder)
    finally:
        shutil.rmtree(folder)


# ---- Node ----
class NodeDevice(Peer):
    def __init__(self, port, user, device, token, transport="auto", store=None, ttl=None):
        more = {"PEER_STORE": store} if store else {}
        if ttl:
            more["PEER_TTL"] = ttl
        super().__init__(f"{user}/{device} by {transport}", ["node", os.path.join(peers.SCRIPTS, "kithjs.mjs"), str(port), transport, user, device, token], **more)
        Peer.running.discard(self.process)  # whoever ends a story there does not end what others do at the same time

    def end(self):
        """As a process that is killed."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def ids(self):
        return [m["item"]["id"] for m in self.do("received") if m["event"] == "created"]


class Network(Relay):
    """One that may let no WebSocket through: as proxies do, it answers for the server."""
    blocked = False

    def carry(self, a, b):
        if not self.blocked:
            return super().carry(a, b)
        try:
            while data := a.recv(65536):
                if b"upgrade: websocket" in data.lower():
                    a.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    break
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def restart(s, *networks):
    s.kill()
    s.start()
    for n in networks:
        n.port_behind = s.http


def history(s, conversation):
    items, after = [], 0
    while True:
        page = s.call("GET", f"/v1/conversations/{conversation}/messages?after={after}&limit=200")[1]["items"]
        if not page:
            return items
        items += page
        after = page[-1]["seq"]


def stories(s, folder):
    """Cut networks and a killed server, over MQTT and over SSE: everything once, in order."""
    network = Network(s.http)
    makers = []
    for transport in ("mqtt", "sse"):
        store = os.path.join(folder, f"story-{transport}")
        client = lambda called, user, device, token, t=transport, f=store: NodeDevice(network.port, user, device, token, t, f)
        makers.append(lambda s, together, n, t=transport, client=client: Story(s, together, f"sdk/js by {t}", n, client))
    tell_all(s, ((network, lambda: s.http),), makers)
    network.close()


def thousand(s, folder):
    """A thousand messages of a device that is offline, killed twice on the way, and a thousand for one that is away."""
    s.call("PUT", "/v1/conversations/k", {"type": "direct", "members": ["kim", "leo"]})
    network, store = Network(s.http), os.path.join(folder, "kim")
    kim, leo = s.token("kim", "k1"), s.token("leo", "l1")
    away = NodeDevice(network.port, "leo", "l1", leo)
    expect(away.do("connect"), {"present": False})
    away.close()
    s.kill()
    writer = NodeDevice(network.port, "kim", "k1", kim, store=store)
    expect(writer.do("queue", "k", "0", "600"), 600)
    eventually(lambda: expect(os.path.exists(store) and open(store).read().count('"value"'), 600))
    writer.end()
    writer = NodeDevice(network.port, "kim", "k1", kim, store=store)
    expect(len(writer.do("outbox")), 600, "what was queued outlives the process")
    expect(writer.do("queue", "k", "600", "1000"), 1000)
    s.start()
    network.port_behind = s.http
    writer.do("connect")
    eventually(lambda: expect(len(history(s, "k")) > 200, True))
    restart(s, network)
    eventually(lambda: expect(writer.do("outbox"), []), 30)
    want = [f"q{i}" for i in range(1000)]
    expect([m["id"] for m in history(s, "k")], want, "once each, in the order of the sending")
    eventually(lambda: expect(writer.ids(), want))
    writer.close()
    away = NodeDevice(network.port, "leo", "l1", leo)
    expect(away.do("connect"), {"present": True})
    eventually(lambda: expect(len(away.ids()) > 100, True))
    network.cut()
    restart(s, network)
    eventually(lambda: expect(away.ids(), want, "in order, none twice"))
    away.close()
    network.close()


def storm(s, seconds=5):
    """Three who write to each other while their networks are cut, refuse WebSockets and let them through again, and the server is killed: each has everything once, in the one order."""
    who = ("xan", "yve", "zoe")
    s.call("PUT", "/v1/conversations/storm", {"type": "group", "members": list(who)})
    networks = {u: Network(s.http) for u in who}
    devices = {u: NodeDevice(networks[u].port, u, f"{u}-1", s.key, ttl="4s") for u in who}
    chance = random.Random(int(os.environ.get("SDK_SEED", "1")))
    for d in devices.values():
        d.do("connect")
    count, until, killed = 0, time.time() + seconds, 0
    while time.time() < until:
        for u, d in devices.items():
            d.do("queue", "storm", str(count), str(count + 5), u)
        count += 5
        u = chance.choice(who)
        networks[u].blocked = chance.random() < 0.3
        networks[u].cut()
        if killed < 2 and time.time() > until - seconds * (2 - killed) / 3:
            killed += 1
            restart(s, *networks.values())
        time.sleep(chance.random() * 0.3)
    for n in networks.values():
        n.blocked = False
    for u, d in devices.items():
        eventually(lambda: expect(d.do("outbox"), [], u), 30)
    stored = [m["id"] for m in history(s, "storm")]
    expect(sorted(stored), sorted(f"{u}q{i}" for u in who for i in range(count)), "each once")
    for u, d in devices.items():
        expect([i for i in stored if i.startswith(u)], [f"{u}q{i}" for i in range(count)], "in the order of their writing")
        eventually(lambda: expect(d.ids(), stored, u), 30)
        expect([t for t in d.do("told") if t[0] in ("gap", "error")], [], u)
        d.close()
    for n in networks.values():
        n.close()


def tokens(s):
    """Tokens of six seconds are renewed before they expire; one that is refused ends it, in words."""
    s.call("PUT", "/v1/conversations/tok", {"type": "direct", "members": ["tim", "leo"]})
    tim = NodeDevice(s.http, "tim", "t1", s.key, ttl="6s")
    expect(tim.do("connect"), {"present": False})
    for i in range(14):
        expect(s.call("POST", "/v1/conversations/tok/messages", {"id": f"t{i}", "from": "leo", "body": "x"})[0], 201)
        time.sleep(0.5)
    eventually(lambda: expect(tim.ids(), [f"t{i}" for i in range(14)]))
    expect([x["state"] for x in tim.do("states")], ["connecting", "online"], "nobody noticed")
    assert 2 <= tim.do("minted") <= 5, tim.do("minted")
    s.call("DELETE", "/v1/users/tim/devices/t1")  # its tokens and its session are no more
    eventually(lambda: expect(tim.do("states")[-1]["state"], "online") or expect(len(tim.do("states")) > 2, True))
    expect(s.call("POST", "/v1/conversations/tok/messages", {"id": "t14", "from": "leo", "body": "x"})[0], 201)
    eventually(lambda: expect(tim.ids()[-1], "t14"))
    expect(tim.ids(), [f"t{i}" for i in range(15)], "a new session, by a new token: from where it was")
    tim.close()
    brief = s.call("POST", "/v1/users/tim/tokens", {"device": "t2", "ttl": "1s"})[1]["token"]
    time.sleep(2.1)  # a token's end is a whole second
    for transport in ("mqtt", "sse"):
        stale = NodeDevice(s.http, "tim", "t2", brief, transport)
        expect(stale.do("refused"), "unauthorized", transport)
        expect(stale.do("states")[-1]["state"], "closed")
        stale.close()


def taken_over(s):
    """The same device, twice: the newer one has it, and they do not fight."""
    token = s.token("tim", "both")
    first, second = NodeDevice(s.http, "tim", "both", token), None
    first.do("connect")
    second = NodeDevice(s.http, "tim", "both", token)
    second.do("connect")
    eventually(lambda: expect(first.do("states")[-1], {"state": "closed", "transport": None, "code": "taken-over"}))
    expect(second.do("states")[-1]["state"], "online")
    first.close()
    second.close()


def blocked(s):
    """No WebSocket gets through: SSE and POST, with receipts; MQTT again as soon as it does. Nothing missing, nothing twice."""
    s.call("PUT", "/v1/conversations/w", {"type": "group", "members": ["una", "leo"]})
    network = Network(s.http)
    network.blocked = True
    una = NodeDevice(network.port, "una", "u1", s.token("una", "u1"))
    leo = NodeDevice(s.http, "leo", "l2", s.token("leo", "l2"))
    una.do("connect")
    leo.do("connect")
    expect(una.do("states")[-1]["transport"], "sse")
    expect(leo.do("states")[-1]["transport"], "mqtt")
    expect(leo.do("send", "1", "conversations/w/messages", '{"id":"w1","body":"x"}'), "sent")
    expect(una.do("send", "1", "conversations/w/messages", '{"id":"w2","body":"x"}'), "sent")
    eventually(lambda: expect(una.ids(), ["w1", "w2"]))
    marks = lambda: [m for m in s.call("GET", "/v1/conversations/w/receipts")[1]["items"] if m["user"] == "una"]
    eventually(lambda: expect(marks(), [{"user": "una", "delivered": 1, "read": 0}], "posted, as nobody acknowledges a stream"))
    una.do("read", "w", "1")
    eventually(lambda: expect(marks(), [{"user": "una", "delivered": 1, "read": 1}]))
    una.do("typing", "w")
    una.do("presence", "true")
    eventually(lambda: expect([t for t in leo.do("told") if t[0] in ("typing", "presence")], [["typing", {"conversation": "w", "from": "una"}], ["presence", {"user": "una", "online": True}]]))
    leo.do("typing", "w")
    eventually(lambda: expect([t for t in una.do("told") if t[0] == "typing"], [["typing", {"conversation": "w", "from": "leo"}]]))
    network.blocked = False
    eventually(lambda: expect(una.do("states")[-1], {"state": "online", "transport": "mqtt", "resumed": False}))
    expect(leo.do("send", "1", "conversations/w/messages", '{"id":"w3","body":"x"}'), "sent")
    eventually(lambda: expect(una.ids(), ["w1", "w2", "w3"]))
    expect([t for t in una.do("told") if t[0] in ("gap", "error")], [])
    una.close()
    leo.close()
    network.close()


def forgotten(s):
    """The server has lost the session meanwhile: what came is read from the mailbox, before what comes then."""
    s.call("PUT", "/v1/conversations/f", {"type": "group", "members": ["una", "leo"]})
    network = Network(s.http)
    una = NodeDevice(network.port, "una", "u2", s.token("una", "u2"), "mqtt")
    una.do("connect")
    post = lambda *ids: [expect(s.call("POST", "/v1/conversations/f/messages", {"id": i, "from": "leo", "body": i})[0], 201) for i in ids]
    post("f0")
    eventually(lambda: expect(una.ids(), ["f0"]))
    behind, network.port_behind = network.port_behind, 9
    network.cut()
    post(*[f"f{i}" for i in range(1, 250)])
    eventually(lambda: expect(s.call("DELETE", "/v1/sessions/u2?user=una")[0], 204))
    network.port_behind = behind
    eventually(lambda: expect(una.do("states")[-1]["state"], "online"))
    post("f250")
    eventually(lambda: expect(una.ids(), [f"f{i}" for i in range(251)]))
    una.close()
    network.close()


def refused(s):
    """What is refused for good says why, and lets the next one go."""
    s.call("PUT", "/v1/conversations/no", {"type": "direct", "members": ["una", "leo"]})
    una = NodeDevice(s.http, "una", "u3", s.token("una", "u3"))
    una.do("connect")
    s.call("PUT", "/v1/users/leo/blocks/una")
    una.do("queue", "no", "0", "2")
    una.do("queue", "nowhere", "2", "3")
    eventually(lambda: expect([(m["id"], m["state"], m.get("problem", {}).get("type")) for m in una.do("outbox")],
                              [("q0", "refused", "/problems/blocked"), ("q1", "refused", "/problems/blocked"), ("q2", "refused", "/problems/not-found")]))
    s.call("DELETE", "/v1/users/leo/blocks/una")
    expect(una.do("send", "1", "conversations/no/messages", '{"body":"again"}'), "sent")
    una.close()


def inbox(s):
    """A bell on two devices: groups, marks and counts are the same on both, over MQTT and over SSE, also after a while away; wishes; the address that a browser is pushed to."""
    s.call("PUT", "/v1/users/ivy", {"name": "Ivy"})
    like = "{others, plural, =0 {{actor} liked it} one {{actor} and # other liked it} other {{actor} and # others liked it}}"
    for id, more in (("like", {"group_by": "object", "templates": {"en": {"title": like}}}), ("note", {"templates": {"en": {"title": "{words}"}}})):
        expect(s.call("PUT", f"/v1/workflows/{id}", {"channels": ["inapp"], **more})[0], 201)
    post = lambda **more: expect(s.call("POST", "/v1/notifications", {"to": {"users": ["ivy"]}, **more})[0], 202)
    note = lambda words, **more: post(workflow="note", data={"words": words}, **more)
    counts = lambda unseen, unread: {"unseen": unseen, "unread": unread}
    network = Network(s.http)
    phone, tab = NodeDevice(network.port, "ivy", "i1", s.token("ivy", "i1"), "mqtt"), NodeDevice(s.http, "ivy", "i2", s.token("ivy", "i2"), "sse")
    for device in (phone, tab):
        expect(device.do("inbox"), {"items": [], "ids": [], "counts": counts(0, 0), "more": False}, "also before it is connected")
        device.do("connect")

    def both(items, unseen, unread):
        for device in (phone, tab):
            eventually(lambda: expect([device.do("bell")[k] for k in ("items", "counts")], [items, counts(unseen, unread)], device.name))

    post(workflow="like", object="photo", actor="ann")
    note("one", id="n-one")
    both(["one", "ann liked it"], 2, 2)
    post(workflow="like", object="photo", actor="bob")
    both(["bob and 1 other liked it", "one"], 2, 2)
    tab.do("mark", "seen", json.dumps({"upto": tab.do("bell")["ids"][0]}, separators=(",", ":")))
    both(["bob and 1 other liked it seen", "one seen"], 0, 2)
    phone.do("mark", "clicked", "n-one")
    both(["bob and 1 other liked it seen", "one seen read clicked"], 0, 1)
    note("two", collapse_key="k")
    note("three", collapse_key="k")
    both(["three", "bob and 1 other liked it seen", "one seen read clicked"], 1, 2)
    note("gone", id="n-gone")
    both(["gone", "three", "bob and 1 other liked it seen", "one seen read clicked"], 2, 3)
    expect(s.call("DELETE", "/v1/notifications/n-gone")[0], 204)
    expect(tab.do("archive"), [])
    phone.do("mark", "archived", "n-one")
    eventually(lambda: expect(tab.do("archive"), ["one"], "what is archived elsewhere comes into the archive"))
    both(["three", "bob and 1 other liked it seen"], 1, 2)
    network.cut()
    behind, network.port_behind = network.port_behind, 9
    for i in range(3):
        note(f"away {i}")
    tab.do("mark", "read", json.dumps({"upto": tab.do("inbox")["ids"][0]}, separators=(",", ":")))
    network.port_behind = behind
    eventually(lambda: expect((phone.do("bell")["items"][:3], phone.do("bell")["counts"]), ([f"away {i} seen read" for i in (2, 1, 0)], counts(0, 0))))
    expect(tab.do("inbox")["more"], True)
    expect([tab.do("more")["items"][3:], tab.do("bell")["more"]], [["three seen read", "bob and 1 other liked it seen read"], False])
    expect(phone.do("told")[-1], ["counts", counts(0, 0)])
    wishes = {"workflows": {"like": {"push": False}}, "quiet_hours": {"from": "22:00", "to": "07:00"}}
    expect(phone.do("wishes", json.dumps(wishes, separators=(",", ":")))["workflows"], wishes["workflows"])
    expect(tab.do("wishes", ""), wishes)
    point = "B" + "A" * 86
    expect(phone.do("push", point), 65, "the server's key, as bytes")
    addresses = lambda: [(d["id"], d["push"]) for d in s.call("GET", "/v1/users/ivy/devices")[1]["items"] if d["id"].startswith("push-")]
    expect(addresses(), [("push-" + "A" * 43, True)], "all tabs of a browser are one address")
    phone.do("push", point)
    phone.do("push", "")
    expect(addresses(), [])
    for device in (phone, tab):
        device.close()
    network.close()


def bot(s, folder):
    """The README's, as it stands."""
    s.call("PUT", "/v1/conversations/b", {"type": "direct", "members": ["bot", "leo"]})
    os.makedirs(folder + "/bot/node_modules")
    os.symlink(SDK, folder + "/bot/node_modules/kith-client")
    with open(folder + "/bot/bot.mjs", "w", encoding="utf-8") as f:
        f.write(readme("js"))
    environment = {**os.environ, "KITH_URL": f"http://127.0.0.1:{s.http}", "KITH_TOKEN": s.token("bot", "bot")}
    start = lambda: subprocess.Popen(["node", "bot.mjs"], cwd=folder + "/bot", env=environment)
    said = lambda: [(m["from"], m["body"]) for m in history(s, "b")]
    process = start()
    try:
        eventually(lambda: expect([x["subscriptions"] for x in s.call("GET", "/v1/sessions")[1]["items"] if x["device"] == "bot"], [3]))
        s.call("POST", "/v1/conversations/b/messages", {"from": "leo", "body": "!echo one"})
        eventually(lambda: expect(said(), [("leo", "!echo one"), ("bot", "one")]))
        process.kill()
        process.wait()
        s.call("POST", "/v1/conversations/b/messages", {"from": "leo", "body": "!echo two"})
        process = start()
        eventually(lambda: expect(said(), [("leo", "!echo one"), ("bot", "one"), ("leo", "!echo two"), ("bot", "two")]))
    finally:
        process.kill()
        process.wait()


# ---- Chromium ----
class Site:
    """An application: the README's page, the client beside it, and tokens for whom it knows."""

    def __init__(self, page, tokens):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                at = urllib.parse.urlsplit(self.path)
                if at.path == "/":
                    body, kind = page().encode(), "text/html; charset=utf-8"
                elif at.path == "/token":
                    q = dict(urllib.parse.parse_qsl(at.query))
                    made = tokens(q["user"], q["device"])
                    if not made:
                        return self.send_error(503)
                    body, kind = json.dumps(made).encode(), "application/json"
                elif at.path.startswith("/kith-client/") and ".." not in at.path:
                    with open(os.path.join(SDK, at.path[len("/kith-client/"):]), "rb") as f:
                        body, kind = f.read(), "text/javascript"
                else:
                    body, kind = b"", "image/x-icon"
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def pages():
    """Two people talk by the page of the README, in Chromium; one writes offline, reloads, and all arrives when the network is back."""
    sys.path.insert(0, os.path.join(ROOT, "test", "web"))
    import browser
    browser.playwright()
    where = {}
    where["page"] = 0
    site = Site(lambda: readme("html", where["page"]).replace("http://127.0.0.1:8080", where["kith"]), lambda user, device: where["mint"](user, device))
    s = Server("--shards", "2", "--cors-origin", site.url.rstrip("/"))
    network = Network(s.http)
    where["kith"] = f"http://127.0.0.1:{network.port}"
    where["mint"] = lambda user, device: s.call("POST", f"/v1/users/{user}/tokens", {"device": device})[1]
    s.call("PUT", "/v1/conversations/ann-bob", {"type": "direct", "members": ["ann", "bob"]})
    with browser.Browser() as b:
        ann, bob = b.page(site.url + "?user=ann"), b.page(site.url + "?user=bob")
        lines = lambda page: page.locator("li").all_inner_texts()
        write = lambda page, text: (page.fill("input", text), page.press("input", "Enter"))
        write(ann, "hello")
        write(bob, "hi")
        for page in (ann, bob):
            eventually(lambda: expect(sorted(lines(page)), ["ann: hello ✓", "bob: hi ✓"]))
        first = lines(ann)
        # offline: the server is killed, Ann writes, reloads the page, and writes more
        s.kill()
        write(ann, "one")
        write(ann, "two")
        eventually(lambda: expect([l for l in lines(ann) if "queued" in l], ["ann: one (queued)", "ann: two (queued)"]))
        where["mint"] = lambda user, device: None
        ann.reload()
        eventually(lambda: expect(lines(ann), ["ann: one (queued)", "ann: two (queued)"], "IndexedDB has kept them"))
        write(ann, "three")
        s.start()
        s.call("POST", "/v1/conversations/ann-bob/messages", {"from": "bob", "body": "meanwhile"})
        where["mint"] = lambda user, device: s.call("POST", f"/v1/users/{user}/tokens", {"device": device})[1]
        network.port_behind = s.http
        for page in (ann, bob):
            page.evaluate("dispatchEvent(new Event('online'))")  # as the browser says when there is a network again
        after = ["bob: meanwhile ✓", "ann: one ✓", "ann: two ✓", "ann: three ✓"]
        for page in (ann, bob):
            eventually(lambda: expect([l for l in lines(page) if l not in first], after), 40)
        expect([m["body"] for m in history(s, "ann-bob")][2:], ["meanwhile", "one", "two", "three"], "in order, once")
        expect(lines(ann), lines(bob), "what came meanwhile stands before what waited")
        ann.reload()
        eventually(lambda: expect(lines(ann), lines(bob)))
        expect(len(lines(ann)), 6, "what was said before is there, once")
        # a network that lets no WebSocket through
        network.blocked = True
        network.cut()
        write(bob, "by stream")
        for page in (ann, bob):
            eventually(lambda: expect(lines(page)[-1], "bob: by stream ✓"), 30)
            page.faults.clear()  # refused connections and 503 are what was asked for
        # the README's bell
        network.blocked = False
        where["page"] = 1
        s.call("PUT", "/v1/workflows/note", {"channels": ["inapp"], "templates": {"en": {"title": "{words}"}}})
        bell = b.page(site.url)
        for words in ("one", "two"):
            expect(s.call("POST", "/v1/notifications", {"workflow": "note", "to": {"users": ["ann"]}, "data": {"words": words}})[0], 202)
        shown = lambda: (bell.inner_text("#bell"), bell.locator("li").all_inner_texts(), bell.locator("li.unread").count())
        eventually(lambda: expect(shown(), ("2", ["two", "one"], 2)))
        bell.click("#bell")
        bell.click("li >> nth=1")
        eventually(lambda: expect(shown(), ("0", ["two", "one"], 1)))
        worker(b, site.url)
    network.close()
    s.close()


def worker(b, site):
    """The service worker, as the browser runs it: what is pushed is shown, one of the same id in its place; nothing but this origin is opened."""
    page = b.page(site + "kith-client/push-worker.js")
    page.context.grant_permissions(["notifications"], origin=site.rstrip("/"))
    cdp, known = page.context.new_cdp_session(page), []
    cdp.on("ServiceWorker.workerRegistrationUpdated", lambda e: known.extend(r["registrationId"] for r in e["registrations"]))
    cdp.send("ServiceWorker.enable")
    page.evaluate("navigator.serviceWorker.register('/kith-client/push-worker.js').then(() => navigator.serviceWorker.ready).then(() => 1)")
    eventually(lambda: expect(len(known) > 0, True))
    push = lambda said: cdp.send("ServiceWorker.deliverPushMessage", {"origin": site.rstrip("/"), "registrationId": known[0], "data": said})
    shown = lambda: page.evaluate("navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((all) => all.map((n) => [n.title, n.body, n.tag, n.data.url]).sort())")
    def pushed():
        """Chromium forgets one that is still on its way to the screen when somebody asks which are shown: so push, wait, ask once; and again, should the wait have been too short."""
        push(json.dumps({"id": "n1", "title": "Ann liked it", "body": "The lake", "badge": 2, "data": {"url": "/photos/1"}}))
        push(json.dumps({"id": "n1", "title": "Ann and 1 other liked it", "body": "The lake", "data": {"url": "/photos/1"}}))
        push(json.dumps({"id": "n2", "title": "Away", "body": "x", "data": {"url": "https://evil.example/"}}))
        time.sleep(0.5)
        expect(shown(), [["Ann and 1 other liked it", "The lake", "n1", site + "photos/1"], ["Away", "x", "n2", site]])
    eventually(pushed, 30)


def together(*groups):
    """Each group's acts one after the other, the groups at the same time: most of it is waiting. What fails in any of them fails the test."""
    faults = []

    def tell(acts):
        try:
            for act, *args in acts:
                began = time.time()
                act(*args)
                print(f"{act.__name__}: {time.time() - began:.1f} s", flush=True)
        except SystemExit:
            pass  # skipped, in words
        except Exception:
            faults.append(f"{act.__name__}: {traceback.format_exc()}")
    threads = [threading.Thread(target=tell, args=(acts,)) for acts in groups]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults, "\n".join(faults)


def main():
    if not shutil.which("node"):
        peers.skip("node is not installed; tool/setup.sh --test does it, where it can be had")
    if int(run("node", "-p", "process.versions.node.split('.')[0]")) < 18:
        peers.skip("this node is older than 18")
    folder = tempfile.mkdtemp(prefix="kith-sdk-")
    killed, shaken, s = (Server("--shards", "2") for _ in range(3))
    try:
        together([(parts,), (packed,), (types,)], [(stories, killed, folder), (thousand, killed, folder)], [(storm, shaken)],
                 [(act, s) for act in (tokens, taken_over, blocked, forgotten, refused, inbox)] + [(bot, s, folder)], [(pages,)])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for x in (killed, shaken, s):
        x.close()


main()

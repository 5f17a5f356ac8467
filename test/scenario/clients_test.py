"""MQTT and SSE clients that people have, as they are, through a network that breaks and a server that is killed: each connects with a device token, follows its user, sends with QoS 1,
comes back by itself and has everything in order; and one that was away for long finds its session. stories.py tells what they do."""
import json, os, shutil, subprocess, sys

import harness, peers
from harness import Server, expect
from stories import Crowd, Listening, Peer, Relay, Story, amid, tell_all


def compiled():
    """The program on Paho C, beside the other things that are built."""
    out = os.path.join(os.path.dirname(harness.KITH), "peers-paho")
    source = os.path.join(peers.SCRIPTS, "on_paho.c")
    if not os.path.exists(out) or os.path.getmtime(out) < os.path.getmtime(source):
        done = subprocess.run(["cc", "-O1", "-Wall", "-Wextra", "-o", out, source, "-lpaho-mqtt3a", "-lpthread"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode and "MQTTAsync.h" in done.stdout:
            raise peers.Missing("Paho C: libpaho-mqtt-dev is not installed; tool/setup.sh --test does it")
        assert done.returncode == 0, done.stdout
    return out


def script(name):
    return os.path.join(peers.SCRIPTS, name)


def kinds():
    """(name, command, environment, whether it also speaks over WebSocket) of each client that can be had here."""
    paho = lambda version: ([sys.executable, script("on_paho.py")], {"PYTHONPATH": peers.pip("paho-mqtt", version, "paho.mqtt.client")})
    for name, get, websocket in (("Paho Python 1.6", lambda: paho("1.6.1"), False), ("Paho Python 2", lambda: paho("2.1.0"), True), ("Paho C", lambda: ([compiled()], {}), False),
                                 ("MQTT.js", lambda: (["node", script("mqttjs.mjs")], {"PEER_HOME": peers.npm("mqtt@5.16.0")}), True)):
        try:
            yield (name, *get(), websocket)
        except peers.Missing as e:
            print(f"skipped: {name}: {e}")


def by_curl(s):
    """The commands that people try first."""
    if not shutil.which("curl"):
        print("skipped: curl is not installed")
        return
    base = f"http://127.0.0.1:{s.http}"
    curl = lambda *args: subprocess.run(["curl", "-sS", "-H", f"Authorization: Bearer {s.key}", *args], capture_output=True, text=True, timeout=20)
    s.call("PUT", "/v1/conversations/curl", {"type": "direct", "members": ["cat", "bob"]})
    listen = subprocess.Popen(["curl", "-sSN", "--max-time", "10", f"{base}/v1/users/cat/stream?access_token={s.token('cat', 'term')}"], stdout=subprocess.PIPE, text=True)
    expect(listen.stdout.readline(), ": kith\n")
    said = curl("-f", "--json", '{"from":"bob","body":"by curl"}', f"{base}/v1/conversations/curl/messages")
    expect((said.returncode, json.loads(said.stdout)["body"]), (0, "by curl"), said.stderr)
    lines = iter(listen.stdout.readline, "")
    data = next(l for l in lines if l.startswith("data:"))
    expect(json.loads(data[5:])["message"]["body"], "by curl")
    listen.terminate()
    listen.wait()
    listen.stdout.close()
    for args, want in ((("-X", "PUT", "-d", '{"name":"Cat"}', f"{base}/v1/users/cat"), "200"), (("-T", "-", f"{base}/v1/users/cat"), None), (("-I", f"{base}/v1/users/cat"), "200"),
                       (("--http1.0", f"{base}/v1/users/cat"), "200"), (("-H", "Transfer-Encoding: chunked", "-X", "PUT", "-d", '{"name":"Kat"}', f"{base}/v1/users/cat"), "200"),
                       (("--compressed", f"{base}/v1/users/cat"), "200"), (("-H", "Expect: 100-continue", "-X", "PUT", "-d", '{"name":"Cat"}', f"{base}/v1/users/cat"), "200"),
                       (("--http2", f"{base}/v1/users/cat"), "200")):
        if want:
            expect(curl("-o", os.devnull, "-w", "%{http_code}", *args).stdout[-3:], want, " ".join(args[:-1]))
    upload = subprocess.run(["curl", "-sS", "-H", f"Authorization: Bearer {s.key}", "-T", "-", "-w", "%{http_code}", f"{base}/v1/users/cat"], input='{"name":"Cat"}', capture_output=True, text=True, timeout=20)
    expect(upload.stdout[-3:], "200", "an upload from a pipe is chunked")


def main():
    s = Server("--shards", "2")
    mqtt, http = Relay(s.mqtt), Relay(s.http)
    makers, crowd = [], []
    for name, command, environment, websocket in kinds():
        for relay, kind in ((mqtt, "tcp"), (http, "ws"))[:2 if websocket else 1]:
            for version in "4", "5":
                client = lambda called, user, device, token, c=(command, environment, relay, kind, version): Peer(
                    called, [*c[0], str(c[2].port), c[4], user, device, token], **c[1], PEER_TRANSPORT=c[3])
                called = f"{name}, MQTT {version} over {kind}"
                makers.append(lambda s, together, n, called=called, client=client: Story(s, together, called, n, client))
                crowd.append(lambda s, together, n, called=called, client=client: Crowd(s, together, called, n, client, len(crowd)))
    try:
        home = peers.npm("eventsource@3.0.7")
        client = lambda called, path: Peer(called, ["node", script("eventsource.mjs"), f"http://127.0.0.1:{http.port}{path}"], PEER_HOME=home)
        makers.append(lambda s, together, n: Listening(s, together, "EventSource", n, client))
    except peers.Missing as e:
        print("skipped:", e)
    relays = ((mqtt, lambda: s.mqtt), (http, lambda: s.http))
    tell_all(s, relays, makers)
    expect(s.call("PUT", "/v1/channel-rules/crowd", {"topic": "crowd/+", "publish": True, "subscribe": True})[0], 201)
    tell_all(s, relays, crowd, amid)
    by_curl(s)
    s.close()


main()

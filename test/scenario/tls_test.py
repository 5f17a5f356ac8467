"""TLS before HTTP, streams, WebSocket and MQTT: versions, protocols, resumption, certificates read again on SIGHUP, handshakes that do not end, and
what is no TLS."""
import json, os, shutil, signal, socket, ssl, subprocess, tempfile, threading, time

import certificate
from harness import KITH, Server, expect, eventually
from mqtt import Client
from proxy_header import header
from websocket import PING, WebSocket

folder = tempfile.mkdtemp(prefix="kith-tls-test-")
cert, key = certificate.make(folder)
other = certificate.make(folder, name="new.example", file="other", kind="rsa")


def trusting(*files, version=None, alpn=None):
    c = ssl.create_default_context(cafile=files[0] if files else cert)
    c.check_hostname = False
    if version:
        c.minimum_version = c.maximum_version = version
    if alpn:
        c.set_alpn_protocols(alpn)
    return c


def connect(port, context=None, session=None, name="localhost", seconds=30):
    raw = socket.create_connection(("127.0.0.1", port), timeout=seconds)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return (context or trusting()).wrap_socket(raw, server_hostname=name, session=session)


def ask(c, path="/healthz", key=None):
    """The status and the body of an answer on a connection that is kept."""
    c.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{f'Authorization: Bearer {key}' if key else 'X-A: b'}\r\n\r\n".encode())
    data = b""
    while b"\r\n\r\n" not in data:
        got = c.recv(65536)
        assert got, data
        data += got
    head, _, body = data.partition(b"\r\n\r\n")
    n = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < n:
        body += c.recv(65536)
    return int(head.split()[1]), body


def refuses_to_start():
    data = os.path.join(folder, "data")
    none, wrong = os.path.join(folder, "none.pem"), os.path.join(folder, "wrong.pem")
    open(wrong, "w").write("no certificate\n")
    for options, status, words in (((cert, key + "x"), 1, "server.keyx cannot be read"), ((none, key), 1, "none.pem cannot be read"), ((wrong, key), 1, "wrong.pem cannot be used"),
                                   ((cert, other[1]), 1, "does not belong to the certificate"), ((cert, None), 2, "both --tls-cert FILE and --tls-key FILE"),
                                   ((None, None), 2, "both --tls-cert FILE and --tls-key FILE")):
        args = [x for name, value in zip(("--tls-cert", "--tls-key"), options) if value for x in (name, value)]
        done = subprocess.run([KITH, "serve", "--data", data, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--https", "127.0.0.1:0", *args],
                              capture_output=True, text=True, timeout=30)
        expect((done.returncode, words in done.stderr), (status, True), f"{args}: {done.stderr}")
    expect(os.path.exists(data), False, "nothing was made")


def versions(s):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        c = connect(s.https, trusting(version=version))
        expect((ask(c)[0], ask(c)[0]), (200, 200), c.version())
        if version == ssl.TLSVersion.TLSv1_2:
            assert "ECDHE" in c.cipher()[0] and ("GCM" in c.cipher()[0] or "CHACHA" in c.cipher()[0]), c.cipher()
        expect(c.compression(), None)
        c.close()
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.https}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], input="", capture_output=True, text=True, timeout=20)
    assert "Cipher is (NONE)" in done.stdout, done.stdout[-600:]
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.https}", "-tls1_2", "-cipher", "AES128-SHA:AES256-SHA256"], input="", capture_output=True, text=True, timeout=20)
    assert "Cipher is (NONE)" in done.stdout, "without forward secrecy: " + done.stdout[-600:]
    for port, offers, chosen in ((s.https, ["h2", "http/1.1"], "http/1.1"), (s.mqtts, ["mqtt"], "mqtt"), (s.https, None, None)):
        c = connect(port, trusting(alpn=offers))
        expect(c.selected_alpn_protocol(), chosen, str(offers))
        c.close()
    for port, offers in ((s.https, ["h2"]), (s.mqtts, ["http/1.1"])):
        try:
            connect(port, trusting(alpn=offers)).close()
            raise AssertionError(f"{offers} was taken")
        except ssl.SSLError:
            pass


def resumption(s):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(version=version)
        c = connect(s.https, context)
        ask(c)
        expect(c.session_reused, False)
        session = c.session
        c.unwrap()
        c = connect(s.https, context, session)
        expect((c.session_reused, ask(c)[0]), (True, 200), c.version())
        c.close()


def protocols(s):
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    tokens = {w: s.token(w, w + "1") for w in ("ann", "bob")}
    over_tls = Client(0, "bob1", tokens["bob"], via=connect(s.mqtts), clean=True)
    expect(over_tls.connack.reason, 0)
    over_tls.subscribe("users/bob/#")
    wss = Client(0, "ann1", tokens["ann"], via=WebSocket(0, headers={"Host": "localhost", "Origin": "https://localhost"}, via=connect(s.https)), version=4, clean=True)
    expect(wss.connack.reason, 0)
    wss.subscribe("users/ann/#")
    stream = connect(s.https)
    stream.sendall(f"GET /v1/users/bob/stream?access_token={tokens['bob']} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    while b": kith" not in stream.recv(65536):
        pass
    big = "x" * 60000
    for i in range(40):
        expect(wss.publish("conversations/ab/messages", {"id": f"m{i}", "body": big}) is not None, True)
    got = over_tls.messages(40, topic="/messages")
    expect([(p.json()["id"], len(p.json()["body"])) for p in got], [(f"m{i}", 60000) for i in range(40)], "many records, both ways")
    data = b""
    while data.count(b"event: message") < 40:
        data += stream.recv(1 << 20)
    stream.close()
    wss.socket.send(PING, b"?")
    wss.ping()
    status, body = ask(connect(s.https), "/v1/conversations/ab/messages?limit=20", s.key)
    expect((status, len(json.loads(body)["items"])), (200, 20), "an answer of more than a megabyte")
    over_tls.disconnect()
    wss.disconnect()


def others(s):
    """Programs that nobody here wrote."""
    if shutil.which("curl"):
        for version in ("--tlsv1.3", "--tls-max=1.2"):
            done = subprocess.run(["curl", "-sS", "--cacert", cert, *version.split("="), f"https://localhost:{s.https}/healthz", "--resolve", f"localhost:{s.https}:127.0.0.1"],
                                  capture_output=True, text=True, timeout=20)
            expect((done.returncode, done.stdout), (0, '{"status":"ok"}'), done.stderr)
    else:
        print("skipped: curl is not installed")
    if not shutil.which("mosquitto_pub"):
        return print("skipped: mosquitto-clients is not installed")
    for version in ("5", "mqttv311"):
        done = subprocess.run(["mosquitto_pub", "--cafile", cert, "--insecure", "--tls-alpn", "mqtt", "-V", version, "-h", "127.0.0.1", "-p", str(s.mqtts), "-q", "1", "-i", "ann1", "-u", "ann",
                               "-P", s.token("ann", "ann1"), "-t", "conversations/ab/messages", "-m", json.dumps({"id": "by-" + version, "body": "x"})], capture_output=True, text=True, timeout=20)
        expect(done.returncode, 0, done.stderr)
        expect(s.call("GET", "/v1/conversations/ab/messages?limit=1")[1]["items"][0]["id"], "by-" + version)


def reload(s):
    old = connect(s.mqtts, seconds=10)
    c = Client(0, "bob1", s.token("bob", "bob1"), via=old, clean=True)
    shutil.copy(other[0], cert)
    shutil.copy(other[1], key)
    s.process.send_signal(signal.SIGHUP)
    eventually(lambda: expect("was read again" in s.said(), True))
    new = trusting(other[0])
    expect(ask(connect(s.https, new, name="new.example"))[0], 200, "the new one, RSA")
    c.ping()
    open(cert, "w").write("spoilt\n")
    s.process.send_signal(signal.SIGHUP)
    eventually(lambda: expect("cannot be used" in s.said(), True))
    line = json.loads([l for l in s.said().splitlines() if "cannot be used" in l][0])
    expect((line["level"], "the one before is served still" in line["message"]), ("error", True))
    expect(ask(connect(s.https, new, name="new.example"))[0], 200, "the one before")
    c.ping()
    c.disconnect()
    certificate.make(folder)
    s.process.send_signal(signal.SIGHUP)
    eventually(lambda: expect(s.said().count("was read again"), 2))


def closed_after(c):
    began = time.time()
    c.settimeout(10)
    try:
        while c.recv(4096):
            pass
    except ConnectionError:
        pass
    return time.time() - began


def bad_clients(s):
    plain = socket.create_connection(("127.0.0.1", s.https))
    plain.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    expect(closed_after(plain) < 1.9, True, "no TLS")
    for what in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):  # nothing, half a ClientHello
        c = socket.create_connection(("127.0.0.1", s.mqtts))
        c.sendall(what)
        expect(1 < closed_after(c) < 9, True, "closed by --tls-handshake-timeout")
    # who shakes hands and then says nothing is held to the protocol's own timeout; who spoils a record is closed
    c = connect(s.https)
    raw = socket.socket(fileno=os.dup(c.fileno()))
    raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    expect(closed_after(raw) < 9, True, "a spoilt record")
    # a plain listener is no TLS one
    try:
        connect(s.http, seconds=3)
        raise AssertionError("TLS on the plain listener")
    except (ssl.SSLError, ConnectionError):
        pass


def handshake_limit():
    """Half-open handshakes hold up the others no longer than until the oldest gives way: of the best of three, on a busy machine."""
    assert any(sixth < 8 and forty < 8 for sixth, forty in (crowded() for _ in range(3))), "one place is free, and 40 wait for it until others end"


def crowded():
    """How long the sixth of five that may be half-open waits, and 40 that have one place among them."""
    s = Server("--https", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--tls-handshakes-max", "5", "--tls-handshake-timeout", "9s", "--shards", "1")
    half = [socket.create_connection(("127.0.0.1", s.https)) for _ in range(5)]
    time.sleep(0.1)
    began = time.time()
    c = connect(s.https)
    waited = time.time() - began
    expect((ask(c)[0], waited > 0.5), (200, True), f"a sixth waits until the oldest gives way: {waited:.2f} s")
    expect(half[0].recv(1), b"", "the oldest")
    half[1].settimeout(0.2)
    expect(raises(TimeoutError, half[1].recv, 1), True, "the others go on")
    began = time.time()
    threads = [threading.Thread(target=lambda: ask(connect(s.https))) for _ in range(40)]
    for t in threads:
        t.start()
    expect(ask_plain(s), 200, "others are served meanwhile")
    for t in threads:
        t.join()
    took = time.time() - began
    for h in half:
        h.close()
    expect(int(s.call("GET", "/metrics")[1].partition(b"\nkith_limit_handshake_total ")[2].split()[0]) >= 1, True)
    s.close()
    return waited, took


def raises(what, fn, *args):
    try:
        fn(*args)
        return False
    except what:
        return True


def ask_plain(s):
    return s.call("GET", "/healthz", headers={"Authorization": ""})[0]


def proxied():
    """PROXY header first, then TLS."""
    s = Server("--https", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--proxy-protocol")
    raw = socket.create_connection(("127.0.0.1", s.https), timeout=10)
    raw.sendall(header("10.1.2.3"))
    expect(ask(trusting().wrap_socket(raw, server_hostname="localhost"))[0], 200)
    s.close()


refuses_to_start()
s = Server("--https", "127.0.0.1:0", "--mqtts", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--tls-handshake-timeout", "2s", "--shards", "2")
for part in (versions, resumption, protocols, others, bad_clients, reload):
    part(s)
metrics = s.call("GET", "/metrics")[1].decode()
count = lambda name: int(metrics.partition(f"\nkith_{name}_total ")[2].split()[0])
expect((count("tls_handshakes") > 15, count("tls_resumed"), count("tls_failed") >= 4), (True, 2, True))
c = connect(s.mqtts)
beside = Client(0, "cid1", s.token("cid", "cid1"), via=c, clean=True)
s.process.send_signal(signal.SIGTERM)
expect(beside.ended().reason, 0x8B, "told over TLS too")
s.close()
handshake_limit()
proxied()
shutil.rmtree(folder)

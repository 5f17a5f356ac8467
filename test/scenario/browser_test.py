"""A browser's page as a device: MQTT.js over WebSocket, EventSource and fetch in headless Chromium tell the stories of stories.py, and a page of an origin that is not listed gets nothing."""
import http.server, json, os, queue, shutil, subprocess, tempfile, threading

import peers
from harness import Server, expect
from stories import Client, Listening, Relay, Story, tell_all


class Page:
    """Serves the page and talks with it: it asks for orders and brings back what came of them."""

    def __init__(self, library):
        self.orders, self.answers, self.lock, self.number = queue.Queue(), {}, threading.Lock(), 0
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, body, kind="application/json"):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/mqtt.js":
                    with open(os.path.join(library, "node_modules", "mqtt", "dist", "mqtt.min.js"), "rb") as f:
                        self.answer(f.read(), "text/javascript")
                elif self.path == "/next":
                    orders = []
                    try:
                        orders.append(page.orders.get(timeout=5))
                    except queue.Empty:
                        pass
                    while not page.orders.empty():
                        orders.append(page.orders.get())
                    self.answer(json.dumps(orders).encode())
                elif self.path == "/":
                    with open(os.path.join(peers.SCRIPTS, "browser.html"), "rb") as f:
                        self.answer(f.read(), "text/html; charset=utf-8")
                else:
                    self.send_error(404)

            def do_POST(self):
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                page.answers.pop(said["number"]).put(said)
                self.answer(b"{}")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def do(self, peer, *words):
        answer = queue.Queue()
        with self.lock:
            self.number += 1
            number = self.number
        self.answers[number] = answer
        self.orders.put({"peer": peer, "number": number, "words": words})
        said = answer.get(timeout=30)
        assert "error" not in said, f"{peer}: {said['error']}"
        return said["value"]


class Peer(Client):
    """One of the page's devices."""
    count = 0

    def __init__(self, page, *words):
        Peer.count += 1
        self.page, self.id = page, Peer.count
        self.name = words[0]
        self.do(*words)

    def do(self, *words):
        return self.page.do(self.id, *words)

    def close(self):
        self.do("end")


class Browser:
    def __init__(self, program, url):
        self.folder = tempfile.mkdtemp(prefix="kith-browser-")
        self.process = subprocess.Popen([program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                                         "--disable-component-update", "--remote-debugging-port=0", f"--user-data-dir={self.folder}", url],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)


def by_fetch(s, page):
    """A page calls the routes themselves, with a device token; the browser asks first."""
    token, base = s.token("fay", "tab"), f"http://127.0.0.1:{s.http}/v1"
    s.call("PUT", "/v1/conversations/f", {"type": "direct", "members": ["fay", "bob"]})
    status, message = page.do(0, "fetch", "POST", f"{base}/conversations/f/messages", token, json.dumps({"body": "from a page"}))
    expect((status, message["from"], message["body"]), (201, "fay", "from a page"))
    expect(page.do(0, "fetch", "GET", f"{base}/conversations/f/messages", token)[1]["items"][0]["id"], message["id"])
    status, problem = page.do(0, "fetch", "GET", f"{base}/users/bob/mailbox", token)
    expect((status, problem["type"]), (403, "/problems/forbidden"), "a page reads why it was refused")


def strangers(s, page):
    """This page has no entry in the list of a server with another one: it cannot call, listen or connect."""
    other = Server("--cors-origin", "https://app.example")
    token = other.token("fay", "tab")
    base = f"127.0.0.1:{other.http}"
    expect(page.do(0, "socket", f"ws://127.0.0.1:{s.http}/mqtt"), "open", "where it is listed")
    expect(page.do(0, "socket", f"ws://{base}/mqtt"), "refused")
    expect(page.do(0, "listen", f"http://{base}/v1/users/fay/stream?access_token={token}"), "refused")
    for method, body in (("GET", ()), ("PUT", ('{"name":"F"}',))):
        try:
            page.do(0, "fetch", method, f"http://{base}/v1/users/fay", token, *body)
        except AssertionError as e:
            assert "Failed to fetch" in str(e), e
        else:
            raise AssertionError(f"{method} of a page of another origin")
    expect(other.call("GET", "/v1/users/fay")[1].get("name"), None, "what the browser asked first was not done")
    other.close()


def main():
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        peers.skip("chromium is not installed; tool/setup.sh --test does it")
    try:
        page = Page(peers.npm("mqtt@5.16.0"))
    except peers.Missing as e:
        peers.skip(e)
    s = Server("--shards", "2", "--cors-origin", f"http://127.0.0.1:{page.port}")
    relay = Relay(s.http)
    browser = Browser(program, f"http://127.0.0.1:{page.port}/")
    try:
        by_fetch(s, page)
        strangers(s, page)
        makers = []
        for version in "4", "5":
            client = lambda called, user, device, token, v=version: Peer(page, "mqtt", f"ws://127.0.0.1:{relay.port}/mqtt", v, user, device, token)
            makers.append(lambda s, together, n, v=version, client=client: Story(s, together, f"MQTT.js in Chromium, MQTT {v}", n, client))
        client = lambda called, path: Peer(page, "stream", f"http://127.0.0.1:{relay.port}{path}")
        makers.append(lambda s, together, n: Listening(s, together, "EventSource in Chromium", n, client))
        tell_all(s, ((relay, lambda: s.http),), makers)
    finally:
        browser.close()
    s.close()


main()

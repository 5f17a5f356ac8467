"""Pages of other origins, and names bound anew to this address, beside the demo: they get no token, no journey, no connection, no frame. And the way from `make run` to a message seen."""
import http.server, os, re, shutil, signal, subprocess, tempfile, threading, time

from browser import ROOT, Browser, Dev

SEEN_S = 5  # from `make run` on a machine that has built to a message seen in the page
SLACK_S = 10  # of a build with sanitizers, on a machine that does other things too

ASK = """async ([base, ws]) => {
    const tried = {}, path = '/demo/api/users/ann/tokens?device=stranger';
    const call = async (name, url, how) => { try { const a = await fetch(base + url, how); tried[name] = a.type === 'opaque' ? 'sent blindly' : `${a.status} ${(await a.text()).slice(0, 300)}`; } catch { tried[name] = 'refused'; } };
    await call('token', path, { method: 'POST' });
    await call('token, blindly', path, { method: 'POST', mode: 'no-cors' });
    await call('token, with what is allowed', path, { method: 'POST', headers: { 'Content-Type': 'application/json' } });
    await call('journey', '/demo/api/items/b1/journey?conversation=ann-bob', {});
    await call('page', '/', {});
    await call('api', '/v1/users/ann/mailbox', {});
    tried.socket = await new Promise((done) => { const s = new WebSocket(ws + '/mqtt', 'mqtt'); s.onopen = () => done('open'); s.onerror = () => done('refused'); });
    tried.module = await import(base + '/demo/theme.js').then(() => 'read', () => 'refused');
    return tried;
}"""


class Elsewhere:
    """A page of another origin."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>elsewhere</title><iframe></iframe>")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"


def nothing(tried, what):
    for name, said in tried.items():
        assert said == ("sent blindly" if "blindly" in name else "refused") or said.startswith("403 "), f"{what}: {name}: {said}"
        assert "eyJ" not in said, f"{what}: {name}: {said}"


def others(dev):
    port = dev.url.rsplit(":", 1)[1]
    with Browser("--host-resolver-rules=MAP evil.example 127.0.0.1") as b:
        page = b.page(Elsewhere().url)
        nothing(page.evaluate(ASK, [dev.url, dev.url.replace("http", "ws")]), "another port of this machine")
        page.evaluate("(url) => { document.querySelector('iframe').src = url; }", dev.url + "/")
        page.wait_for_timeout(500)
        assert not any(f.url.startswith(dev.url) for f in page.frames), "the demo is framed"
        page.faults.clear()  # all of that was told in the console, as it should be
        bound = b.page()
        answer = bound.goto(f"http://evil.example:{port}/")
        assert answer.status == 403, "a name that was bound to this address"
        nothing(bound.evaluate(ASK, [f"http://evil.example:{port}", f"ws://evil.example:{port}"]), "a name that was bound to this address")
        bound.faults.clear()
        own = b.page(f"http://localhost:{port}/")  # another name of this machine is as good
        own.locator("html[data-ready]").wait_for(state="attached")


def from_make_run(b):
    """Seconds until what somebody wrote is on another's phone."""
    build, folder = os.path.dirname(os.path.abspath(os.environ["KITH"])), tempfile.mkdtemp(prefix="kith-web-")
    subprocess.run(["make", "-s", "build", f"BUILD={build}"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)  # it has built before
    page = b.page()
    began = time.monotonic()
    run = subprocess.Popen(["make", "-s", "run", f"BUILD={build}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
                           env={**os.environ, "KITH_HTTP": "127.0.0.1:0", "KITH_MQTT": "127.0.0.1:0", "KITH_DATA": folder})
    try:
        url = None
        while not url:
            line = run.stdout.readline()
            assert line, "make run ended"
            url = re.search(r"http://[\d.]+:\d+/", line)
        assert "Open" in line, f"the demo's address comes first, and says what it is: {line}"
        page.goto(url.group(0))
        page.locator("[data-person=ann] .message").first.wait_for()
        page.locator("[data-person=ann] textarea").fill("Seen?")
        page.locator("[data-person=ann] textarea").press("Enter")
        page.locator("[data-person=bob] .body", has_text="Seen?").wait_for()
        return time.monotonic() - began
    finally:
        os.killpg(run.pid, signal.SIGTERM)
        run.wait(timeout=30)
        run.stdout.close()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    dev = Dev()
    others(dev)
    dev.close()
    with Browser() as b:
        took = from_make_run(b)
        assert took < SEEN_S + SLACK_S, f"{took:.1f} s from make run to a message seen"
    print(f"{took:.2f} s from make run to a message seen")


main()

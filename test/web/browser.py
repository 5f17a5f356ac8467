"""Headless Chromium for the tests of pages: pages that tell of whatever went wrong in them, and pictures of what they looked like, kept in build/shots.
The pages' policy forbids eval, and with it wait_for_function: wait for a locator."""
import atexit, os, shutil, site, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SHOTS = os.path.join(ROOT, "build", "shots")
PLAYWRIGHT = "1.65.2"
sys.path.insert(0, os.path.join(ROOT, "test", "scenario"))
os.environ.setdefault("KITH", os.path.join(ROOT, "build", "kith"))
import peers  # noqa: E402


def playwright():
    """Playwright's Python library, which drives the system's own Chromium; a word and the end of the test, where one of both cannot be had."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        peers.skip("chromium is not installed; tool/setup.sh --test does it")
    try:
        site.addsitedir(peers.pip("playwright", PLAYWRIGHT, "playwright.sync_api"))
    except peers.Missing as e:
        peers.skip(e)
    from playwright.sync_api import sync_playwright
    return sync_playwright, program


class Browser:
    """`with Browser() as b: page = b.page(url)`. Each page has a profile of its own."""

    def __init__(self, *more):
        self.more = more  # of the command line
        self.start, self.program = playwright()

    def __enter__(self):
        self.running = self.start().start()
        self.chromium = self.running.chromium.launch(executable_path=self.program, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--font-render-hinting=none", *self.more])
        self.pages = []
        return self

    def __exit__(self, kind, *_):
        """What went wrong in any page fails the test, unless it fails already."""
        try:
            if kind is None:
                for page in self.pages:
                    faultless(page)
            else:
                for i, page in enumerate(self.pages):
                    if not page.is_closed():
                        shot(page, f"failed-{os.path.basename(sys.argv[0]).removesuffix('.py')}-{i}")
                        print(page.url, *page.faults, sep="\n  ")
        finally:
            self.chromium.close()
            self.running.stop()

    def page(self, url=None, width=1280, height=800, dark=False, calm=False, touch=False, scale=1, locale="en-GB"):
        """A new page. calm: prefers-reduced-motion. scale: pixels of the screen for each of the page. `page.faults` lists errors of scripts and of the console,
        what the content policy refused, and answers of 400 and more; take out of it what a test brings about on purpose."""
        context = self.chromium.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", device_scale_factor=scale,
                                            reduced_motion="reduce" if calm else "no-preference", has_touch=touch, locale=locale, timezone_id="Europe/Berlin")
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.faults = faults = []
        page.expose_function("kithTestPolicy", lambda said: faults.append(f"policy: {said}"))
        page.add_init_script("""addEventListener('securitypolicyviolation', (e) => kithTestPolicy(`${e.effectiveDirective} refused ${e.blockedURI}`));
            window.kithTestShifts = 0;
            new PerformanceObserver((l) => { for (const e of l.getEntries()) if (!e.hadRecentInput) window.kithTestShifts += e.value; }).observe({ type: 'layout-shift', buffered: true });""")
        page.on("pageerror", lambda e: faults.append(f"error: {e}"))
        page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
        page.on("response", lambda r: faults.append(f"answer: {r.status} {r.url}") if r.status >= 400 else None)
        self.pages.append(page)
        if url:
            page.goto(url)
        return page


def faultless(page):
    assert not page.faults, f"{page.url}: " + "; ".join(page.faults)


def shifts(page):
    """The sum of the page's layout shifts that no input brought about (Layout Instability API)."""
    return page.evaluate("window.kithTestShifts")


def shot(page, name, **how):
    os.makedirs(SHOTS, exist_ok=True)
    path = os.path.join(SHOTS, name + ".png")
    page.screenshot(path=path, **how)
    return path


def weight(page, url):
    """(bytes of all that loading it takes, head lines left aside; how many files), of a new profile."""
    sizes = {}
    page.on("response", lambda r: sizes.__setitem__(r.url, len(r.body())) if r.status == 200 and r.request.method == "GET" else None)
    page.goto(url, wait_until="networkidle")
    return sum(sizes.values()), sizes


def audit(page, what):
    """What axe-core finds wrong with the page as it is, for people who do not see it or have no mouse. Once it is said why it cannot be had here, and then it is left out."""
    global axe
    try:
        axe = axe or open(os.path.join(peers.npm("axe-core@4.14.1"), "node_modules", "axe-core", "axe.min.js"), encoding="utf-8").read()
    except peers.Missing as e:
        if axe is None:
            print(f"skipped: the audit of {what}, and those after it: {e}")
        axe = ""
        return
    page.evaluate(axe + "; undefined")
    wrong = page.evaluate("axe.run(document, { resultTypes: ['violations'] }).then((said) => said.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.html.slice(0, 120)}`)))")
    assert not wrong, f"{what}: " + "; ".join(wrong)


axe = None


class Dev:
    """`kith serve --dev`, with a folder and ports of its own."""

    def __init__(self, *options, data=None):
        import tempfile
        self.folder = data or tempfile.mkdtemp(prefix="kith-web-")
        self.began = time.monotonic()
        self.log = open(os.path.join(self.folder, "log.txt"), "w")
        self.process = subprocess.Popen([os.environ["KITH"], "serve", "--dev", "--data", os.path.join(self.folder, "data"), "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", *options],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        atexit.register(self.abandon)
        self.said = ""
        while "bench one-to-one" not in self.said:
            line = self.process.stdout.readline()
            assert line, f"it ended: {self.said}"
            self.said += line
        self.url = next(w.rstrip("/") for w in self.said.split() if w.startswith("http://"))
        self.key = self.said.split("key (app demo): ")[1].split()[0]

    def abandon(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self):
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0
        shutil.rmtree(self.folder)

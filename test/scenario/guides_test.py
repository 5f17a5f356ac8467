"""Every command of README.md, docs/guide and docs/operate, in order, as a reader types them, against real servers in a folder of its own.

A block is fenced and says what it is:
  ```sh                       is run; the shell stays the same for all of a document
  ```sh server                runs on behind; the next block begins when it answers at /healthz (a terminal of its own, for a reader)
  ```sh background            likewise, without waiting
  ```sh stop                  the server that began first is stopped, by SIGTERM, whatever the block says
  ```sh not run: WHY          is not
  ```text                     directly behind one that is run: what it prints, where `...` is anything, and numbers, times and ids are not compared; behind a `background` one, what it has
                              printed by then or soon
  ```LANGUAGE FILE            is a file of that name (html, js, py, yaml ...); without a name it is only shown
`<!-- runs: COMMAND -->` at the top is a server that the document takes for granted. A document that says `The commands here are run by `test/scenario/X_test.py`` is that test's.

What is made fit: `make build` is done already, `make run` is `kith serve --dev`; `kith` and `build/kith` are the program under test; 8080, 1883 and other ports of 127.0.0.1 are free ones;
/var/lib/kith, /backups and /etc/kith are in the folder; KITH_KEY and TOKEN are what a `--dev` server prints. A block whose commands are not installed here is skipped, in words.

Runs early: it goes through all guides."""
import glob, os, re, shlex, shutil, signal, subprocess, sys, tempfile, threading, time, urllib.request

import harness, peers
from harness import eventually, expect
from ports import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KITH = os.path.abspath(harness.KITH)
SHOWN = {"yaml", "json", "html", "js", "css", "py", "python", "http", "text", "ini", "toml", "ts", "sql", "nginx"}
WORDS = {"kith", "make", "curl", "export", "sudo", "npm", "node", "python3", "mosquitto_sub", "mosquitto_pub", "build/kith", "cat", "cp", "kill", "systemctl", "git", "docker", "promtool", "bench/run.py"}
PATIENCE = 90


class Block:
    def __init__(self, document, line, indent, info):
        self.document, self.line, self.indent = document, line, indent
        self.language, _, self.note = info.partition(" ")
        self.text, self.expected = [], None

    def __str__(self):
        return f"{self.document}:{self.line}"

    @property
    def command(self):
        return "\n".join(self.text)


def read(document):
    """The blocks of a document in order; what is a command and not marked is a fault."""
    blocks, faults, block, before = [], [], None, ""
    with open(os.path.join(ROOT, document), encoding="utf-8") as f:
        lines = f.read().split("\n")
    for number, line in enumerate(lines, 1):
        fence = re.match(r"( *)```(.*)$", line)
        if block is not None and fence and not fence.group(2):
            last = blocks[-1] if blocks else None
            gap = last is not None and all(not l.strip() for l in lines[last.end:block.line - 1])
            if block.language == "text" and not block.note and last is not None and last.language == "sh" and gap:
                last.expected = block.text
                last.end = number
            else:
                block.end = number
                blocks.append(block)
            block = None
        elif block is not None:
            block.text.append(line[block.indent:] if not line[:block.indent].strip() else line)
        elif fence:
            block = Block(document, number, len(fence.group(1)), fence.group(2).strip())
            if block.language != "sh" and block.language not in SHOWN:
                faults.append(f"{block}: a block says what it is: sh, or one of {', '.join(sorted(SHOWN))}")
        elif line.startswith("    ") and not before.strip() and (line.split() or [""])[0] in WORDS:
            faults.append(f"{document}:{number}: a command that nobody runs: put it into a fenced block, ```sh")
        before = line
    if block is not None:
        faults.append(f"{block}: the block does not end")
    return lines, blocks, faults


def plain(text):
    """As far as it is compared: ids, numbers and times stand for any."""
    text = re.sub(r"kith_[0-9a-f]{12}_[\w-]+", "KEY", text)
    text = re.sub(r"\beyJ[\w.-]+", "TOKEN", text)
    text = re.sub(r"\b[0-9A-HJKMNP-TV-Z]{20,}\b|\b(?=\w*\d)[0-9a-f]{8,}(-[0-9a-f]+)?\b", "ID", text)
    text = re.sub(r"\d+(,\d{3})*(\.\d+)?", "N", text)
    return re.sub(r"\s+", " ", text).strip()


def missing_of(want, got):
    """The first part of what is expected that is not there, in its order; None: all is."""
    got, at = plain(got), 0
    for line in want:
        for part in (plain(p) for p in line.split("...")):
            found = got.find(part, at)
            if found < 0:
                return part
            at = found + len(part)
    return None


class Session:
    """One document's shell, folder, servers and ports."""

    def __init__(self, document):
        self.document, self.folder, self.ports, self.behind, self.servers = document, tempfile.mkdtemp(prefix="kith-guide-"), {}, [], []
        for name in ("docs", "sdk", "bench", "test", "tool", "packaging", "Makefile", "README.md"):
            os.symlink(os.path.join(ROOT, name), os.path.join(self.folder, name))
        for name in ("var/lib", "backups", "etc"):
            os.makedirs(os.path.join(self.folder, name))
        for name in ("bin", "build"):
            os.mkdir(os.path.join(self.folder, name))
            os.symlink(KITH, os.path.join(self.folder, name, "kith"))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KITH")}
        environment.update(PATH=os.path.join(self.folder, "bin") + ":" + environment["PATH"], KITH_HTTP=f"127.0.0.1:{self.port('8080')}", KITH_MQTT=f"127.0.0.1:{self.port('1883')}", PS1="")
        self.shell = subprocess.Popen(["bash", "--noprofile", "--norc"], cwd=self.folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      start_new_session=True)
        self.said, self.count, self.done = "", 0, threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.shell.stdout:
            with self.done:
                self.said += line
                self.done.notify()
        with self.done:
            self.said += "\nended\n"
            self.done.notify()

    def port(self, known):
        """A free one in its place, the same for the whole document."""
        if known not in self.ports:
            self.ports[known] = str(free_port())
        return self.ports[known]

    def fit(self, command):
        command = re.sub(r"(?<=127\.0\.0\.1:)\d{2,5}\b|(?<=127\.0\.0\.1., )\d{2,5}\b|(?<=localhost:)\d{2,5}\b|(?<=-p )\d{4,5}\b|(?<=0\.0\.0\.0:)\d{2,5}\b|(?<=.port.: )\d{2,5}\b", lambda m: self.port(m.group()), command)
        command = re.sub(r"\bmake run\b", "kith serve --dev", re.sub(r"\bmake build\b", "true", command))
        command = re.sub(r"(?<![\w.])/(var/lib/kith|backups|etc/kith)\b", lambda m: f"{self.folder}/{m.group(1)}", command)
        return re.sub(r"export (KITH_KEY|TOKEN)=\.\.\..*", r"export \1=$\1", command)

    def type(self, command, seconds=PATIENCE):
        """(exit status, what it printed)."""
        self.count += 1
        mark = f"-- guide {self.count}"
        with self.done:
            self.said = ""
            self.shell.stdin.write(f"{command}\necho \"{mark} $?\"\n")
            self.shell.stdin.flush()
            found = lambda: re.search(re.escape(mark) + r" (\d+)\n", self.said) or "\nended\n" in self.said
            assert self.done.wait_for(found, seconds), f"not done after {seconds} s: {self.said[-2000:]}"
            m = re.search(r"^(.*)" + re.escape(mark) + r" (\d+)\n", self.said, re.S)
        assert m, f"the shell ended: {self.said[-2000:]}"
        return int(m.group(2)), m.group(1)

    def start(self, command):
        """Runs on behind, until the document's end."""
        out = os.path.join(self.folder, f"behind-{len(self.behind)}")
        status, said = self.type(f"{{ {command}\necho 'it ended with' $?; }} > {out} 2>&1 & echo $!")
        expect(status, 0, said)
        self.behind.append((int(said.split()[-1]), out))

    def printed_behind(self, which=-1):
        if not os.path.exists(self.behind[which][1]):
            return ""
        with open(self.behind[which][1], errors="replace") as f:
            return f.read()

    def good(self):
        """Nothing that runs on behind has failed."""
        for i in range(len(self.behind)):
            said = self.printed_behind(i)
            assert not re.search(r"^it ended with [1-9]", said, re.M), f"{self.document}: {said[-2000:]}"

    def serve(self, command):
        self.start(command)
        self.servers.append(self.behind[-1][0])
        at = re.search(r"--http[ =]\S*?:(\d+)", command)
        url = f"http://127.0.0.1:{at.group(1) if at else self.port('8080')}/healthz"

        def answers():
            try:
                urllib.request.urlopen(url, timeout=5).close()
            except OSError as e:
                raise AssertionError(f"{e}: {self.printed_behind()[-1500:]}")
        eventually(answers, 30)
        if "--dev" in command:
            eventually(lambda: expect("bench one-to-one" in self.printed_behind(), True, self.printed_behind()))
            key = re.search(r"key \(app demo\): (\S+)", self.printed_behind()).group(1)
            data = re.search(r"--data (\S+)", command)
            token = subprocess.check_output([KITH, "token", "--data", os.path.join(self.folder, data.group(1) if data else "kith-data"), "--app", "demo", "--user", "bob", "--device", "bobs-phone"], text=True)
            self.type(f"export KITH_KEY={key} TOKEN={token.strip()}")

    def stop(self):
        """Of the program that a shell runs on behind, its child."""
        pid = self.servers.pop(0)
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            os.kill(int(f.read().split()[0]), signal.SIGTERM)
        eventually(lambda: expect(os.path.exists(f"/proc/{pid}/stat") and open(f"/proc/{pid}/stat").read().split(") ")[1][0] != "Z", False), 30)

    def run(self, block):
        lacking = [w for w in re.findall(r"(?m)^\s*(?:sudo )?(\w[\w.-]*)(?= |$)", block.command) if w in WORDS and w not in ("kith", "export", "make") and not shutil.which(w)]
        lacking += [w for w in ("promtool", "npm", "node") if re.search(rf"\b{w}\b", block.command) and not shutil.which(w) and w not in lacking]
        if lacking:
            print(f"skipped: {block}: {', '.join(lacking)} is not installed")
            return
        command = self.fit(block.command)
        if block.note == "stop":
            self.stop()
        elif block.note == "server":
            self.serve(command)
        elif block.note == "background":
            self.start(command)
        else:
            status, said = self.type(command)
            expect(status, 0, f"{block}: {command}\n{said[-3000:]}\nexit status")
            if block.expected is not None:
                miss = missing_of(block.expected, said)
                assert miss is None, f"{block}: expected `{miss}`, and it printed:\n{said[-3000:]}"
            return
        if block.expected is not None:
            eventually(lambda: expect(missing_of(block.expected, self.printed_behind()), None, f"{block}: it printed:\n{self.printed_behind()[-3000:]}\nmissing"))

    def write(self, block):
        with open(os.path.join(self.folder, block.note), "w", encoding="utf-8") as f:
            f.write(self.fit(block.command) + "\n")

    def close(self):
        try:
            os.killpg(self.shell.pid, signal.SIGTERM)
            time.sleep(0.2)
            os.killpg(self.shell.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.shell.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def ten_minutes(session):
    """Two windows with the guide's page, in headless Chromium: they talk, also after the server was killed and started again."""
    sys.path.insert(0, os.path.join(ROOT, "test", "web"))
    import browser
    browser.playwright()
    url = f"http://127.0.0.1:{session.port('3000')}/"
    with browser.Browser() as b:
        ann, bob = b.page(url + "?user=ann"), b.page(url + "?user=bob")
        said = []
        for page, who, text in ((ann, "ann", "hello from my page"), (bob, "bob", "hello back")):
            page.fill("input", text)
            page.press("input", "Enter")
            said.append(f"{who}: {text} ✓")
            for other in (ann, bob):
                eventually(lambda: expect([l for l in said if l not in other.locator("li").all_inner_texts()], []))
        for page in (ann, bob):
            page.faults.clear()


AFTERWARDS = {"docs/guide/ten-minutes.md": ten_minutes}


def documents():
    return ["README.md", *sorted(os.path.relpath(p, ROOT) for folder in ("guide", "operate") for p in glob.glob(os.path.join(ROOT, "docs", folder, "*.md")))]


def broken(document, text):
    """The links to files of the project that lead nowhere."""
    prose = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
    links = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|srcset)="([^"]+)"', prose)
    return [l for l in links if "://" not in l and l[0] != "#" and not os.path.exists(os.path.join(ROOT, os.path.dirname(document), l.split("#")[0]))]


def follow(document):
    """How many blocks of it were run."""
    lines, blocks, faults = read(document)
    faults += [f"{document}: {link} is not there" for link in broken(document, "\n".join(lines))]
    assert not faults, "\n".join(faults)
    own = re.search(r"The commands here are run by `(test/scenario/\w+_test\.py)`", "\n".join(lines).replace("\n", " "))
    if own:
        with open(os.path.join(ROOT, own.group(1)), encoding="utf-8") as f:
            assert os.path.basename(document) in f.read(), f"{document} says that {own.group(1)} runs it; that does not name it"
        return 0
    if not any(b.language == "sh" or b.note for b in blocks):
        return 0
    session, count = Session(document), 0
    try:
        for granted in re.findall(r"<!-- runs: (.*?) -->", "\n".join(lines)):
            session.serve(session.fit(granted))
        for block in blocks:
            if block.language == "sh" and block.note.startswith("not run: "):
                continue
            if block.language == "sh":
                assert block.note in ("", "server", "background", "stop"), f"{block}: what is `sh {block.note}`?"
                session.run(block)
                count += 1
            elif block.note:
                session.write(block)
            session.good()
        if document in AFTERWARDS:
            try:
                AFTERWARDS[document](session)
            except SystemExit:
                pass  # skipped, in words
    finally:
        session.close()
    return count


def itself():
    """The comparing can fail."""
    expect(missing_of(["a 12 ... c"], "x a 7 b c"), None)
    expect(missing_of(["a", "b"], "b a"), "b")
    expect(missing_of(['{"id":"..."}'], '{"id":"01M7Z83WAADHBERXFWW5PDQXKT"}'), None)
    expect(missing_of(["nothing wrong"], "3 things wrong"), "nothing wrong")


def main():
    if not shutil.which("bash"):
        peers.skip("bash is not installed")
    itself()
    faults = []
    for document in sys.argv[1:] or documents():
        began = time.time()
        try:
            print(f"{document}: {follow(document)} blocks in {time.time() - began:.1f} s", flush=True)
        except Exception as e:
            faults.append(f"{document}: {type(e).__name__}: {e}")
    assert not faults, "\n".join(faults)


main()

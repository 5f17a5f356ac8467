"""The WebSocket cases of Autobahn, from PyPI, against test/peers/echo.c, which stands on the same reading and writing of frames as the server: none fails, none is close to it."""
import glob, json, os, shutil, subprocess, tempfile

import harness, peers
from harness import expect

PACKAGE = ("autobahntestsuite", "25.10.1")
LEFT_OUT = ["12.*", "13.*"]  # compression, which is not offered
CASES_MIN = 300


def python2():
    """The suite is of Python 2.7."""
    for program in (shutil.which("python2.7"), *sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/2.7*/bin/python"))), shutil.which("python2")):
        if program and subprocess.run([program, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            return program
    peers.skip("Autobahn's suite needs Python 2.7 with pip, which is not here")


def main():
    program = python2()
    echo = os.path.join(os.path.dirname(harness.KITH), "echo")
    if not os.path.exists(echo):
        peers.skip(f"{echo} is not built; it is where the sanitizers are")
    try:
        home = peers.pip(*PACKAGE, "autobahntestsuite.wstest", program)
    except peers.Missing as e:
        peers.skip(e)
    folder = tempfile.mkdtemp(prefix="kith-autobahn-")
    server = subprocess.Popen([echo], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline())
        with open(os.path.join(folder, "spec.json"), "w") as f:
            json.dump({"outdir": "./reports", "servers": [{"agent": "kith", "url": f"ws://127.0.0.1:{port}", "protocols": ["mqtt"]}], "cases": ["*"], "exclude-cases": LEFT_OUT,
                       "exclude-agent-cases": {}}, f)
        done = subprocess.run([program, "-c", f"import site; site.addsitedir({home!r}); from autobahntestsuite.wstest import run; run()", "-m", "fuzzingclient", "-s", "spec.json"], cwd=folder,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
        expect(done.returncode, 0, done.stdout[-2000:])
        expect(server.poll(), None, "the server goes on")
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    with open(os.path.join(folder, "reports", "index.json")) as f:
        report = json.load(f)["kith"]
    wrong = {case: (r["behavior"], r["behaviorClose"]) for case, r in report.items() if {r["behavior"], r["behaviorClose"]} - {"OK", "INFORMATIONAL"}}
    expect(wrong, {}, "cases")
    assert len(report) >= CASES_MIN, f"only {len(report)} cases were run"
    shutil.rmtree(folder)


main()

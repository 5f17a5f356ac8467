"""kith serve --dev, as make run starts it: the key, the people and the three things to try that it prints, each tried as printed."""
import json, os, re, shutil, subprocess, sys, tempfile, time, urllib.request
import harness
from harness import eventually, expect

dir = tempfile.mkdtemp(prefix="kith-dev-")
root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def serve():
    p = subprocess.Popen([os.path.abspath(harness.KITH), "serve", "--dev", "--data", dir + "/data", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"],
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = ""
    while "bench one-to-one" not in said:
        line = p.stdout.readline()
        assert line, f"it ended: {said}"
        said += line
    return p, said


def listening(port, key):
    """How many of Bob's phones have subscribed."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/sessions", headers={"Authorization": "Bearer " + key})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return sum(i.get("user") == "bob" and i["subscriptions"] > 0 for i in json.load(answer)["items"])


def hint(said, word):
    """The command as printed, with the binary under test for build/kith."""
    line = next(line.strip() for line in said.splitlines() if line.strip().startswith(word))
    return line.replace("build/kith", os.path.abspath(harness.KITH))


try:
    for again in range(2):  # the second start finds its people there
        p, said = serve()
        key = re.search(r"export KITH_KEY=(\S+)", said).group(1)
        assert f"key (app demo): {key}" in said, said
        env = {**os.environ, "KITH_KEY": key}
        curl = hint(said, "curl")
        if shutil.which("mosquitto_sub") and shutil.which("curl"):
            bob = subprocess.Popen(hint(said, "mosquitto_sub") + " -C 1 -W 60", shell=True, stdout=subprocess.PIPE, text=True)
            port = re.search(r"http://127\.0\.0\.1:(\d+)", said).group(1)
            eventually(lambda: expect(listening(port, key), 1))
            answer = json.loads(subprocess.check_output(curl, shell=True, env=env, text=True, stderr=subprocess.DEVNULL))
            expect((answer["from"], answer["body"], answer["conversation"]), ("ann", "hello", "ann-bob"))
            expect(json.loads(bob.communicate()[0])["id"], answer["id"], "Bob's phone has what Ann wrote")
        else:
            print("skipped: curl or mosquitto_sub is not installed")
        expect(subprocess.run(hint(said, "build/kith replay"), shell=True, env=env, cwd=root, capture_output=True).returncode, 0, "the trace")
        expect(subprocess.run(hint(said, "build/kith bench") + " --duration 0.5 --warmup 0.1 --pairs 4", shell=True, env=env, capture_output=True).returncode, 0, "the measurement")
        p.terminate()
        expect(p.wait(), 0)
    for n in range(3):  # while it still makes its people
        p = subprocess.Popen([os.path.abspath(harness.KITH), "serve", "--dev", "--data", f"{dir}/brief{n}", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert any('"recovered' in line for line in p.stderr), "it does not serve"
        time.sleep(n * .01)
        began = time.monotonic()
        p.terminate()
        p.stderr.read()
        expect(p.wait(), 0)
        assert time.monotonic() - began < 15, "it waits for somebody's answer"
    refused = subprocess.run([harness.KITH, "serve", "--dev", "--data", dir + "/other", "--http", "0.0.0.0:0"], capture_output=True, text=True)
    expect(refused.returncode, 2, "--dev is for loopback addresses only")
    assert "loopback" in refused.stderr and not os.path.exists(dir + "/other"), refused.stderr
finally:
    if p.poll() is None:
        p.kill()
    shutil.rmtree(dir)

"""The Eclipse Paho interoperability suites, 3.1.1 and 5, as they are, against plain channels. They are in no registry: PAHO_TESTING names a checkout of theirs."""
import json, os, subprocess, sys, threading

import peers
from harness import Server

MODULES = ("client_test", "client_test5")
SERVERS = 8    # each test sleeps most of its time, and wants its server for itself
PATIENCE = 60  # seconds for one test
LONGEST = ("test_subscribe_options", "test_session_expiry", "test_keepalive", "test_will_delay", "test_offline_message_queueing", "test_maximum_packet_size")
# What the standard has otherwise than the suite: (module, test): why.
OTHERWISE = {("client_test5", "test_subscribe_failure"): "it wants 0x80, unspecified error; a filter that no rule allows is 0x87, not authorized (5.0, 3.9.3)"}


def run(folder, module, port, name):
    done = subprocess.run([sys.executable, os.path.join(peers.SCRIPTS, "paho_suite.py"), folder, module, str(port), name], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout, f"{module}: {done.stderr[-1000:]}"
    return json.loads(done.stdout)


def serve(folder, todo, lock, results):
    s = Server("--dev", "--mqtt-keepalive-max", "60")
    s.call("PUT", "/v1/channel-rules/closed", {"topic": "test/nosubscribe", "publish": True, "subscribe": False})
    while True:
        with lock:
            if not todo:
                break
            module, name = todo.pop(0)
        try:
            said = run(folder, module, s.mqtt, name)
        except subprocess.TimeoutExpired:
            said = {"ok": False, "said": f"not done in {PATIENCE} s"}
        except Exception as e:
            said = {"ok": False, "said": str(e)}
        results[module, name] = said
    s.close()


def main():
    folder = os.path.join(os.environ.get("PAHO_TESTING", ""), "interoperability")
    if not os.path.exists(os.path.join(folder, "client_test5.py")):
        peers.skip("the Eclipse Paho interoperability suites are in no registry; PAHO_TESTING may name a checkout of paho.mqtt.testing")
    todo = [(module, name) for module in MODULES for name in run(folder, module, 0, "list")]
    todo.sort(key=lambda t: t[1] not in LONGEST)
    every, results, lock = list(todo), {}, threading.Lock()
    threads = [threading.Thread(target=serve, args=(folder, todo, lock, results)) for _ in range(SERVERS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for module in MODULES:
        mine = [results.get(t, {"ok": False, "said": "not run"})["ok"] for t in every if t[0] == module]
        print(f"{module}: {sum(mine)} of {len(mine)}")
    for test, why in OTHERWISE.items():
        print(*test, "passes" if results.get(test, {}).get("ok") else why)
    wrong = [f"{module}.{name}: {results.get((module, name), {}).get('said', 'not run')}" for module, name in every if not results.get((module, name), {"ok": False})["ok"] and (module, name) not in OTHERWISE]
    assert not wrong, "\n\n".join(wrong)


main()

"""Memory over its budget holds senders back instead of growing: all that was sent is there all the same, once."""
import json, subprocess
import harness
from harness import Server, expect

s = Server("--memory", "1")
try:
    said = subprocess.run([harness.KITH, "bench", "fill", "--http", f"127.0.0.1:{s.http}", "--mqtt", f"127.0.0.1:{s.mqtt}", "--key", s.key, "--json", "--messages", "6000",
                           "--conversations", "2000"], capture_output=True, text=True)
    expect(said.returncode, 0, said.stderr)
    result = json.loads(said.stdout)
    expect((result["valid"], result["refused"], result["messages"]), (True, 0, 6000))
    metrics = s.call("GET", "/metrics")[1].decode()
    held = next(int(line.split()[1]) for line in metrics.splitlines() if line.startswith("kith_limit_memory_total"))
    assert held > 0, "senders were held back"
    expect(s.call("PUT", "/v1/users/ann", {"name": "Ann"})[0] in (200, 201, 503), True, "and then it goes on")
finally:
    s.close()

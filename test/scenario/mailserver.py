"""The mail server that tests send to: test/peers/mailserver.py, which stands on Debian's python3-aiosmtpd, as a process of its own."""
import json, os, subprocess

import peers
from ports import free_port

SCRIPT = os.path.join(peers.SCRIPTS, "mailserver.py")


def there():
    return subprocess.run(["/usr/bin/python3", "-c", "import aiosmtpd"], capture_output=True).returncode == 0


class MailServer:
    def __init__(self, cert, key):
        self.process = subprocess.Popen(["/usr/bin/python3", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.ports = [free_port(), free_port()]
        self.do("start", cert=cert, key=key, ports=self.ports)

    def do(self, act, **args):
        self.process.stdin.write(json.dumps({"act": act, **args}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["value"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=10)
        self.process.stdout.close()

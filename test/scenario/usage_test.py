"""The command line, as one finds one's way in it: help on standard output, wrong usage on standard error with words and status 2; what is not understood is not passed over, and leaves nothing behind."""
import os, shutil, subprocess, tempfile, time

from harness import KITH, expect

COMMANDS = ("serve", "key", "token", "issuer", "check", "backup", "restore", "doctor")
WRONG = (  # what is typed, and words of the answer
    (("serve", "foo"), "'foo' is not expected here"), (("serve", "--htp", "x"), "no option --htp"), (("serve", "--http"), "--http needs ADDR:PORT"), (("serve", "--dev=no"), "--dev is a switch"),
    (("serve", "--cors-origin", "https://ok.example, https://app.example/"), "'https://app.example/' is not an origin"), (("serve", "--ws-origins", "app.example"), "'app.example' is not an origin"),
    (("serve", "--hosts", "https://kith.example"), "is not a host's name"),
    (("serve", "--shards", "0"), "from 1 to 64"), (("token", "--user", "x", "foo"), "'foo' is not expected"), (("token",), "needs --user"), (("token", "--user", "x", "--ttl", "5"), "duration such as 24h"),
    (("key",), "usage: kith key"), (("key", "crate", "--data", "d"), "create, list or revoke"), (("key", "create", "foo", "--data", "d", "--name", "n"), "'foo' is not expected"),
    (("key", "create", "--data", "d", "--name", "n", "--scope", "red"), "read,write,tokens,moderate,operate"), (("key", "create", "--data", "d"), "needs --name"), (("check", "foo"), "'foo' is not expected"),
    (("backup",), "usage: kith backup"), (("backup", "a", "b"), "'b' is not expected"), (("restore", "a", "b"), "'b' is not expected"), (("doctor", "foo"), "'foo' is not expected"), (("foo",), "no command 'foo'"), ((), "usage: kith"))
FAILED = ((("key", "list", "--data", "none"), "no data folder none"), (("key", "revoke", "x", "--data", "none"), "no data folder none"), (("check", "--data", "none"), "no kith data in none"),
          (("restore", "none", "--data", "new"), "not a backup"), (("doctor", "--http", "127.0.0.1:1", "--key", "x"), "nothing answers at 127.0.0.1:1"))


def main():
    home = tempfile.mkdtemp(prefix="kith-usage-")
    kith = lambda *typed: subprocess.run([os.path.abspath(KITH), *typed], cwd=home, capture_output=True, text=True, timeout=30, env={k: v for k, v in os.environ.items() if not k.startswith("KITH_")})
    expect((kith("--help").returncode, kith("-h").stdout), (0, kith("help").stdout))
    expect(kith("--version").stdout, kith("version").stdout)
    for command in COMMANDS:
        said = kith(command, "--help")
        expect((said.returncode, said.stderr, said.stdout.startswith(f"usage: kith {command}")), (0, "", True), command)
        expect(kith(command, "-h").stdout, said.stdout)
        assert "  --data DIR  " in said.stdout, said.stdout
    for typed, words in WRONG:
        said = kith(*typed)
        expect((said.returncode, said.stdout, words in said.stderr), (2, "", True), f"{typed}: {said.stderr}")
    began = time.monotonic()
    for typed, words in FAILED:
        said = kith(*typed)
        expect((said.returncode, words in said.stdout + said.stderr), (1, True), f"{typed}: {said.stdout}{said.stderr}")
    assert time.monotonic() - began < 10, "who asks where nobody listens is told at once"
    expect(os.listdir(home) in ([], ["d"]), True, os.listdir(home))
    shutil.rmtree(home)


main()

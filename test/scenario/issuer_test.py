"""An app's own issuer of tokens: a shared secret (HS256) and public keys (RS256), set, rotated and removed while serving; what it may not do."""
import base64, hashlib, hmac, json, os, shutil, subprocess, tempfile, time
import harness
from harness import Server, expect
from mqtt import Client


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(sign, alg, **claims):
    body = {"iss": "https://id.example", "aud": "chat", "sub": "ann", "dev": "a1", "exp": int(time.time()) + 600, **claims}
    text = b64(json.dumps({"alg": alg}).encode()) + "." + b64(json.dumps(body).encode())
    return text + "." + b64(sign(text.encode()))


def hs256(secret):
    return lambda text: hmac.new(secret, text, hashlib.sha256).digest()


def issuer(s, *words):
    return subprocess.run([harness.KITH, "issuer", *words, "--data", s.data], capture_output=True, text=True)


dir = tempfile.mkdtemp(prefix="kith-issuer-")


def file(name, text):
    path = os.path.join(dir, name)
    with open(path, "w") as f:
        f.write(text)
    return path


NAMES = ("--issuer", "https://id.example", "--audience", "chat")
s = Server()
c = s.call
try:
    c("PUT", "/v1/users/ann", {"name": "Ann"})
    one, two = b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"
    good = token(hs256(one), "HS256")
    expect(c("GET", "/v1/users/ann/mailbox", key=good)[0], 401, "no issuer yet")
    for words, why in ((("set", "--app", "demo", *NAMES), "--jwks FILE or --hs256 FILE"), (("set", "--app", "demo", "--hs256", "x"), "needs --issuer"), (("dance",), "set, list or remove"),
                       (("set", "--app", "demo", *NAMES, "--hs256", dir + "/none"), "cannot be read"), (("set", "--app", "demo", *NAMES, "--hs256", file("short", "short")), "32 to 1024"),
                       (("set", "--app", "demo", *NAMES, "--jwks", file("bad", "{}")), "JWKS"), (("remove", *NAMES), "no issuer")):
        said = issuer(s, *words)
        assert said.returncode in (1, 2) and why in said.stderr, (words, said)
    said = issuer(s, "set", "--app", "demo", *NAMES, "--hs256", file("one", one.decode() + "\n"))
    expect((said.returncode, said.stderr), (0, ""))
    expect(issuer(s, "list").stdout, "demo\thttps://id.example\tchat\ths256\n")
    expect(c("GET", "/v1/users/ann/mailbox", key=good)[0], 200, "at once, while serving")
    ann = Client(s.mqtt, "a1", good)
    expect(ann.connack.reason, 0)
    expect(ann.subscribe("users/ann/#"), [1])
    for bad in (token(hs256(one), "HS256", aud="other"), token(hs256(one), "HS256", exp=int(time.time()) - 60), token(hs256(two), "HS256"),
                token(hs256(one), "HS256", iss="kith", aud="demo"), token(lambda text: b"", "none")):
        expect(c("GET", "/v1/users/ann/mailbox", key=bad)[0], 401, "not of this issuer")
    expect(c("GET", "/v1/users/bob/mailbox", key=good)[0], 403, "of its own user only")
    # rotated: the old secret ends at once
    expect(issuer(s, "set", "--app", "demo", *NAMES, "--hs256", file("two", two.decode())).returncode, 0)
    expect(c("GET", "/v1/users/ann/mailbox", key=good)[0], 401, "the old secret")
    expect(c("GET", "/v1/users/ann/mailbox", key=token(hs256(two), "HS256"))[0], 200, "the new one")
    if shutil.which("openssl"):
        subprocess.run(["openssl", "genrsa", "-out", dir + "/rsa", "2048"], check=True, capture_output=True)
        modulus = subprocess.check_output(["openssl", "rsa", "-in", dir + "/rsa", "-noout", "-modulus"], text=True, stderr=subprocess.DEVNULL).strip().split("=")[1]
        jwks = json.dumps({"keys": [{"kty": "RSA", "kid": "k1", "use": "sig", "alg": "RS256", "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}]})
        expect(issuer(s, "set", "--app", "demo", *NAMES, "--jwks", file("jwks", jwks)).returncode, 0)
        expect(issuer(s, "list").stdout, "demo\thttps://id.example\tchat\tjwks\n")

        def rs256(text):
            return subprocess.run(["openssl", "dgst", "-sha256", "-sign", dir + "/rsa"], input=text, capture_output=True, check=True).stdout
        expect(c("GET", "/v1/users/ann/mailbox", key=token(rs256, "RS256"))[0], 200, "signed with the private key")
        expect(c("GET", "/v1/users/ann/mailbox", key=token(hs256(two), "HS256"))[0], 401, "algorithms are pinned to the issuer")
        expect(c("GET", "/v1/users/ann/mailbox", key=token(hs256(jwks.encode()), "HS256"))[0], 401, "the public document is no secret")
    else:
        print("skipped: RS256, openssl is not installed")
    s.kill()
    s.start()
    assert "https://id.example" in issuer(s, "list").stdout, "kept over a restart"
    expect(issuer(s, "remove", *NAMES).returncode, 0)
    expect(issuer(s, "list").stdout, "")
    expect(c("GET", "/v1/users/ann/mailbox", key=token(hs256(two), "HS256"))[0], 401, "removed")
finally:
    s.close()
    shutil.rmtree(dir)

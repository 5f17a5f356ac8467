"""Certificates made for a test by the openssl program."""
import os, subprocess


def make(folder, name="localhost", file="server", kind="ec"):
    """(certificate, key): paths of a certificate of its own making, for that name and 127.0.0.1."""
    cert, key = os.path.join(folder, file + ".pem"), os.path.join(folder, file + ".key")
    how = ["-newkey", "rsa:2048" if kind == "rsa" else kind] if kind.startswith("rsa") else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "req", "-x509", *how, "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=" + name, "-addext",
                    f"subjectAltName=DNS:{name},IP:127.0.0.1"], check=True, capture_output=True, timeout=60)
    return cert, key

"""The Debian package: built without root, its content, its unit, and its binary serving as the unit would have it."""
import glob, os, re, shutil, socket, subprocess, tempfile, time, urllib.request
import harness
from harness import expect
from ports import free_port

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*args, status=0, **more):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **more)
    assert status is None or done.returncode == status, f"{args}: {done.stdout[-3000:]}"
    return done.stdout


def content(deb, tree):
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "--field", deb).splitlines() if re.match(r"[A-Z][-A-Za-z]+: ", line))
    expect((fields["Package"], fields["Architecture"]), ("kith", run("dpkg", "--print-architecture").strip()))
    expect(fields["Version"], run(harness.KITH, "version").split()[1])
    for library in ("libc6", "librocksdb", "libssl"):
        assert library in fields["Depends"], fields["Depends"]
    lines = [line.split(None, 5) for line in run("dpkg-deb", "--contents", deb).splitlines()]
    for mode, owner, *_, name in lines:
        expect(owner, "root/root", name)
        assert mode[8] != "w" and "s" not in mode, f"{mode} {name}"
    names = {line[5] for line in lines}
    for name in ("./usr/bin/kith", "./etc/kith/kith.yaml", "./lib/systemd/system/kith.service", "./usr/lib/sysusers.d/kith.conf", "./usr/share/man/man1/kith.1.gz",
                 "./usr/share/doc/kith/copyright", "./usr/share/doc/kith/changelog.gz", "./usr/share/doc/kith/operate/configuration.md"):
        assert name in names, name
    run("dpkg-deb", "--raw-extract", deb, tree)
    expect(open(tree + "/DEBIAN/conffiles").read().split(), ["/etc/kith/kith.yaml"])
    for script in ("postinst", "prerm", "postrm"):
        run("sh", "-n", f"{tree}/DEBIAN/{script}")
    for line in open(tree + "/DEBIAN/md5sums"):
        run("md5sum", "--check", "--status", cwd=tree, input=line)


def unit(tree):
    path = tree + "/lib/systemd/system/kith.service"
    if not shutil.which("systemd-analyze"):
        print("skipped: no systemd-analyze")
        return
    os.makedirs(tree + "/check", exist_ok=True)
    with open(path) as f, open(tree + "/check/kith.service", "w") as to:
        to.write(f.read().replace("/usr/bin/kith", tree + "/usr/bin/kith").replace("man:kith(1) ", ""))
    expect(run("systemd-analyze", "verify", tree + "/check/kith.service", status=None), "", "systemd-analyze verify")
    said = run("systemd-analyze", "security", "--offline=true", path)
    exposure = float(re.search(r"Overall exposure level for kith.service: ([0-9.]+)", said).group(1))
    assert exposure < 2.5, said
    if shutil.which("systemd-sysusers"):
        run("systemd-sysusers", "--dry-run", tree + "/usr/lib/sysusers.d/kith.conf")


def serves(tree, where):
    """As the unit starts it: by its configuration, telling the manager when it is ready."""
    ports = [free_port(), free_port()]
    with open(tree + "/etc/kith/kith.yaml") as f:
        text = f.read()
    for was, now in (("/var/lib/kith", where + "/data"), ("127.0.0.1:8080", f"127.0.0.1:{ports[0]}"), ("127.0.0.1:1883", f"127.0.0.1:{ports[1]}")):
        assert was in text, was
        text = text.replace(was, now, 1)
    with open(where + "/kith.yaml", "w") as f:
        f.write(text)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(where + "/notify")
    manager.settimeout(30)
    p = subprocess.Popen([tree + "/usr/bin/kith", "serve", "--config", where + "/kith.yaml"], stderr=subprocess.PIPE, env={**os.environ, "NOTIFY_SOCKET": where + "/notify"})
    try:
        expect(manager.recv(100), b"READY=1")
        expect(urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/healthz", timeout=20).status, 200)
        key = run(tree + "/usr/bin/kith", "key", "create", "--data", where + "/data", "--name", "x", "--app", "shop").strip()
        ask = urllib.request.Request(f"http://127.0.0.1:{ports[0]}/v1/users/ann", b"{}", {"Authorization": "Bearer " + key}, method="PUT")
        expect(urllib.request.urlopen(ask, timeout=20).status, 201)
    finally:
        p.terminate()
        said = p.communicate(timeout=30)[1].decode()
    expect(p.returncode, 0, said[-2000:])
    # what stands as an example in the file is right when it is taken
    with open(where + "/kith.yaml", "a") as f:
        f.write("\n".join(line[1:] for line in text.splitlines() if re.match(r"#(connections|connect|rate|memory)[-a-z]*: ", line)) + "\n")
    p = subprocess.Popen([tree + "/usr/bin/kith", "serve", "--config", where + "/kith.yaml"], stderr=subprocess.PIPE, env={**os.environ, "NOTIFY_SOCKET": where + "/notify"})
    try:
        expect(manager.recv(100), b"READY=1", "with the examples")
    finally:
        p.terminate()
        p.communicate(timeout=30)
    expect(p.returncode, 0)


def story():
    if not shutil.which("dpkg-deb") or not shutil.which("dpkg-shlibdeps"):
        print("skipped: no dpkg-deb, or no dpkg-shlibdeps")
        return
    where = tempfile.mkdtemp(prefix="kith-test-")
    os.makedirs(where + "/build")
    shutil.copy(harness.KITH, where + "/build/kith")
    os.environ["DPKG_DEB_COMPRESSOR_LEVEL"] = "0"  # what is compressed well takes half a minute, with the sanitizers in it
    deb = run("sh", os.path.join(ROOT, "packaging", "deb.sh"), where + "/build").strip()
    expect(glob.glob(where + "/build/*.deb"), [deb])
    first = open(deb, "rb").read()
    run("sh", os.path.join(ROOT, "packaging", "deb.sh"), where + "/build")
    expect(open(deb, "rb").read() == first, True, "built again, the same bytes")
    tree = where + "/tree"
    content(deb, tree)
    unit(tree)
    serves(tree, where)
    if shutil.which("lintian"):
        said = run("lintian", deb, status=None)
        assert not re.search(r"^[EW]: ", said, re.M), said
    shutil.rmtree(where)


story()

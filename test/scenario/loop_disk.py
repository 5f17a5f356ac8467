"""A small disk of its own for a test: ext4 in a file, loop-mounted in a mount namespace that ends with the test, so that nothing is left behind.
Needs root (else the test says why it was skipped, and passes)."""
import ctypes, fcntl, os, shutil, subprocess, sys, tempfile

EXT4_IOC_SHUTDOWN = 0x8004587d
NO_LOG_FLUSH = 2
MARK = "KITH_TEST_NAMESPACE"


def skip(why):
    print("skipped:", why)
    sys.exit(0)


def own_namespace():
    """Runs the test again inside `unshare --mount`; returns only there."""
    if os.environ.get(MARK):
        return
    if os.geteuid() != 0:
        skip("only root can mount a disk")
    for tool in ("unshare", "mkfs.ext4", "mount", "umount"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        skip("no mount namespace can be made here")
    status = subprocess.run(["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv], env={**os.environ, MARK: "1"}).returncode
    sys.exit(status if status >= 0 else 1)


class Disk:
    def __init__(self, megabytes):
        self.dir = tempfile.mkdtemp(prefix="kith-disk-")
        self.image, self.path = os.path.join(self.dir, "image"), os.path.join(self.dir, "disk")
        self.mounted = False
        os.mkdir(self.path)
        with open(self.image, "wb") as f:
            f.truncate(megabytes << 20)
        try:
            made = subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image], capture_output=True, text=True)
            assert made.returncode == 0, made.stderr
            said = self.mount()
        except BaseException:
            self.close()
            raise
        if said:
            self.close()
            skip("no ext4 can be mounted here: " + said)

    def mount(self):
        """None, or why not."""
        done = subprocess.run(["mount", "-o", "loop", self.image, self.path], capture_output=True, text=True)
        self.mounted = done.returncode == 0
        return None if self.mounted else done.stderr.strip()

    def unmount(self):
        done = subprocess.run(["umount", self.path], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.mounted = False

    def pull_the_plug(self):
        """What was not synced is gone, and all that is tried from here on fails."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, ctypes.c_uint32(NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def close(self):
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.path], capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)

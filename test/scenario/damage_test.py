"""Damage on the disk: `kith check` names it and fails; a start refuses where something acknowledged would be lost, in words; and starts where only the
tail is torn, of which nothing was acknowledged, or where the log can give again what the tables lost.

Runs early: twenty seconds."""
import glob, http.client, os, random, shutil, struct, tempfile

from harness import Server, eventually, expect

HEADER = 4096   # of a segment
RECORD = 40     # of a record: crc, length, sequence, position, synced, partition, flags, run


def fill(s, prefix, n, size, conversation="ab"):
    for i in range(n):
        expect(s.call("POST", f"/v1/conversations/{conversation}/messages", {"id": f"{prefix}{i}", "from": "ann", "body": prefix * size})[0], 201)


def segments(data):
    return sorted(glob.glob(data + "/log/*.seg"))


def records(path):
    """(offset, length, sequence, synced) of each record in the segment, up to where zeros begin."""
    with open(path, "rb") as f:
        f.seek(HEADER)
        data, at = f.read(), 0
    out = []
    while at + RECORD <= len(data):
        _, length, sequence, _, synced = struct.unpack_from("<IIQQQ", data, at)
        if not sequence:
            break
        out.append((HEADER + at, length, sequence, synced))
        at += RECORD + length + 7 & ~7
    return out


def own(path):
    """A copy of its own: others share the file."""
    shutil.copyfile(path, path + ".own")
    os.rename(path + ".own", path)


def flip(path, at, n=1):
    own(path)
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(n)
        assert len(old) == n
        f.seek(at)
        f.write(bytes(b ^ 0x55 for b in old))


class Copy:
    """A data folder to break, of a server that does not run."""

    def __init__(self, master):
        self.dir = tempfile.mkdtemp(prefix="kith-test-")
        self.data = os.path.join(self.dir, "data")
        last = segments(master.data)[-1]
        share = lambda a, b: os.link(a, b) if a.endswith(".sst") or (a.endswith(".seg") and a != last) else shutil.copy2(a, b)   # never written again
        shutil.copytree(master.data, self.data, ignore=shutil.ignore_patterns("next.tmp", "control", "reserve"), copy_function=share)
        self.server = Server.__new__(Server)
        self.server.__dict__.update(dir=self.dir, data=self.data, options=("--shards", "1"), key=master.key)

    def refuses(self, *words, check=True):
        """The check fails and names it (if it can know), and a start refuses."""
        status, said = self.server.tool("check", "--data", self.data)
        if check:
            expect(status, 1, f"kith check found nothing: {said}")
            assert all(w in said for w in words), f"check does not name {words}: {said}"
        said = self.server.fails()
        assert all(w in said for w in words), f"the start does not name {words}: {said}"
        assert "Sanitizer" not in said and "check failed" not in said, said

    def starts(self, last, clean=True):
        if clean:
            self.server.check()
        self.server.start()
        for line in self.server.call("GET", "/metrics")[1].decode().splitlines():
            if line.startswith("kith_relays_dropped_duplicate_total "):     # a slow machine sends some of them again
                assert int(line.split()[1]) < 500, "relays that the log has were sent again after the start: " + line
        items = self.server.call("GET", "/v1/conversations/ab/messages?limit=200")[1]["items"]
        expect(items[0]["id"], last, "the newest message")

        def goes_on():               # a next segment may be in the making
            status, said = self.server.call("POST", "/v1/conversations/ab/messages", {"id": "next", "from": "ann", "body": "x"})
            expect((status, said.get("seq")), (201, items[0]["seq"] + 1), str(said))
        eventually(goes_on)
        self.server.stop()
        self.server.check()

    def close(self):
        if getattr(self.server, "process", None) and self.server.process.poll() is None:
            self.server.kill()
        shutil.rmtree(self.dir)


def broken(master):
    """Each case gets a copy of its own."""
    class Case:
        def __enter__(self):
            self.copy = Copy(master)
            return self.copy

        def __exit__(self, *failure):
            self.copy.close()
    return Case()


def killed(master):
    """Sequences whose bytes a start needs: behind what the tables hold."""
    with broken(master) as c:
        c.starts("k39")
    last = segments(master.data)[-1]
    all_of_it = records(last)
    proven = max(r[3] for r in all_of_it)
    needed = [r for r in all_of_it if r[2] <= proven]
    dice = random.Random(1)
    for at, length, sequence, _ in [needed[-1], needed[len(needed) // 2], *dice.sample(needed, 1)]:
        with broken(master) as c:
            flip(segments(c.data)[-1], at + RECORD + length // 2)
            c.refuses("damaged", f"sequence {sequence}")
    with broken(master) as c:        # the head of a record
        flip(segments(c.data)[-1], needed[len(needed) // 2][0] + 6)
        c.refuses("damaged")
    with broken(master) as c:        # a hole of zeros
        at, length, sequence, _ = needed[len(needed) // 2]
        with open(segments(c.data)[-1], "r+b") as f:
            f.seek(at)
            f.write(bytes(RECORD + length))
        c.refuses("damaged", f"sequence {sequence}")
    for at in (9, 300):       # the segment's header
        with broken(master) as c:
            flip(segments(c.data)[-1], at)
            c.refuses("header", os.path.basename(segments(c.data)[-1]))


def torn(master):
    """Behind the last acknowledged record: half a record, rubbish, a record whose end is missing."""
    last = segments(master.data)[-1]
    end = records(last)[-1]
    behind = end[0] + (RECORD + end[1] + 7 & ~7)
    for rubbish in (os.urandom(3000), struct.pack("<IIQQQHHI", 1, 200, end[2] + 1, 1, end[2], 1, 0, 1) + b"half"):
        with broken(master) as c:
            with open(segments(c.data)[-1], "r+b") as f:
                f.seek(behind)
                f.write(rubbish)
            c.starts("k39")
    with broken(master) as c:        # the file ends there: what was zeros is gone
        os.truncate(segments(c.data)[-1], behind)
        c.starts("k39")


def cut(master):
    """The file ends before what the tables hold, or a segment is gone."""
    with broken(master) as c:
        first = records(segments(c.data)[-1])
        os.truncate(segments(c.data)[-1], first[len(first) // 3][0] + 10)
        c.refuses("log")
    with broken(master) as c:
        os.remove(segments(c.data)[-1])
        c.refuses("log")
    with broken(master) as c:
        os.truncate(segments(c.data)[-1], 100)
        c.refuses("header")


def older_segments(master):
    """With several segments: a middle one damaged or gone; the tables gone while the log begins later."""
    count = len(segments(master.data))
    assert count >= 3, count
    with broken(master) as c:
        os.remove(segments(c.data)[1])
        said = c.server.tool("check", "--data", c.data)
        expect(said[0], 1, said[1])
    with broken(master) as c:
        at = records(segments(c.data)[1])[5]
        flip(segments(c.data)[1], at[0] + RECORD + 3)
        status, said = c.server.tool("check", "--data", c.data)
        expect((status, "damaged" in said), (1, True), said)
    with broken(master) as c:        # the tables are gone: the log gives all of it again
        shutil.rmtree(c.data + "/tables")
        c.starts("z2", clean=False)
    with broken(master) as c:        # the tables are gone and so is the log's beginning
        shutil.rmtree(c.data + "/tables")
        os.remove(segments(c.data)[0])
        expect(c.server.tool("check", "--data", c.data)[0], 1)
        c.refuses("begins at", "behind what the tables hold", check=False)
    with broken(master) as c:        # the log is gone, the tables hold what was in it
        for path in segments(c.data):
            os.remove(path)
        c.refuses("log")


def tables(master):
    """A table file with a flipped byte, cut, or gone; the manifest; CURRENT."""
    ssts = sorted(glob.glob(master.data + "/tables/*.sst"), key=os.path.getsize)
    assert ssts, "no table file"
    big = os.path.basename(ssts[-1])
    for at in (0.3, 0.9):
        with broken(master) as c:
            path = f"{c.data}/tables/{big}"
            flip(path, int(os.path.getsize(path) * at), 8)
            status, said = c.server.tool("check", "--data", c.data)
            expect((status, "tables" in said), (1, True), f"a flipped byte at {at}: {said}")
    with broken(master) as c:        # each block of each file: what a start reads first, too
        for path in glob.glob(c.data + "/tables/*.sst"):
            own(path)
            with open(path, "r+b") as f:
                for at in range(100, int(os.path.getsize(path) * 0.9), 4096):
                    f.seek(at)
                    f.write(b"\x55\xaa\x55\xaa")
        said = c.server.fails()
        assert "kith check" in said, said
    with broken(master) as c:
        path = f"{c.data}/tables/{big}"
        own(path)
        os.truncate(path, os.path.getsize(path) // 2)
        c.refuses("tables")
    with broken(master) as c:
        os.remove(f"{c.data}/tables/{big}")
        c.refuses("tables")
    with broken(master) as c:
        path = glob.glob(c.data + "/tables/MANIFEST-*")[0]
        flip(path, os.path.getsize(path) // 2, 4)
        c.refuses("tables")


def while_serving(master):
    """A damaged block: what is read is true, or the server ends, at its start or later, and says why; never less than there is."""
    big = os.path.basename(max(glob.glob(master.data + "/tables/*.sst"), key=os.path.getsize))
    ends = 0
    for at in (0.2, 0.6):
        with broken(master) as c:
            path = f"{c.data}/tables/{big}"
            flip(path, int(os.path.getsize(path) * at), 8)
            try:
                c.server.start()
            except AssertionError:  # it looks through some of the tables then
                ends += 1
                assert c.server.process.poll() is not None and "kith check" in c.server.said(), (c.server.process.poll(), c.server.said()[-2000:])
                continue
            try:
                for conversation, n in (("ab", 53), ("big", 220)):
                    seen, after = 0, 0
                    while items := c.server.call("GET", f"/v1/conversations/{conversation}/messages?after={after}&limit=10")[1]["items"]:
                        assert all(m["body"] in (m["id"][0] * len(m["body"])) for m in items)
                        seen, after = seen + len(items), items[-1]["seq"]
                    expect(seen, n, conversation)
            except (OSError, http.client.HTTPException):
                ends += 1
                c.server.process.wait(timeout=20)
                assert "kith check" in c.server.said(), c.server.said()[-2000:]
    print(f"of 2 damaged blocks {ends} ended the server, the others were not needed")


def the_rest(master):
    with broken(master) as c:
        with open(c.data + "/meta", "w") as f:
            f.write("kith-data 1\npart")
        c.refuses("meta")
    with broken(master) as c:       # the meta file is gone: never taken for a new folder
        os.remove(c.data + "/meta")
        c.refuses("meta", check=False)
    with broken(master) as c:
        flip(c.data + "/secrets", 5, 4)
        c.server.fails()


def main():
    s = Server("--shards", "1")
    try:
        expect(s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})[0], 201)
        fill(s, "a", 10, 100)
        s.stop()                     # the tables hold these
        s.start()
        fill(s, "k", 40, 200)
        s.kill()                     # and not these
        for story in (killed, torn):
            story(s)
        s.start()
        expect(s.call("GET", "/v1/conversations/ab")[0], 200)  # it has applied its log: who ends before leaves the tables as they were
        s.stop()                     # the tables hold all
        cut(s)
        s.start()
        members = [f"u{i}" for i in range(12)]
        expect(s.call("PUT", "/v1/conversations/big", {"type": "group", "members": ["ann", *members]})[0], 201)
        fill(s, "m", 220, 60000, "big")     # several segments
        fill(s, "z", 3, 10)
        s.stop()
        for story in (older_segments, tables, while_serving, the_rest):
            story(s)
    finally:
        if s.process.poll() is None:
            s.kill()
        shutil.rmtree(s.dir)


main()

"""The log is trimmed once the tables hold it and the retention has passed: the folder does not grow without bound, with writes and without.

Runs early: it writes half a gigabyte."""
import glob, os, shutil, time

from harness import Server, eventually, expect

BIG = "x" * 60000
SEGMENT = 64 << 20
MEMBERS = [f"u{i}" for i in range(12)]


def log_bytes(s):
    return sum(os.path.getsize(p) for p in glob.glob(s.data + "/log/*.seg"))


s = Server("--shards", "1", "--retention", "1s")
try:
    expect(s.call("PUT", "/v1/conversations/big", {"type": "group", "members": MEMBERS})[0], 201)
    most = n = 0
    while n < 700:          # about 430 MB of log
        status, said = s.call("POST", "/v1/conversations/big/messages", {"id": f"m{n}", "from": "u0", "body": BIG})
        if status == 503:
            time.sleep(0.1)
            continue
        expect(status, 201, said)
        n += 1
        most = max(most, log_bytes(s))

    def small():
        assert log_bytes(s) <= 2 * SEGMENT, f"the log still has {log_bytes(s) >> 20} MiB"
    eventually(small)   # without another write
    print(f"the log had at most {most >> 20} MiB, {log_bytes(s) >> 20} MiB after it was quiet")
    s.kill()
    s.check()
    began = time.time()
    s.start()
    print(f"started again in {time.time() - began:.1f} s")
    items = s.call("GET", "/v1/conversations/big/messages?limit=1")[1]["items"]
    expect((items[0]["id"], items[0]["seq"]), (f"m{n - 1}", n))
    expect(s.call("GET", "/v1/users/u3/mailbox?limit=1")[0], 200)
    s.stop()
    s.check()
finally:
    if s.process.poll() is None:
        s.kill()
    shutil.rmtree(s.dir)

"""The power fails under load: the file system is shut down without flushing, so that whatever was not synced is forgotten. The server must end by itself
(a failed fsync is never retried), and after the mount everything that was acknowledged is there.
KITH_POWER_ROUNDS (default 1): failures with each number of shards. KITH_SEED: the moments."""
import os, random, time

import loop_disk

loop_disk.own_namespace()
from harness import Server
from load import Load

ROUNDS = int(os.environ.get("KITH_POWER_ROUNDS", "1"))
SEED = int(os.environ.get("KITH_SEED", str(int(time.time()))))


def fail_and_return(disk, s, load):
    load.down()
    disk.pull_the_plug()
    status = s.process.wait(timeout=30)
    assert status != 0, "the server ended well on a disk that is gone"
    disk.unmount()
    assert disk.mount() is None
    s.check()
    s.start()
    load.up.set()


def story(shards):
    dice = random.Random(f"{SEED} {shards}")
    disk = loop_disk.Disk(512)
    s = None
    try:
        s = Server("--shards", shards, data=os.path.join(disk.path, "data"))
        load = Load(s).start()
        for round in range(ROUNDS):
            time.sleep(dice.uniform(0.05, 1.5) if dice.random() < 0.6 else dice.uniform(3, 5))
            fail_and_return(disk, s, load)
        time.sleep(0.3)
        print(f"--shards {shards}, seed {SEED}, {ROUNDS} power failures:", load.reckon())
        assert len(load.acked) > 5 * ROUNDS, "hardly any load"
        s.stop()
        s.check()
    except BaseException:
        if s:
            print(f"--shards {shards}, seed {SEED}:", s.said()[-3000:])
            s.process.kill()
            s.process.wait()
        raise
    finally:
        if s:
            s.close()
        disk.close()


for shards in ("1", "2"):
    story(shards)

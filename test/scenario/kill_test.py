"""kill -9 at random moments under load, again and again: nothing acknowledged is lost, nothing happens twice, and the stored data is sound each time.
KITH_KILL_ROUNDS (default 2): kills with each number of shards. KITH_SEED: the moments.

Runs early: fifteen seconds."""
import os, random, time

from harness import Server
from load import Load

ROUNDS = int(os.environ.get("KITH_KILL_ROUNDS", "2"))
SEED = int(os.environ.get("KITH_SEED", str(int(time.time()))))

for shards in ("1", "2"):
    dice = random.Random(f"{SEED} {shards}")
    s = Server("--shards", shards)
    try:
        load = Load(s).start()
        for round in range(ROUNDS):
            time.sleep(dice.uniform(0.05, 1.5) if dice.random() < 0.7 else dice.uniform(3, 4.5))
            load.down()
            s.kill()
            s.check()
            while dice.random() < 0.4:      # a start that is killed too
                s.start(wait=False)
                time.sleep(dice.uniform(0, 0.5))
                s.kill()
            s.start()
            load.up.set()
        time.sleep(0.3)
        print(f"--shards {shards}, seed {SEED}, {ROUNDS} kills:", load.reckon())
        assert len(load.acked) > 5 * ROUNDS, "hardly any load"
        s.stop()
        s.check()
    except BaseException:
        print(f"--shards {shards}, seed {SEED}:", s.said()[-3000:], f"kept: {s.dir}")
        s.process.kill()
        raise
    s.close()

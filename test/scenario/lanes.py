"""Runs a story once with one lane and once with two: what crosses lanes must not be seen from outside."""
from harness import Server


def both(story, *options):
    for lanes in ("1", "2"):
        s = Server("--shards", lanes, *options)
        try:
            story(s)
        except Exception:
            print(f"with --shards {lanes}:", open(s.log.name).read()[-2000:])
            s.process.kill()
            s.process.wait()
            raise
        s.close()

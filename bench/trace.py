#!/usr/bin/env python3
"""Writes a trace for `kith replay`: bench/trace.py SEED PEOPLE LINES

The rule: a seeded linear congruential generator chooses. Two of three lines answer the line before, after 5 to 60 seconds; else somebody writes to
one of the next three people of the circle, up to ten minutes later. So there are short talks, as among people, and the same seed gives the same file.
"""
import sys

NAMES = ("ann ben cleo dan eva finn gia hugo ida jan kim leo mia noah ola paul quinn rosa sam tess").split()


def main(seed, people, lines):
    state = seed

    def below(n):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (state >> 33) % n

    def name(i):
        return NAMES[i] if people <= len(NAMES) else f"p{i}"

    print(f"# Written by bench/trace.py {seed} {people} {lines}; nobody's data.")
    print("from to seconds")
    at, a, b = 1700000000, 0, 1
    for i in range(lines):
        if i and below(3):
            a, b, at = b, a, at + 5 + below(56)
        else:
            a = below(people)
            b = (a + 1 + below(3)) % people
            at += below(600)
        print(name(a), name(b), at)


if len(sys.argv) != 4:
    sys.exit(__doc__)
main(*map(int, sys.argv[1:]))

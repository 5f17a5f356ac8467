"""promtool, Prometheus' own checker: what is installed, or out of the package `prometheus` of this system, unpacked into the cache of peers.py and not installed, so that no service starts."""
import glob, os, shutil, subprocess, sys

import peers


def find():
    """The path of promtool; peers.Missing, with words, where it cannot be had."""
    there = shutil.which("promtool")
    if there:
        return there
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise peers.Missing("promtool: not installed, and there is no apt-get to get the package prometheus with")
    home = os.path.join(peers.CACHE, "apt-prometheus")
    peers.install(home, "promtool", ["sh", "-c", "apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb usr/bin/prometheus"],
                  ["usr/bin/promtool", "--version"])
    return os.path.join(home, "usr/bin/promtool")


def run(path, *args, text=None):
    """(exit status, all that it said)"""
    done = subprocess.run([path, *args], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.returncode, done.stdout

"""promtool, Prometheus' own checker, and Prometheus itself: what is installed, or out of the package `prometheus` of this system, unpacked into the cache of peers.py and not installed, so that no service starts."""
import os, shutil, subprocess

import peers


def find(name="promtool"):
    """The path of promtool, or prometheus; peers.Missing, with words, where it cannot be had."""
    there = shutil.which(name)
    if there:
        return there
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise peers.Missing("promtool: not installed, and there is no apt-get to get the package prometheus with")
    home = os.path.join(peers.CACHE, "apt-prometheus-whole")
    peers.install(home, "promtool", ["sh", "-c", "apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb"],
                  ["usr/bin/promtool", "--version"])
    return os.path.join(home, "usr/bin", name)


def run(path, *args, text=None):
    """(exit status, all that it said)"""
    done = subprocess.run([path, *args], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.returncode, done.stdout

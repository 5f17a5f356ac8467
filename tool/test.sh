#!/bin/sh
# All tests: the rules of the house (tool/tidy), units and simulation with the address and undefined-behaviour sanitizers, then scenarios against a server built the same way.
# tool/run-tests says how they run, and what its arguments, these, pick. The last line is "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
san=build-asan
export ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1
[ -f $san/build.ninja ] || meson setup $san -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized >/dev/null || exit 1
sh tool/sources.changed $san || meson setup --reconfigure $san >/dev/null || exit 1
# What only tests need is installed meanwhile. Whoever is interrupted waits for that: half a package is worse than none.
trap 'wait; exit 130' INT TERM HUP
sh tool/setup.sh --test >$san/setup.out 2>&1 &
ninja -C $san --quiet || { echo "the build failed"; wait; echo "0 passed, 1 failed"; exit 1; }
wait $!
status=$?
cat $san/setup.out
[ $status = 0 ] || { echo "0 passed, 1 failed"; exit 1; }
trap - INT TERM HUP
exec python3 tool/run-tests $san "$@"

#!/bin/sh
# All tests: the rules of the house (tool/tidy), units and simulation with the address and undefined-behaviour sanitizers, then scenarios against a server built the same way.
# The last line is "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
san=build-asan
export ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1
[ -f $san/build.ninja ] || meson setup $san -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized >/dev/null || exit 1
sh tool/sources.changed $san || meson setup --reconfigure $san >/dev/null || exit 1
ninja -C $san --quiet || { echo "the build failed"; echo "0 passed, 1 failed"; exit 1; }
passed=0
failed=0
count() { # name, status
    if [ "$2" = 0 ]; then passed=$((passed + 1)); echo "ok   $1"; else failed=$((failed + 1)); echo "FAIL $1"; fi
}
python3 tool/tidy_test.py >$san/tidy.out 2>&1
status=$?
[ $status = 0 ] || tail -40 $san/tidy.out
count "tool/tidy_test.py" $status
python3 tool/tidy >$san/tidy.out 2>&1
status=$?
[ $status = 0 ] || cat $san/tidy.out
count "tidy" $status
for t in $(sh tool/sources tests); do
    name=$(echo "${t#src/}" | tr / _)
    name=${name%.c}
    $san/"$name" >$san/"$name".out 2>&1
    status=$?
    [ $status = 0 ] || tail -40 $san/"$name".out
    count "$name" $status
done
# Fuzzers: what is kept, then mutations of it from a fixed seed.
for f in $(sh tool/sources fuzzers); do
    name=$(basename "$f" .c)
    $san/"fuzz_$name" --seconds "${FUZZ_SECONDS:-2}" --seed 1 test/fuzz/corpus/"$name" >$san/fuzz.out 2>&1
    status=$?
    [ $status = 0 ] || tail -40 $san/fuzz.out
    count "fuzz_$name" $status
done
# The simulator: seeds and planted bugs (test/sim/main.c).
$san/sim --seeds "${SIM_SEEDS:-300}" --jobs "$(nproc)" >$san/sim.out 2>&1
status=$?
tail -1 $san/sim.out
[ $status = 0 ] || tail -60 $san/sim.out
count "simulator: seeds and planted bugs" $status
for t in test/scenario/*_test.py test/web/*_test.py; do
    KITH=$san/kith timeout 240 python3 "$t" >$san/scenario.out 2>&1
    status=$?
    [ $status = 0 ] || tail -40 $san/scenario.out
    grep '^skipped' $san/scenario.out
    count "$t" $status
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]

#!/bin/sh
# What `make test` has no time for, after it: the simulator with many seeds, races between threads, clang, long fuzzing, and kill -9 and power failures again and again.
# About an hour on two idle cores. The last line is "N passed, N failed".
#   SIM_SEEDS (50000)   FUZZ_SECONDS (60) for each fuzzer   CHAOS_ROUNDS (25) of each test of failure
#   TWINS_PROGRAMS (300)
#   ONLY="test sim threads clang twins fuzz chaos": some of it
cd "$(dirname "$0")/.." || exit 1
export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1
only=${ONLY:-test sim threads clang twins fuzz chaos}
seconds=${FUZZ_SECONDS:-60}
rounds=${CHAOS_ROUNDS:-25}
passed=0
failed=0
count() { # name, status
    if [ "$2" = 0 ]; then passed=$((passed + 1)); echo "ok   $1"; else failed=$((failed + 1)); echo "FAIL $1"; fi
}
try() { # name, file for what it says, command ...
    name=$1 said=$2
    shift 2
    "$@" >"$said" 2>&1
    status=$?
    [ $status = 0 ] || tail -40 "$said"
    count "$name" $status
}
wanted() { case " $only " in *" $1 "*) ;; *) return 1 ;; esac; }
folder() { # folder, options of meson: made or brought up to date, then the targets in $targets built
    at=$1
    shift
    [ -f "$at/build.ninja" ] || meson setup "$at" "$@" >/dev/null || return 1
    sh tool/sources.changed "$at" || meson setup --reconfigure "$at" >/dev/null || return 1
    # shellcheck disable=SC2086
    ninja -C "$at" --quiet $targets >"$at/build.out" || { tail -40 "$at/build.out"; return 1; }
}
unit_names() { sh tool/sources tests | sed 's,^src/,,; s,\.c$,,; s,/,_,g'; }
fuzz_names() { sh tool/sources fuzzers | sed 's,.*/,,; s,\.c$,,'; }

# ---- all of make test ----
if wanted test; then
    mkdir -p build-asan
    sh tool/test.sh 2>&1 | tee build-asan/all.out
    last=$(tail -1 build-asan/all.out)
    passed=$(echo "$last" | sed -n 's/^\([0-9]*\) passed.*/\1/p')
    failed=$(echo "$last" | sed -n 's/.* \([0-9]*\) failed$/\1/p')
    passed=${passed:-0}
    failed=${failed:-1}
fi

# ---- the simulator, as fast as it goes ----
if wanted sim; then
    targets=sim
    seeds=${SIM_SEEDS:-50000}
    folder build -Dbuildtype=debugoptimized || count "the build of the simulator" 1
    try "simulator: $seeds seeds, planted bugs" build/sim.out build/sim --seeds "$seeds" --jobs "$(nproc)"
fi

# ---- threads: what runs side by side in one process, then a server with two shards under load and kill -9 ----
if wanted threads; then
    units="log_log_test io_io_test table_store_test measure_measure_test measure_event_test measure_journey_test admit_admit_test"
    targets="kith $units"
    folder build-tsan -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized || count "the build with the thread sanitizer" 1
    rm -f build-tsan/race.*
    export TSAN_OPTIONS="suppressions=$PWD/test/tsan.supp log_path=$PWD/build-tsan/race exitcode=66"
    for t in $units; do try "threads: $t" build-tsan/unit.out build-tsan/"$t"; done
    for t in kill messages mqtt channels drain tls; do
        try "threads: test/scenario/${t}_test.py" build-tsan/scenario.out env KITH=build-tsan/kith timeout 600 python3 test/scenario/"${t}_test.py"
    done
    try "threads: no race" build-tsan/races.out sh -c 'cat build-tsan/race.* 2>/dev/null && exit 1 || exit 0'
    unset TSAN_OPTIONS
fi

# ---- clang: all warnings are errors; the units under its sanitizers, which see other things than gcc's ----
libfuzzer() {
    echo 'int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n) { return p && n ? 0 : 0; }' >"$1" &&
        clang -fsanitize=fuzzer,address,undefined -o "$1.out" "$1" 2>/dev/null
}
try_file=${TMPDIR:-/tmp}/kith-libfuzzer-$$.c
libfuzzer "$try_file" && has_libfuzzer=1 || has_libfuzzer=0
rm -f "$try_file" "$try_file.out"
if wanted clang; then
    if [ $has_libfuzzer = 1 ]; then
        targets=""
        CC=clang CXX=clang++ folder build-clang -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized -Dlibfuzzer=true
        count "clang builds all, without a warning" $?
        for t in $(unit_names); do try "clang: $t" build-clang/unit.out build-clang/"$t"; done
    else
        echo "skip clang: it is not here, or has no libFuzzer (tool/setup.sh --all installs both)"
    fi
fi

# ---- the same told to kith and to mosquitto, and what each makes of it ----
if wanted twins; then
    targets="kith"
    folder build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized || count "the build of the twins" 1
    try "twins: ${TWINS_PROGRAMS:-300} programs" build-asan/twins.out env KITH=build-asan/kith TWINS_PROGRAMS="${TWINS_PROGRAMS:-300}" timeout 1200 python3 test/scenario/twins_test.py
fi

# ---- fuzzing: libFuzzer from the seeds of our driver, or our driver, led by gcc's coverage ----
if wanted fuzz; then
    targets=$(fuzz_names | sed 's/^/fuzz_/' | tr '\n' ' ')
    if [ $has_libfuzzer = 1 ]; then
        folder build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized &&
            CC=clang CXX=clang++ folder build-clang -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized -Dlibfuzzer=true
    else
        folder build-cover -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized -Dcover=true
    fi || count "the build of the fuzzers" 1
    for n in $(fuzz_names); do
        if [ $has_libfuzzer = 1 ]; then
            mkdir -p build-clang/corpus
            build-asan/"fuzz_$n" --write build-clang/corpus/"$n" test/fuzz/corpus/"$n" >/dev/null
            try "libFuzzer: fuzz_$n" build-clang/"fuzz_$n.log" build-clang/"fuzz_$n" -max_total_time="$seconds" -max_len=8192 -rss_limit_mb=4096 -timeout=20 \
                -artifact_prefix=build-clang/crash-"$n"- build-clang/corpus/"$n"
        else
            try "driver: fuzz_$n" build-cover/"fuzz_$n.log" build-cover/"fuzz_$n" --seconds "$seconds" --seed "$(date +%s)" test/fuzz/corpus/"$n"
        fi
    done
fi

# ---- failures of process, power and disk, more often than make test has time for ----
if wanted chaos; then
    targets=kith
    folder build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized || count "the build with sanitizers" 1
    export ASAN_OPTIONS=abort_on_error=1
    for t in kill power backup; do
        [ -f test/scenario/${t}_test.py ] || continue
        name=$(echo $t | tr a-z A-Z)
        try "$rounds rounds: test/scenario/${t}_test.py" build-asan/scenario.out env KITH=build-asan/kith "KITH_${name}_ROUNDS=$rounds" timeout 3600 python3 test/scenario/"${t}_test.py"
    done
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

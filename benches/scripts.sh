#!/usr/bin/env bash
# Scripts beside redis-server: throughput of EVALSHA and FCALL, and the server's processor time a request (which
# says more where the machine isn't quiet); interleaved, best of ROUNDS each.
#
#   benches/scripts.sh [SERVER]      (target/release/redstart; needs redis-server and redis-benchmark)
#
# Environment: ROUNDS (3), REQUESTS (200000), PORT (17500 and the next).
set -euo pipefail
cd "$(dirname "$0")/.."
ours=${1:-target/release/redstart}
rounds=${ROUNDS:-3} requests=${REQUESTS:-200000} port=${PORT:-17500}
folder=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
for number in 0 1; do
    mkdir "$folder/$number"
    server=$ours
    [ "$number" = 1 ] && server=redis-server
    "$server" --port $((port + number)) --dir "$folder/$number" --save '' --appendonly no \
        >"$folder/$number/log" 2>&1 &
    pids+=($!)
    for _ in $(seq 100); do redis-cli -p $((port + number)) ping >/dev/null 2>&1 && break; sleep 0.05; done
    redis-cli -p $((port + number)) set k value >/dev/null
    redis-cli -p $((port + number)) function load "#!lua name=l
redis.register_function('get', function(keys) return redis.call('GET', keys[1]) end)
redis.register_function('ten', function(keys) for i = 1, 10 do redis.call('GET', keys[1]) end end)" >/dev/null
done

load() { for number in 0 1; do sha=$(redis-cli -p $((port + number)) script load "$1"); done; }
# once NUMBER ARGUMENT...: requests a second.
once() {
    local number=$1
    shift
    redis-benchmark -p $((port + number)) --csv "$@" 2>/dev/null | tail -1 | cut -d, -f2 | tr -d '"'
}
# The processor time that a server has used, in milliseconds (ticks of 10).
used() { awk '{ print ($14 + $15) * 10 }' "/proc/${pids[$1]}/stat"; }
# compare NAME PIPELINE REQUESTS WORD...
compare() {
    local name=$1 pipeline=$2 count=$3 best=(0 0) least=(1e9 1e9) figure before
    shift 3
    for _ in $(seq "$rounds"); do
        for number in 0 1; do
            before=$(used $number)
            figure=$(once $number -P "$pipeline" -c 50 -n "$count" "$@")
            best[number]=$(awk -v a="${best[number]}" -v b="$figure" 'BEGIN { print (b > a) ? b : a }')
            least[number]=$(awk -v a="${least[number]}" -v b="$before" -v c="$(used $number)" -v n="$count" \
                'BEGIN { t = (c - b) * 1000 / n; print (t < a) ? t : a }')
        done
    done
    awk -v name="$name" -v a="${best[0]}" -v b="${best[1]}" -v c="${least[0]}" -v d="${least[1]}" \
        'BEGIN { printf "%-34s %8.0f %8.0f  %.2fx  %8.2f %8.2f us  %.2fx\n", name, a, b, a / b, c, d, d / c }'
}

printf '%-34s %8s %8s %6s %8s %8s\n' 'requests a second, us a request' ours redis '' ours redis
load "return redis.call('GET', KEYS[1])"
compare 'EVALSHA of GET, pipeline 16' 16 "$requests" evalsha "$sha" 1 k
compare 'FCALL of GET, pipeline 16' 16 "$requests" fcall get 1 k
load "for i = 1, 10 do redis.call('GET', KEYS[1]) end"
compare 'EVALSHA of 10 calls, pipeline 16' 16 $((requests / 4)) evalsha "$sha" 1 k
compare 'FCALL of 10 calls, pipeline 16' 16 $((requests / 4)) fcall ten 1 k
load "local n = redis.call('INCR', KEYS[1]) if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
return n > tonumber(ARGV[2]) and 0 or 1"
compare 'rate limiter, 50 connections' 1 $((requests / 2)) evalsha "$sha" 1 rate 1000 100
load "local t = {} for i = 1, 300 do t[i] = {id = i, name = 'name of ' .. i} end \
return #cjson.encode(cjson.decode(cjson.encode(t)))"
compare 'cjson of 10 KB, three times' 16 $((requests / 100)) evalsha "$sha" 1 k
load "local n = 0 for a, b in ('key=value, other = thing; third=3 '):rep(20):gmatch('(%w+)%s*=%s*(%w+)') do \
n = n + #a end return (('a b c '):rep(50):gsub('%s+', '-')) .. n"
compare 'patterns' 16 $((requests / 20)) evalsha "$sha" 1 k

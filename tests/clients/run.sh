#!/usr/bin/env bash
# Real clients against real daemons: pymemcache, python-memcached, python-binary-memcached and pylibmc, libmemcached's
# conformance tests of both protocols, and its load tool. Three daemons are started on free ports and stopped at the end; nothing is left in the tree.
#
#   tests/clients/run.sh                          the release build (made if it is not there)
#   SLABD=/usr/bin/memcached tests/clients/run.sh any other daemon that takes -l, -p, -t, -m and -u
#   SLABD_OPTIONS="-o drop_privileges" tests/clients/run.sh  with options of its own, before all others
#
# One PASS, FAIL or SKIP line per check, the last for a protocol that the daemon does not serve; the exit code is 0 if none
# fails. check.py uses the three daemons; pools.py starts its own, and kills some; protocols.py starts its own, with users, and tls.py with
# certificates; watching.py compares its own with a memcached.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Pinned, so that a failure is about slabd.
readonly CLIENTS=(pymemcache==4.0.0 python-memcached==1.62 python-binary-memcached==0.33.0 pylibmc==1.6.3 meta-memcache==4.3.0)

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs packages unless a command, which needs them, succeeds; if this system can.
need() {
    local probe=$1
    shift
    bash -c "$probe" >/dev/null 2>&1 && return
    if ! command -v apt-get >/dev/null; then
        echo "'$probe' fails; install $*" >&2
        exit 1
    fi
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

need "command -v openssl" openssl
need "command -v socat" socat
# Debian starts the memcached it installs; the port is then taken, which does no harm here.
need "command -v memccapable" libmemcached-tools
need "command -v memcslap" libmemcached-tools
need "python3 -c 'import ensurepip, venv'" python3 python3-venv
# Debian puts it where only root looks.
PATH+=:/usr/sbin
need "command -v nutcracker" nutcracker
need "command -v java && command -v javac" default-jdk-headless
readonly SPY_JAR=/usr/share/java/spymemcached.jar
need "test -e $SPY_JAR" libspymemcached-java
# pylibmc brings libsasl2, which finds nothing by itself.
need "ls /usr/lib/*/sasl2/libplain.so" libsasl2-modules
SASL_PATH=$(dirname "$(find /usr/lib -path '*/sasl2/libplain.so' -print -quit)")
export SASL_PATH

need "test -e /usr/share/memcached/scripts/memcached-tool && command -v memcached" memcached
need "perl -MIO::Socket::INET -e 1" perl
need "command -v promtool" prometheus

scratch=$(mktemp -d)
pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$scratch"
}
trap stop EXIT

python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install -q --disable-pip-version-check "${CLIENTS[@]}"

if [ -z "${SLABD:-}" ]; then
    cargo build --release
    SLABD=${CARGO_TARGET_DIR:-target}/release/slabd
fi

if [ -n "${SLABD_OPTIONS:-}" ]; then
    printf '#!/bin/sh\nexec "%s" %s "$@"\n' "$(realpath "$SLABD")" "$SLABD_OPTIONS" >"$scratch/slabd"
    chmod +x "$scratch/slabd"
    SLABD=$scratch/slabd
fi

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Whether the daemon with this id, and not a stranger that took the port, answers there.
answers() {
    python3 - "$1" "$2" <<'PYTHON'
import socket, sys
try:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1) as s:
        s.sendall(b"stats\r\n")
        answer = b""
        while not answer.endswith(b"END\r\n"):
            more = s.recv(65536)
            if not more:
                sys.exit(1)
            answer += more
except OSError:
    sys.exit(1)
sys.exit(f"STAT pid {sys.argv[2]}\r\n".encode() not in answer)
PYTHON
}

ports=()
start() {
    local port pid
    for _ in 1 2 3 4 5; do
        port=$(free_port)
        "$SLABD" -l 127.0.0.1 -p "$port" -t 2 -m 128 -u root >"$scratch/log.$port" 2>&1 &
        pid=$!
        for _ in $(seq 100); do
            if answers "$port" "$pid"; then
                pids+=("$pid")
                ports+=("$port")
                return
            fi
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.05
        done
        kill "$pid" 2>/dev/null || true
    done
    echo "$SLABD does not start:" >&2
    cat "$scratch/log.$port" >&2
    exit 1
}
for _ in 1 2 3; do start; done
port=${ports[0]}

failed=0
check() {
    local name=$1
    shift
    if "$@" >"$scratch/out" 2>&1; then
        echo "PASS $name"
    else
        echo "FAIL $name"
        tail -n 40 "$scratch/out" | sed 's/^/     /'
        failed=1
    fi
}

capable() {
    timeout 120 memccapable -h 127.0.0.1 -p "$port" "$1" | tee "$scratch/capable"
    # It must have run the tests, too.
    [ "$(grep -c '\[pass\]' "$scratch/capable")" -ge 25 ] && ! grep -qi 'fail' "$scratch/capable"
}
check "memccapable: every ASCII test" capable -a
check "memccapable: every binary test" capable -b

slap() {
    timeout 120 memcslap -s "127.0.0.1:$port" --concurrency=8 --execute-number=2000 --initial-load=2000 --flush --test="$@"
}
for test in set get mget; do
    check "memcslap: 8 clients, $test" slap "$test"
    check "memcslap: 8 clients, $test, binary" slap "$test" --binary
done

"$scratch/venv/bin/python" tests/clients/check.py "${ports[@]}" || failed=1

mkdir "$scratch/java"
check "spymemcached: programs compile" javac -cp "$SPY_JAR" -d "$scratch/java" tests/clients/*.java
for script in pools protocols tls watching; do
    SLABD=$SLABD SPYMEMCACHED=$SPY_JAR:$scratch/java "$scratch/venv/bin/python" -B "tests/clients/$script.py" || failed=1
done

for pid in "${pids[@]}"; do
    check "the daemon $pid is still there" kill -0 "$pid"
done
exit "$failed"

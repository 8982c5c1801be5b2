"""Four daemons behind each client that hashes consistently: what moves when the list gets shorter, what a killed daemon
costs, and whether a new one on the same address is used again. Which daemon holds a key, the daemons themselves are asked.

How the clients are set up stands in the README's section "Pools": its blocks are run here, with other addresses.
"""

import json
import os
import re
import subprocess
import tempfile
import time

from common import HOST, README, Daemon, Process, connect, equal, exchange, free_port, run, true, until
from pymemcache.client.base import Client

KEYS = [f"key{index}" for index in range(3000)]
DAEMON_COUNT = 4
# The one that leaves the list, and then is killed.
LEAVING = 2
SPYMEMCACHED = os.environ["SPYMEMCACHED"]


def blocks(language):
    """The code blocks of the README's section."""
    with open(README, encoding="utf-8") as file:
        section = file.read().split("\n## Pools\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def recipe(language, word):
    """The one block that has the word."""
    found = [block for block in blocks(language) if word in block]
    equal(len(found), 1, f"blocks of {language} with {word}")
    return found[0]


class InPython:
    """A client made by a block of the README, which calls it `pool`."""

    word = None

    def __init__(self, addresses):
        block, count = re.subn(r'\["10\..*?\]', repr(addresses), recipe("python", self.word))
        equal(count, 1, "lists of addresses")
        names = {}
        exec(block, names)
        self.pool = names["pool"]

    def store(self, keys):
        return {key for key in keys if not self._try(self.pool.set, key, key.encode())}

    def fetch(self, keys):
        """The keys that were there, and those whose answer was an error."""
        hits, errors = set(), set()
        for key in keys:
            value = self._try(self.pool.get, key)
            if value is False:
                errors.add(key)
            elif value is not None:
                equal(value, key.encode(), f"get {key}")
                hits.add(key)
        return hits, errors

    def _try(self, call, *arguments):
        try:
            return call(*arguments)
        except Exception:
            return False

    def close(self):
        pass


class Pylibmc(InPython):
    word = "pylibmc"


class Pymemcache(InPython):
    word = "HashClient"

    def store(self, keys):
        # By itself this client does not wait for answers to writes.
        return {key for key in keys if not self._try(lambda: self.pool.set(key, key.encode(), noreply=False))}


class Twemproxy(InPython):
    """The proxy, with the README's file, and a client which does not know of it."""

    def __init__(self, addresses):
        port = free_port()
        servers = "".join(f"   - {address}:1\n" for address in addresses)
        text, count = re.subn(r"(?:   - 10\..*\n)+", servers, recipe("yaml", "ketama"))
        equal(count, 1, "lists of servers")
        text, count = re.subn(r"127\.0\.0\.1:22121", f"{HOST}:{port}", text)
        equal(count, 1, "places to listen at")
        self.place = tempfile.TemporaryDirectory()
        config = os.path.join(self.place.name, "pool.yml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(text)
        pid_file = os.path.join(self.place.name, "pid")
        self.proxy = Process(
            ["nutcracker", "-c", config, "-p", pid_file, "-a", HOST, "-s", str(free_port()), "-o", "/dev/stderr"]
        )
        until(lambda: self._listens(port), 10, "the proxy listens")
        self.pool = Client((HOST, port), timeout=10, default_noreply=False)

    def _listens(self, port):
        true(self.proxy.popen.poll() is None, f"the proxy is there: {self.proxy.said()}")
        try:
            connect(port, 1).close()
        except OSError:
            return False
        return True

    def close(self):
        self.proxy.kill()
        self.place.cleanup()


class Spymemcached:
    """The class of Pool.java, which is told what to do line by line."""

    def __init__(self, addresses):
        self.java = subprocess.Popen(
            ["java", "-cp", SPYMEMCACHED, "Pool", *addresses],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _ask(self, verb, keys):
        self.java.stdin.write(f"{verb} {' '.join(keys)}\n")
        self.java.stdin.flush()
        letters = self.java.stdout.readline().strip()
        equal(len(letters), len(keys), "letters")
        return list(zip(keys, letters))

    def store(self, keys):
        return {key for key, letter in self._ask("store", keys) if letter != "s"}

    def fetch(self, keys):
        answers = self._ask("fetch", keys)
        return {key for key, letter in answers if letter == "h"}, {key for key, letter in answers if letter == "e"}

    def close(self):
        self.java.kill()
        self.java.wait()


def held(daemons):
    """Which daemon has which key: the position of each in the list."""
    places = {}
    for position, daemon in enumerate(daemons):
        answer = exchange(daemon.port, f"get {' '.join(KEYS)}\r\n".encode(), b"END\r\n")
        for key in re.findall(rb"VALUE (\S+) ", answer):
            true(key.decode() not in places, f"{key} is with one daemon")
            places[key.decode()] = position
    return places


def flush(daemons):
    for daemon in daemons:
        exchange(daemon.port, b"flush_all\r\n", b"OK\r\n")


def percent(part):
    return f"{100 * part / len(KEYS):.1f} %"


def placed(kind, daemons):
    """Where a fresh client with these daemons puts the keys."""
    flush(daemons)
    client = kind([daemon.address for daemon in daemons])
    try:
        equal(client.store(KEYS), set(), "keys that were not stored")
        places = held(daemons)
        equal(len(places), len(KEYS), "keys that are somewhere")
        return places
    finally:
        client.close()


def pool_checks(kind):
    daemons = [Daemon() for _ in range(DAEMON_COUNT)]
    try:
        return checked(kind, daemons)
    finally:
        for daemon in daemons:
            daemon.kill()


def checked(kind, daemons):
    # One less in the list: its keys move, and no others.
    shorter = daemons[:LEAVING] + daemons[LEAVING + 1 :]
    after = {key: shorter[place] for key, place in placed(kind, shorter).items()}
    before = placed(kind, daemons)
    moved = {key for key in KEYS if daemons[before[key]] is not after[key]}
    share = {key for key in KEYS if before[key] == LEAVING}
    true(0.15 <= len(moved) / len(KEYS) <= 0.35, f"keys that move: {percent(len(moved))}")
    equal(moved, share, "what moves is what the leaving one had")

    addresses = [daemon.address for daemon in daemons]
    client = kind(addresses)
    try:
        equal(client.fetch(KEYS), (set(KEYS), set()), "all keys and no errors, with a client that did not store them")

        # One dies: its keys are gone, and no others.
        daemons[LEAVING].kill()
        begun = time.monotonic()
        hits, errors = client.fetch(KEYS)
        lost = set(KEYS) - hits
        equal(lost - share, set(), "keys of living daemons that were not answered")
        equal(share - lost, set(), "keys of the dead one that were answered")
        # What the client has noticed by now, or soon, it stores elsewhere. Now and then it tries the dead one again.
        some = KEYS[:400]
        until(lambda: not client.store(some) and client.fetch(some) == (set(some), set()), 20, "the others have all keys")
        survivors = time.monotonic() - begun

        # A new one at the same address is found by the client that is there.
        daemons[LEAVING] = Daemon(port=daemons[LEAVING].port)
        mine = sorted(share)[:200]

        def used_again():
            client.store(mine)
            return set(mine) <= {key for key, place in held([daemons[LEAVING]]).items()}

        again = until(used_again, 20, "the new daemon gets its share")
        # Values from the meantime may still be with the others.
        flush(daemons)
        equal(client.store(KEYS), set(), "keys that were not stored, with the new one")
        equal(held(daemons), before, "where keys are, with the new one")
    finally:
        client.close()
    return (
        f"removed {percent(len(moved))} move; killed {percent(len(lost))} lost, {percent(len(errors))} by an error, "
        f"stored elsewhere after {survivors:.1f} s; used again after {again:.1f} s"
    )


def one_circle():
    """What the README says of clients that may share a pool."""
    daemons = [Daemon() for _ in range(DAEMON_COUNT)]
    try:
        expected = placed(Pylibmc, daemons)
        for kind in Twemproxy, Spymemcached:
            equal(placed(kind, daemons), expected, f"where {kind.__name__} puts keys")
    finally:
        for daemon in daemons:
            daemon.kill()


# What mcrouter sends to a daemon, and how the answer ends. mcrouter itself cannot be installed from a package.
MCROUTER_SENDS = [
    (b"version\r\n", rb"VERSION \S+\r\n"),
    (b"set k 5 100 2\r\nv1\r\n", rb"STORED\r\n"),
    (b"get k\r\n", rb"VALUE k 5 2\r\nv1\r\nEND\r\n"),
    (b"gets k\r\n", rb"VALUE k 5 2 \d+\r\nv1\r\nEND\r\n"),
    (b"gat 100 k\r\n", rb"VALUE k 5 2\r\nv1\r\nEND\r\n"),
    (b"gats 100 k\r\n", rb"VALUE k 5 2 \d+\r\nv1\r\nEND\r\n"),
    (b"metaget k\r\n", rb"META k age: \S+; exptime: \S+; from: \S+; is_transient: \S+\r\nEND\r\n"),
    (b"append k 0 0 1\r\n!\r\n", rb"STORED\r\n"),
    (b"prepend k 0 0 1\r\n!\r\n", rb"STORED\r\n"),
    (b"add k 0 0 1\r\n!\r\n", rb"NOT_STORED\r\n"),
    (b"replace k 0 0 1\r\n7\r\n", rb"STORED\r\n"),
    (b"cas k 0 0 1 2\r\n7\r\n", rb"EXISTS\r\n"),
    (b"incr k 3\r\n", rb"10\r\n"),
    (b"decr k 3\r\n", rb"7\s*\r\n"),
    (b"touch k 9\r\n", rb"TOUCHED\r\n"),
    (b"delete k\r\n", rb"DELETED\r\n"),
    (b"lease-get k\r\n", rb"LVALUE k (?P<token>\d+) 0 0\r\n\r\nEND\r\n"),
    (b"lease-set k %(token)s 0 0 1\r\nx\r\n", rb"STORED\r\n"),
    (b"lease-get k\r\n", rb"VALUE k 0 1\r\nx\r\nEND\r\n"),
    (b"flush_all\r\n", rb"OK\r\n"),
]


def mcrouter():
    """The README's configuration names daemons that serve what mcrouter sends to the servers of such a pool."""
    daemons = [Daemon() for _ in range(DAEMON_COUNT)]
    try:
        text, count = re.subn(
            r'\["10\..*?\]',
            json.dumps([f"{HOST}:{daemon.port}" for daemon in daemons]),
            recipe("json", "PoolRoute"),
        )
        equal(count, 1, "lists of addresses")
        config = json.loads(text)
        route = config["route"]
        equal(route["type"], "PoolRoute", "the route's type")
        equal(route["hash"]["hash_func"], "Ch3", "mcrouter's consistent hash")
        servers = config["pools"][route["pool"]]["servers"]
        equal(len(servers), DAEMON_COUNT, "servers of the pool")
        for server in servers:
            token = b""
            with connect(int(server.rpartition(":")[2])) as stream:
                for request, wanted in MCROUTER_SENDS:
                    stream.sendall(request.replace(b"%(token)s", token))
                    answer = b""
                    while not (found := re.fullmatch(wanted, answer)):
                        more = stream.recv(65536)
                        true(more and b"ERROR" not in more, f"{request!r} is answered {answer + more!r}")
                        answer += more
                    token = found.groupdict().get("token", token)
    finally:
        for daemon in daemons:
            daemon.kill()


run(
    [
        ("mcrouter's configuration, and what mcrouter sends", mcrouter),
        ("a pool by pylibmc, libmemcached's ketama", lambda: pool_checks(Pylibmc)),
        ("a pool by pymemcache, HashClient", lambda: pool_checks(Pymemcache)),
        ("a pool by twemproxy, ketama", lambda: pool_checks(Twemproxy)),
        ("a pool by spymemcached, ketama", lambda: pool_checks(Spymemcached)),
        ("libmemcached, twemproxy and spymemcached put keys in the same places", one_circle),
    ]
)

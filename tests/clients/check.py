"""Python's memcached clients against three daemons, whose ports are the arguments.

Prints one PASS or FAIL line per check; exits with 1 if any failed.
"""

import sys
import traceback

import bmemcached
import memcache
import pylibmc
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

HOST = "127.0.0.1"
PORTS = [int(port) for port in sys.argv[1:4]]

# The largest leaves room for what any server keeps beside a value in a page of a megabyte.
LENGTHS = [0, 1, 1000, 100 * 1024, 1024 * 1024 - 512]
ALL_BYTES = bytes(range(256))


def values():
    """Text and binary values, as bytes, with their names."""
    for length in LENGTHS:
        yield f"text{length}", b"x" * length
        yield f"binary{length}", (ALL_BYTES * (length // 256 + 1))[:length]
    yield "line-ends", b"\r\n\r\nEND\r\nVALUE a 0 1\r\n"


def equal(got, expected, what):
    if got != expected:
        shown = [repr(value)[:200] for value in (got, expected)]
        raise AssertionError(f"{what}: got {shown[0]}, expected {shown[1]}")


def true(got, what):
    if not got:
        raise AssertionError(f"{what}: got {got!r}")


def pymemcache_checks(client, has_flush=True):
    for name, value in values():
        true(client.set(name, value, noreply=False), f"set {name}")
        equal(client.get(name), value, f"get {name}")
    equal(client.get("none"), None, "get of nothing")
    everything = dict(values())
    equal(client.set_many(everything, noreply=False), [], "set_many")
    equal(client.get_many([*everything, "none"]), everything, "get_many")

    # Without an answer, which is this client's default.
    client.set("quiet", b"1")
    client.append("quiet", b"2")
    equal(client.get("quiet"), b"12", "after noreply")

    true(not client.add("quiet", b"x", noreply=False), "add to something")
    true(client.add("new", b"x", noreply=False), "add")
    true(client.replace("new", b"y", noreply=False), "replace")
    true(not client.replace("none", b"y", noreply=False), "replace of nothing")
    true(client.append("new", b">", noreply=False), "append")
    true(client.prepend("new", b"<", noreply=False), "prepend")
    equal(client.get("new"), b"<y>", "get after append and prepend")

    value, cas = client.gets("new")
    equal(value, b"<y>", "gets")
    equal(client.cas("new", b"z", cas, noreply=False), True, "cas")
    equal(client.cas("new", b"w", cas, noreply=False), False, "cas again")
    equal(client.cas("none", b"w", cas, noreply=False), None, "cas of nothing")
    equal(client.get("new"), b"z", "get after cas")

    client.set("number", b"10", noreply=False)
    equal(client.incr("number", 5), 15, "incr")
    equal(client.decr("number", 6), 9, "decr")
    equal(client.decr("number", 100), 0, "decr below nothing")
    equal(client.incr("none", 1), None, "incr of nothing")

    true(client.touch("number", 100, noreply=False), "touch")
    true(not client.touch("none", 100, noreply=False), "touch of nothing")
    true(client.set("late", b"x", expire=-1, noreply=False), "set, expired")
    equal(client.get("late"), None, "get of something expired")
    true(client.set("soon", b"x", expire=1000, noreply=False), "set with a lifetime")
    equal(client.get("soon"), b"x", "get of something with a lifetime")

    true(client.delete("new", noreply=False), "delete")
    true(not client.delete("new", noreply=False), "delete of nothing")
    true(client.delete_many(["number", "quiet"], noreply=False), "delete_many")
    if has_flush:
        true(client.flush_all(noreply=False), "flush_all")
        equal(client.get_many(list(everything)), {}, "get_many after flush_all")


def pymemcache_single():
    client = Client((HOST, PORTS[0]), timeout=10)
    pymemcache_checks(client)
    true(client.version(), "version")
    true(b"cmd_get" in client.stats(), "stats")
    client.quit()


def pymemcache_pooled():
    pymemcache_checks(PooledClient((HOST, PORTS[0]), timeout=10, max_pool_size=4))


def pymemcache_hash():
    client = HashClient([(HOST, port) for port in PORTS], timeout=10, use_pooling=True)
    pymemcache_checks(client, has_flush=False)
    keys = {f"key{index}": str(index).encode() for index in range(300)}
    equal(client.set_many(keys, noreply=False), [], "set_many over three daemons")
    equal(client.get_many(list(keys)), keys, "get_many over three daemons")
    shares = [Client((HOST, port), timeout=10).stats()[b"curr_items"] for port in PORTS]
    true(all(int(share) > 30 for share in shares), f"every daemon has its share: {shares}")
    client.flush_all(noreply=False)
    equal(client.get_many(list(keys)), {}, "get_many after flush_all")


def python_memcached():
    client = memcache.Client([f"{HOST}:{PORTS[0]}"], socket_timeout=10, server_max_value_length=1024 * 1024)
    for name, value in values():
        true(client.set(name, value), f"set {name}")
        equal(client.get(name), value, f"get {name}")
    true(client.set("words", "gr\u00fc\u00dfe"), "set of text")
    equal(client.get("words"), "gr\u00fc\u00dfe", "get of text")
    true(client.set("list", [1, {"a": None}]), "set of an object")
    equal(client.get("list"), [1, {"a": None}], "get of an object")
    everything = dict(values())
    equal(client.set_multi(everything), [], "set_multi")
    equal(client.get_multi([*everything, "none"]), everything, "get_multi")

    true(not client.add("list", "x"), "add to something")
    true(client.add("new", b"x"), "add")
    true(client.replace("new", b"y"), "replace")
    true(client.append("new", b">"), "append")
    true(client.prepend("new", b"<"), "prepend")
    equal(client.get("new"), b"<y>", "get after append and prepend")

    other = memcache.Client([f"{HOST}:{PORTS[0]}"], socket_timeout=10, cache_cas=True)
    equal(other.gets("new"), b"<y>", "gets")
    true(other.cas("new", b"z"), "cas")
    equal(other.gets("new"), b"z", "gets after cas")
    client.set("new", b"w")
    true(not other.cas("new", b"v"), "cas of a changed value")

    client.set("number", "10")
    equal(client.incr("number", 5), 15, "incr")
    equal(client.decr("number", 6), 9, "decr")
    true(client.touch("number", 100), "touch")
    true(client.delete("new"), "delete")
    equal(client.get("new"), None, "get after delete")
    true(client.delete_multi(["number", "words"]), "delete_multi")
    true(client.get_stats()[0][1]["cmd_get"], "stats")
    client.flush_all()
    equal(client.get("list"), None, "get after flush_all")
    client.disconnect_all()
    other.disconnect_all()


def bmemcached_checks(client):
    for name, value in values():
        true(client.set(name, value), f"set {name}")
        equal(client.get(name), value, f"get {name}")
    true(client.set("words", "gr\u00fc\u00dfe"), "set of text")
    equal(client.get("words"), "gr\u00fc\u00dfe", "get of text")
    true(client.set("a key with blanks\r\n", b"x"), "set of a key that text cannot say")
    equal(client.get("a key with blanks\r\n"), b"x", "get of a key that text cannot say")
    everything = dict(values())
    equal(client.set_multi(everything), [], "set_multi")
    equal(client.get_multi([*everything, "none"]), everything, "get_multi")

    true(not client.add("words", "x"), "add to something")
    true(client.add("new", b"x"), "add")
    true(client.replace("new", b"y"), "replace")
    true(not client.replace("none", b"y"), "replace of nothing")

    value, cas = client.gets("new")
    equal(value, b"y", "gets")
    equal(client.get_multi(["new"], get_cas=True), {"new": (b"y", cas)}, "get_multi with numbers")
    true(not client.cas("new", b"w", cas + 1), "cas with another number")
    true(client.cas("new", b"z", cas), "cas")
    true(not client.cas("new", b"w", cas), "cas again")
    true(not client.cas("none", b"w", cas), "cas of nothing")
    equal(client.get("new"), b"z", "get after cas")
    true(not client.delete("new", cas=cas), "delete with another number")

    equal(client.incr("number", 5, default=10), 10, "incr, which makes the number")
    equal(client.incr("number", 5), 15, "incr")
    equal(client.decr("number", 6), 9, "decr")
    equal(client.decr("number", 100), 0, "decr below nothing")
    equal(client.decr("other", 1, default=7), 7, "decr, which makes the number")

    true(client.delete("new"), "delete")
    equal(client.get("new"), None, "get after delete")
    true(client.delete_multi(["number", "other"]), "delete_multi")
    equal(client.get("number"), None, "get after delete_multi")
    stats = client.stats()
    true(all("cmd_get" in rows for rows in stats.values()), "stats")
    true("maxbytes" in next(iter(client.stats("settings").values())), "stats settings")
    true(client.flush_all(), "flush_all")
    equal(client.get_multi(list(everything)), {}, "get_multi after flush_all")
    client.disconnect_all()


def bmemcached_single():
    bmemcached_checks(bmemcached.Client([f"{HOST}:{PORTS[0]}"], socket_timeout=10))


def bmemcached_distributed():
    bmemcached_checks(bmemcached.DistributedClient([f"{HOST}:{port}" for port in PORTS], socket_timeout=10))


def pylibmc_checks(client):
    for name, value in values():
        true(client.set(name, value), f"set {name}")
        equal(client.get(name), value, f"get {name}")
    true(client.set("words", "gr\u00fc\u00dfe"), "set of text")
    equal(client.get("words"), "gr\u00fc\u00dfe", "get of text")
    everything = dict(values())
    equal(client.set_multi(everything), [], "set_multi")
    equal(client.get_multi([*everything, "none"]), everything, "get_multi")

    true(not client.add("words", "x"), "add to something")
    true(client.add("new", b"x"), "add")
    true(client.replace("new", b"y"), "replace")
    true(client.append("new", b">"), "append")
    true(client.prepend("new", b"<"), "prepend")
    equal(client.get("new"), b"<y>", "get after append and prepend")

    value, cas = client.gets("new")
    equal(value, b"<y>", "gets")
    true(client.cas("new", b"z", cas), "cas")
    true(not client.cas("new", b"w", cas), "cas again")
    equal(client.get("new"), b"z", "get after cas")

    client.set("number", 10)
    equal(client.incr("number", 5), 15, "incr")
    equal(client.decr("number", 6), 9, "decr")
    true(client.touch("number", 100), "touch")
    true(client.delete("new"), "delete")
    true(not client.delete("new"), "delete of nothing")
    client.delete_multi(["number"])
    equal(client.get("number"), None, "get after delete_multi")
    true(client.get_stats(), "stats")
    true(client.flush_all(), "flush_all")
    equal(client.get("words"), None, "get after flush_all")


def pylibmc_single():
    client = pylibmc.Client([f"{HOST}:{PORTS[0]}"], behaviors={"cas": True, "tcp_nodelay": True})
    pylibmc_checks(client)


def pylibmc_distributed():
    servers = [f"{HOST}:{port}" for port in PORTS]
    client = pylibmc.Client(servers, behaviors={"cas": True, "ketama": True, "no_block": False})
    pylibmc_checks(client)


def pylibmc_binary():
    client = pylibmc.Client([f"{HOST}:{PORTS[0]}"], binary=True, behaviors={"cas": True, "tcp_nodelay": True})
    pylibmc_checks(client)


def pylibmc_binary_distributed():
    servers = [f"{HOST}:{port}" for port in PORTS]
    client = pylibmc.Client(servers, binary=True, behaviors={"cas": True, "ketama": True, "no_block": False})
    pylibmc_checks(client)


CHECKS = [
    ("pymemcache: one connection", pymemcache_single),
    ("pymemcache: a pool", pymemcache_pooled),
    ("pymemcache: three daemons by hash", pymemcache_hash),
    ("python-memcached", python_memcached),
    ("python-binary-memcached: one daemon", bmemcached_single),
    ("python-binary-memcached: three daemons", bmemcached_distributed),
    ("pylibmc: one daemon", pylibmc_single),
    ("pylibmc: three daemons by ketama", pylibmc_distributed),
    ("pylibmc: one daemon, binary", pylibmc_binary),
    ("pylibmc: three daemons by ketama, binary", pylibmc_binary_distributed),
]


def main():
    failed = False
    for name, check in CHECKS:
        try:
            check()
            print(f"PASS {name}", flush=True)
        except Exception:
            failed = True
            print(f"FAIL {name}", flush=True)
            traceback.print_exc()
    sys.exit(failed)


main()

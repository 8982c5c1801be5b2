"""Clients of the binary and the meta protocol, each against a daemon of its own, with logins (SASL) and without.

What the daemon under test does not serve is skipped, as it says itself; what it serves is not.
"""

import os
import re
import struct
import subprocess
import tempfile

import bmemcached
import pylibmc
from common import DAEMON, HOST, Daemon, NotServed, connect, equal, exchange, run, true
from meta_memcache import (
    CacheClient,
    Key,
    LeasePolicy,
    RecachePolicy,
    ServerAddress,
    SetMode,
    StalePolicy,
    connection_pool_factory_builder,
)

SPYMEMCACHED = os.environ["SPYMEMCACHED"]
USER, PASSWORD = "alice", "open sesame"
# The same password, as `openssl passwd -6` tells it.
HASHED = (
    "$6$slabdslabd$44nuaOMkgDMyrgah4bKsoOipjuB0Xz5MevDGiDmAPuERTvLIYrLcopyEhHPZGq76GiHdjOwkz2Yoeo566EIt8/"
)
OTHER_USER = "bob"
NOT_SERVED = "not served by this build"

NOOP = struct.pack(">BBHBBHIIQ", 0x80, 0x0A, 0, 0, 0, 0, 0, 7, 0)


def serving(question, yes):
    """A daemon that answers a no-op of the protocol; one that takes it for a wrong line does not serve the protocol."""
    daemon = Daemon()
    try:
        with connect(daemon.port) as stream:
            stream.sendall(question)
            answer = stream.recv(len(yes))
        if answer == b"ERROR"[: len(yes)]:
            raise NotServed(NOT_SERVED)
        equal(answer, yes, "answer to a no-op")
        return daemon
    except Exception:
        daemon.kill()
        raise


def meta_daemon():
    return serving(b"mn\r\n", b"MN\r\n")


def binary_daemon():
    # Ends as a line for who takes it for one.
    return serving(NOOP + b"\r\n", b"\x81\x0a\0\0")


class SaslDaemon(Daemon):
    """A daemon with users; a memcached knows them by a database of its SASL library."""

    def __init__(self):
        help_text = subprocess.run([DAEMON, "--help"], capture_output=True, text=True, check=True).stdout
        if not re.search(r"^\s*-S\b", help_text, re.MULTILINE):
            raise NotServed(NOT_SERVED)
        self.place = tempfile.TemporaryDirectory()
        version = subprocess.run([DAEMON, "--version"], capture_output=True, text=True, check=True).stdout
        if "slabd" in version:
            users = os.path.join(self.place.name, "users")
            with open(users, "w", encoding="utf-8") as file:
                file.write(f"{USER}:{PASSWORD}\n{OTHER_USER}:{HASHED}\n")
            super().__init__(extra=["-S", "-Y", users])
        else:
            super().__init__(extra=["-S"], env={**os.environ, "SASL_CONF_PATH": self._database()})

    def _database(self):
        database = os.path.join(self.place.name, "db")
        for user in USER, OTHER_USER:
            command = ["saslpasswd2", "-p", "-c", "-a", "memcached", "-f", database, user]
            try:
                subprocess.run(command, input=PASSWORD, text=True, check=True)
            except FileNotFoundError:
                raise NotServed("no saslpasswd2 to tell memcached its users") from None
        with open(os.path.join(self.place.name, "memcached.conf"), "w", encoding="utf-8") as file:
            file.write("mech_list: plain\npwcheck_method: auxprop\nauxprop_plugin: sasldb\n")
            file.write(f"sasldb_path: {database}\n")
        return self.place.name

    def __exit__(self, *_):
        self.kill()
        self.place.cleanup()


def refused(call, what):
    """The call raises, or says that nothing was done."""
    try:
        answer = call()
    except Exception:
        return
    true(not answer, f"{what} is refused")


def bmemcached_sasl():
    with SaslDaemon() as daemon:
        for user in USER, OTHER_USER:
            client = bmemcached.Client([daemon.address], user, PASSWORD, socket_timeout=10)
            true(client.set("a", user), "set")
            equal(client.get("a"), user, "get")
            true(client.set_multi({"b": b"1", "c": b"2"}) == [], "set_multi")
            equal(client.get_multi(["b", "c", "none"]), {"b": b"1", "c": b"2"}, "get_multi")
            equal(client.incr("number", 1, default=7), 7, "incr")
            true(client.delete("number"), "delete")
            # Every connection has to log in for itself.
            client.disconnect_all()
            equal(client.get("a"), user, "get over a new connection")
        for credentials in [(USER, "open"), (USER, PASSWORD + "x"), (OTHER_USER, HASHED), ("mallory", PASSWORD), ()]:
            who = f"somebody as {credentials}"
            refused(lambda: bmemcached.Client([daemon.address], *credentials, socket_timeout=10).set("a", "x"), who)
            refused(lambda: bmemcached.Client([daemon.address], *credentials, socket_timeout=10).get("a"), who)
        equal(client.get("a"), OTHER_USER, "get by who is logged in, after all that")


def pylibmc_sasl():
    true(pylibmc.support_sasl, "this pylibmc knows SASL")
    with SaslDaemon() as daemon:
        for user in USER, OTHER_USER:
            client = pylibmc.Client([daemon.address], binary=True, username=user, password=PASSWORD)
            true(client.set("a", user), "set")
            equal(client.get("a"), user, "get")
            equal(client.set_multi({"b": 1, "c": 2}), [], "set_multi")
            equal(client.get_multi(["b", "c", "none"]), {"b": 1, "c": 2}, "get_multi")
            equal(client.incr("b", 5), 6, "incr")
        for credentials in [{"username": USER, "password": "open"}, {"username": "mallory", "password": PASSWORD}, {}]:
            stranger = pylibmc.Client([daemon.address], binary=True, **credentials)
            refused(lambda: stranger.set("a", "x"), f"set by somebody as {credentials}")
        equal(client.get("a"), OTHER_USER, "get by who is logged in, after all that")


def spymemcached(protocol, daemon, *credentials):
    command = ["java", "-cp", SPYMEMCACHED, "Checks", protocol, daemon.address, *credentials]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60)
    return done.returncode, done.stdout


def spymemcached_text():
    with Daemon() as daemon:
        equal(spymemcached("text", daemon), (0, ""), "all calls")


def spymemcached_binary():
    with binary_daemon() as daemon:
        equal(spymemcached("binary", daemon), (0, ""), "all calls")


def spymemcached_sasl():
    with SaslDaemon() as daemon:
        equal(spymemcached("binary", daemon, USER, PASSWORD), (0, ""), "all calls")
        equal(spymemcached("binary", daemon, OTHER_USER, PASSWORD, "ask"), (0, ""), "all calls, asking for mechanisms")
        for credentials in [(USER, "open"), ()]:
            equal(spymemcached("binary", daemon, *credentials)[0], 2, f"a first set by somebody as {credentials}")


def meta_memcache_client(*daemons):
    servers = [ServerAddress(HOST, daemon.port) for daemon in daemons]
    factory = connection_pool_factory_builder(connection_timeout=10, recv_timeout=10)
    return CacheClient.cache_client_from_servers(servers, factory)


def meta_memcache():
    with meta_daemon() as daemon:
        client = meta_memcache_client(daemon)
        values = {"text": "gr\u00fc\u00dfe", "bytes": os.urandom(100 * 1024), "empty": b"", "list": [1, None], "int": 2**40}
        values["long"] = os.urandom(1024 * 1024 - 2000)
        for key, value in values.items():
            true(client.set(key, value, ttl=1000), f"set {key}")
            equal(client.get(key), value, f"get {key}")
        equal(client.get("none"), None, "get of nothing")
        expected = {Key(key): value for key, value in {**values, "none": None}.items()}
        equal(client.multi_get([*values, "none"]), expected, "multi_get")

        # A key that cannot be said as it is goes as base64; so does one that is too long, hashed.
        for key in ["gr\u00fc\u00dfe", "with blanks \r\n", "k" * 300]:
            true(client.set(key, b"x", ttl=1000), f"set {key}")
            equal(client.get(key), b"x", f"get {key}")
            equal(client.multi_get([key, "empty"]), {Key(key): b"x", Key("empty"): b""}, f"multi_get {key}")
            true(client.delete(key), f"delete {key}")

        true(not client.set("text", "x", ttl=0, set_mode=SetMode.ADD), "add to something")
        true(not client.refill("text", "x", ttl=0), "refill of something")
        true(client.refill("new", b"b", ttl=0), "refill")
        true(client.set("new", b"c", ttl=0, set_mode=SetMode.REPLACE), "replace")
        true(not client.set("none", b"c", ttl=0, set_mode=SetMode.REPLACE), "replace of nothing")
        true(client.set("new", b">", ttl=0, set_mode=SetMode.APPEND), "append")
        true(client.set("new", b"<", ttl=0, set_mode=SetMode.PREPEND), "prepend")
        equal(client.get("new"), b"<c>", "get after append and prepend")
        true(client.set("new", b"quiet", ttl=0, no_reply=True), "set without an answer")
        equal(client.get("new", touch_ttl=500), b"quiet", "get and touch")
        true(client.touch("new", ttl=100), "touch")
        true(not client.touch("none", ttl=100), "touch of nothing")

        with_cas = meta_memcache_cas(client, daemon)

        # Marked as out of date, one client is to make it anew, the others still have what there was.
        policy = StalePolicy(mark_stale_on_deletion_ttl=30, mark_stale_on_cas_mismatch=True)
        true(client.delete("new", stale_policy=policy), "delete, which marks")
        value, cas = client.get_cas("new")
        equal(value, None, "get by the one who is to make it anew")
        equal(client.get("new"), b"quiet", "get by another")
        true(client.set("new", b"f", ttl=1000, cas_token=cas, stale_policy=policy), "set of what was marked")
        equal(client.get("new"), b"f", "get of what was made anew")
        equal(client.get("new", recache_policy=RecachePolicy(ttl=2000)), None, "get by the one who is to be early")
        equal(client.get("new", recache_policy=RecachePolicy(ttl=2000)), b"f", "get by another")

        lease = LeasePolicy(ttl=30, miss_retries=2, miss_retry_wait=0.01)
        equal(client.get_or_lease("leased", lease), None, "get by the one who has the lease")
        made = []

        def meanwhile(_seconds):
            made.append(client.set("leased", b"made", ttl=1000))

        got = client.get_or_lease("leased", lease, lease_wait_fn=meanwhile)
        equal((got, made), (b"made", [True]), "get by who waits for the lease")

        equal(client.delta("counter", 1), False, "delta of nothing")
        equal(client.delta_initialize_and_get("counter", 5, initial_value=10, initial_ttl=60), 10, "delta, which makes")
        equal(client.delta_initialize_and_get("counter", 5, initial_value=10, initial_ttl=60), 15, "delta")
        equal(client.delta_and_get("counter", -6), 9, "delta down")
        equal(client.delta_and_get("counter", -100), 0, "delta below nothing")
        true(client.delta("counter", 3, no_reply=True), "delta without an answer")
        equal(client.delta_and_get("counter", 1, refresh_ttl=10), 4, "delta with a lifetime")

        true(client.delete("counter"), "delete")
        true(not client.delete("counter"), "delete of nothing")
        true(client.invalidate("counter"), "invalidate of nothing")
        return None if with_cas else "without CAS numbers, of which this client reads 32 bits"


def meta_memcache_cas(client, daemon):
    """CAS by this client, which reads numbers of 32 bits, as a memcached gives for its first 2^32 stores, and takes others for none.
    False if that is what came, and nothing could be compared.
    """
    true(client.set("compared", b"a", ttl=1000), "set")
    value, cas = client.get_cas("compared")
    equal(value, b"a", "get_cas")
    if cas is None:
        number = exchange(daemon.port, b"mg compared c\r\n", b"\r\n")
        true(int(re.fullmatch(rb"HD c(\d+)\r\n", number)[1]) >= 2**32, f"a number that this client cannot read: {number}")
        return False
    newer = client.set_cas("compared", b"d", ttl=1000, cas_token=cas)
    true(newer and newer != cas, "set_cas")
    true(not client.set("compared", b"e", ttl=1000, cas_token=cas), "set with a number of before")
    true(not client.delete("compared", cas_token=cas), "delete with a number of before")
    equal(client.get_cas("compared"), (b"d", newer), "get_cas after set_cas")
    return True


def meta_memcache_distributed():
    with meta_daemon() as first, Daemon() as second, Daemon() as third:
        client = meta_memcache_client(first, second, third)
        keys = {Key(f"key{index}"): str(index).encode() for index in range(3000)}
        for key, value in keys.items():
            true(client.set(key, value, ttl=1000, no_reply=True), f"set {key}")
        equal(client.multi_get(list(keys)), keys, "multi_get over three daemons")


# What Ruby's Dalli 5 sends, byte by byte, and what it has to read: each `<cas>` that comes is what the next one sent means.
# Its strings are marshalled (flag 1), long ones compressed as well (flag 2), numbers are text.
HELLO = b'\x04\bI"\nhello\x06:\x06ET'
DALLI = [
    ("it begins", b"version\r\n", b"VERSION <version>\r\n"),
    ("get of nothing", b"mg none v f\r\n", b"EN\r\n"),
    ("set", b"ms key 15 c F1 T0 MS\r\n" + HELLO + b"\r\n", b"HD c<cas>\r\n"),
    ("get", b"mg key v f\r\n", b"VA 15 f1\r\n" + HELLO + b"\r\n"),
    ("set of raw bytes", b"ms raw 7 c F0 T300 MS\r\nVA 1\r\n\0\r\n", b"HD c<cas>\r\n"),
    ("get of raw bytes", b"mg raw v\r\n", b"VA 7\r\nVA 1\r\n\0\r\n"),
    ("get with the number", b"mg key v f c\r\n", b"VA 15 f1 c<cas>\r\n" + HELLO + b"\r\n"),
    ("set with it", b"ms key 2 c F0 C<cas> T60 MS\r\nv2\r\n", b"HD c<cas>\r\n"),
    ("set with another", b"ms key 2 c F0 C1 T60 MS\r\nv3\r\n", b"EX c0\r\n"),
    ("set of nothing with a number", b"ms none 2 c F0 C1 T60 MS\r\nv3\r\n", b"NF c0\r\n"),
    ("add to something", b"ms key 2 c F0 T60 ME\r\nv4\r\n", b"NS c0\r\n"),
    ("add", b"ms new 1 c F0 T60 ME\r\nb\r\n", b"HD c<cas>\r\n"),
    ("replace", b"ms new 1 c F0 T60 MR\r\nc\r\n", b"HD c<cas>\r\n"),
    ("replace of nothing", b"ms none 1 c F0 T60 MR\r\nc\r\n", b"NS c0\r\n"),
    ("append", b"ms new 1 MA\r\n>\r\n", b"HD\r\n"),
    ("prepend", b"ms new 1 MP\r\n<\r\n", b"HD\r\n"),
    ("append to nothing", b"ms none 1 MA\r\n>\r\n", b"NS\r\n"),
    ("get of the result", b"mg new v f\r\n", b"VA 3 f0\r\n<c>\r\n"),
    ("touch", b"mg new T100\r\n", b"HD\r\n"),
    ("touch of nothing", b"mg none T100\r\n", b"EN\r\n"),
    ("get and touch", b"mg new v f T200\r\n", b"VA 3 f0\r\n<c>\r\n"),
    ("a key that is not ASCII", b"ms Z3LDvMOfZQ== 1 c b F0 T60 MS\r\nx\r\n", b"HD c<cas>\r\n"),
    ("get of it", b"mg Z3LDvMOfZQ== v f b\r\n", b"VA 1 f0\r\nx\r\n"),
    (
        "get of many, which ends with a no-op",
        b"mg key v f k q s\r\nmg none v f k q s\r\nmg Z3LDvMOfZQ== v f b k q s\r\nmg new v f k q s\r\nmn\r\n",
        b"VA 2 f0 kkey s2\r\nv2\r\nVA 1 f0 kZ3LDvMOfZQ== b s1\r\nx\r\nVA 3 f0 knew s3\r\n<c>\r\nMN\r\n",
    ),
    (
        "set of many",
        b"ms m1 1 c F0 T60 MS q\r\n1\r\nms m2 1 c F0 T60 MS q\r\n2\r\nms m3 1 c F0 C1 T60 MS q\r\n3\r\nmn\r\n",
        b"NF c0\r\nMN\r\n",
    ),
    ("delete of many", b"md m1 q\r\nmd none q\r\nmd m2 q\r\nmn\r\n", b"NF\r\nMN\r\n"),
    ("get of what was deleted", b"mg m1 v f k q s\r\nmg m2 v f k q s\r\nmn\r\n", b"MN\r\n"),
    ("incr of nothing", b"ma count v D1 MI\r\n", b"NF\r\n"),
    ("incr, which makes it", b"ma count v D1 J10 N0 MI\r\n", b"VA 2\r\n10\r\n"),
    ("incr", b"ma count v D5 J10 N0 MI\r\n", b"VA 2\r\n15\r\n"),
    ("decr", b"ma count v D16 MD\r\n", b"VA 1\r\n0\r\n"),
    ("incr of something else", b"ma new v D1 MI\r\n", b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
    ("delete with another number", b"md key C1\r\n", b"EX\r\n"),
    ("delete", b"md key\r\n", b"HD\r\n"),
    ("delete of nothing", b"md key\r\n", b"NF\r\n"),
    ("fetch with a lock, the winner", b"mg page v f c N30 R30\r\n", b"VA 0 f0 c<cas> W\r\n\r\n"),
    ("and another", b"mg page v f c N30 R30\r\n", b"VA 0 f0 c<other> Z\r\n\r\n"),
    ("the winner stores", b"ms page 4 c F0 C<cas> T300 MS\r\ndone\r\n", b"HD c<cas>\r\n"),
    ("and another again", b"mg page v f c N30 R30\r\n", b"VA 4 f0 c<cas>\r\ndone\r\n"),
    ("it is out of date", b"md page T30 I\r\n", b"HD\r\n"),
    ("the next winner", b"mg page v f c N30 R30\r\n", b"VA 4 f0 c<cas> X W\r\ndone\r\n"),
    ("a look without a trace", b"mg new v f h l u\r\n", b"VA 3 f0 h1 l0\r\n<c>\r\n"),
    ("flush", b"flush_all\r\n", b"OK\r\n"),
    ("quiet flush", b"flush_all 0 noreply\r\nmn\r\n", b"MN\r\n"),
    ("all is gone", b"mg page v f k q s\r\nmg new v f k q s\r\nmn\r\n", b"MN\r\n"),
]


def dalli():
    with meta_daemon() as daemon, connect(daemon.port) as stream:
        cas = b""
        for what, sent, expected in DALLI:
            stream.sendall(sent.replace(b"<cas>", cas))
            pattern = re.escape(expected).replace(rb"<cas>", rb"(?P<cas>[1-9][0-9]*)").replace(rb"<version>", rb"\S+")
            pattern = pattern.replace(rb"<other>", rb"[1-9][0-9]*")
            got = b""
            while not re.fullmatch(pattern, got):
                stream.settimeout(2)
                try:
                    more = stream.recv(65536)
                except TimeoutError:
                    more = b""
                if not more:
                    raise AssertionError(f"{what}: got {got!r}, expected {expected!r}")
                got += more
            found = re.fullmatch(pattern, got).groupdict()
            cas = found.get("cas", cas)


run(
    [
        ("spymemcached: text", spymemcached_text),
        ("spymemcached: binary", spymemcached_binary),
        ("spymemcached: binary, SASL", spymemcached_sasl),
        ("python-binary-memcached: SASL", bmemcached_sasl),
        ("pylibmc: binary, SASL", pylibmc_sasl),
        ("meta-memcache: one daemon", meta_memcache),
        ("meta-memcache: three daemons", meta_memcache_distributed),
        ("Dalli's streams of meta commands", dalli),
    ]
)

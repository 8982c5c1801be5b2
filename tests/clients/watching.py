"""Those who watch: memcached-tool, exporters for Prometheus, and promtool on what slabd tells Prometheus itself.

Exporters read `stats`, `stats settings`, `stats items` and `stats slabs` by the names of rows. Every row that a real memcached has must be there,
in its order, and be a number where memcached's is one. Where prometheus' own exporter is at hand (memcached_exporter, or
prometheus-memcached-exporter as distributions call it) it is run against both, and must make the same metrics of both.
"""

import os
import re
import resource
import shutil
import subprocess
import urllib.request

from common import DAEMON, HOST, Daemon, NotServed, Process, connect, equal, exchange, free_port, run, true, until

TOOL = "/usr/share/memcached/scripts/memcached-tool"
EXPORTER = shutil.which("memcached_exporter") or shutil.which("prometheus-memcached-exporter")
# What only a memcached with TLS or storage on disk has, and what slabd follows a later release in.
OTHERS = re.compile(r"ext_|ssl_|slab_automove_freeratio|extstore|badcrc|proxy|slab_reassign_evictions_nomem")


class Memcached(Daemon):
    """A real one."""

    def __init__(self):
        self.port = free_port()
        Process.__init__(self, ["memcached", "-u", "root", "-l", HOST, "-p", str(self.port), "-t", "2"])
        self.address = f"{HOST}:{self.port}"
        until(self._listens, 10, "memcached listens")


def use(daemon):
    """A little of everything that is counted."""
    for request, end in [
        (b"set a 0 0 1\r\n1\r\n", b"STORED\r\n"),
        (b"set b 0 0 10000\r\n" + b"x" * 10000 + b"\r\n", b"STORED\r\n"),
        (b"get a b none\r\n", b"END\r\n"),
        (b"incr a 1\r\n", b"2\r\n"),
        (b"touch a 0\r\n", b"TOUCHED\r\n"),
        (b"cas a 0 0 1 1\r\n1\r\n", b"EXISTS\r\n"),
        (b"delete none\r\n", b"NOT_FOUND\r\n"),
    ]:
        exchange(daemon.port, request, end)


def rows(daemon, topic):
    answer = exchange(daemon.port, f"stats{topic}\r\n".encode(), b"END\r\n").decode()
    return [line.split(" ", 2)[1:] for line in answer.splitlines() if line.startswith("STAT ")]


def tool(mode, expected):
    with Daemon() as daemon:
        use(daemon)
        if mode == "sizes":
            exchange(daemon.port, b"stats sizes_enable\r\n", b"enabled\r\n")
            use(daemon)
        done = subprocess.run(["perl", TOOL, daemon.address, mode], capture_output=True, text=True, timeout=20)
        equal((done.returncode, done.stderr), (0, ""), f"memcached-tool {mode}")
        for pattern in expected:
            true(re.search(pattern, done.stdout, re.M), f"{pattern} in {done.stdout}")


def has_memcacheds_rows(topic):
    with Daemon() as daemon, Memcached() as memcached:
        use(daemon)
        use(memcached)

        def known(daemon):
            # Classes have other numbers.
            rename = lambda name: re.sub(r"^(items:)?\d+:", r"\1", name)
            return {rename(name): value for name, value in rows(daemon, topic) if not OTHERS.match(name)}

        ours, theirs = known(daemon), known(memcached)
        common = [name for name in ours if name in theirs]
        equal(common, list(theirs), f"rows of stats{topic}, in order")
        number = re.compile(r"-?\d+(\.\d+)?$")
        # Of these memcached's own depend on how it was built or started.
        text = {"num_napi_ids"}
        for name in theirs.keys() - text:
            equal(bool(number.match(ours[name])), bool(number.match(theirs[name])), f"{name} is a number")
        return f"{len(theirs)} rows"


def topics_are_answered_alike():
    asked = b"".join(
        line + b"\r\n"
        for line in b"""stats detail dump
stats detail
stats detail of
set a:b 0 0 1
x
stats detail on
set a:b 0 0 1
x
set nopre 0 0 1
x
set :x 0 0 1
x
get a:b a:c zz :x
get a:b
gat 0 a:b a:d
add a:b 0 0 1
1
incr a:b 1
delete a:b
delete a:nope
touch :x 0
stats detail off
get a:b
stats sizes
stats sizes_enable
stats sizes_disable
stats sizes
stats sizes_enable word
stats sizes_disable
stats nothing
stats reset
stats detail dump""".split(b"\n")
    )
    uses = b"stats detail on\r\nset a:b 0 0 1\r\nx\r\nget a:b a:c b:1 :c none\r\ngat 0 a:b\r\ndelete b:1\r\n"
    with Daemon() as daemon, Memcached() as memcached:
        both = (daemon, memcached)
        equal(*(exchange(each.port, asked, b"RESET\r\nEND\r\n") for each in both), "answers")
        equal(*(exchange(each.port, uses, b"NOT_FOUND\r\n") for each in both), "answers")
        # They come in no particular order of memcached.
        dumps = (exchange(each.port, b"stats detail dump\r\n", b"END\r\n") for each in both)
        equal(*(sorted(dump.splitlines()) for dump in dumps), "prefixes")


def exported(daemon):
    """Names of metrics that the exporter makes of a daemon's numbers."""
    port = free_port()
    command = [EXPORTER, f"--memcached.address={daemon.address}", f"--web.listen-address={HOST}:{port}"]
    with Process(command) as exporter:
        pages = []

        def answers():
            try:
                pages.append(urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5).read().decode())
            except OSError:
                return False
            return True

        until(answers, 10, f"the exporter answers: {exporter.said()}")
        return {
            re.split("[ {]", line)[0]
            for line in pages[-1].splitlines()
            if line.startswith("memcached_") and not line.startswith("memcached_exporter")
        } | {line for line in pages[-1].splitlines() if line.startswith("memcached_up")}


def exporter_makes_the_same_of_both():
    if not EXPORTER:
        raise NotServed("memcached_exporter is not installed")
    with Daemon() as daemon, Memcached() as memcached:
        use(daemon)
        use(memcached)
        ours, theirs = exported(daemon), exported(memcached)
        equal(sorted(theirs - ours), [], "metrics of memcached that slabd does not yield")
        return f"{len(theirs)} metrics"


def promtool_accepts_the_metrics():
    options = subprocess.run([DAEMON, "--help"], capture_output=True, text=True).stdout
    if "--metrics" not in options:
        raise NotServed("no option --metrics")
    port = free_port()
    with Daemon(extra=["--metrics", f"{HOST}:{port}"]) as daemon:
        use(daemon)
        page = urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=5).read()
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=20)
        equal((done.returncode, done.stdout + done.stderr), (0, b""), "promtool check metrics")
        return f"{len([line for line in page.splitlines() if not line.startswith(b'#')])} samples"


def want_of_descriptors_is_told():
    with Daemon() as daemon, connect(daemon.port) as client:
        reader = client.makefile("rb")

        def number(name):
            client.sendall(b"stats\r\n")
            numbers = {}
            while (line := reader.readline()) != b"END\r\n":
                numbers.update([line.decode().split()[1:3]])
            return int(numbers[name])

        equal((number("accepting_conns"), number("listen_disabled_num")), (1, 0), "before")
        if "slabd" not in rows(daemon, "")[3][1]:
            raise NotServed("memcached has no limit at hand to be lowered")
        used = max(int(fd) for fd in os.listdir(f"/proc/{daemon.popen.pid}/fd")) + 1
        before = resource.prlimit(daemon.popen.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.popen.pid, resource.RLIMIT_NOFILE, (used, before[1]))
        others = [connect(daemon.port) for _ in range(5)]
        until(lambda: number("accepting_conns") == 0, 10, "accepting stops")
        equal(number("listen_disabled_num"), 1, "times that it stopped")
        resource.prlimit(daemon.popen.pid, resource.RLIMIT_NOFILE, before)
        until(lambda: number("accepting_conns") == 1, 10, "accepting goes on")
        until(lambda: number("curr_connections") == 6, 10, "those who waited are served")
        stopped = number("time_in_listen_disabled_us")
        true(stopped > 1000, f"{stopped} us without accepting")
        for other in others:
            other.close()


run(
    [
        ("memcached-tool: display", lambda: tool("display", [r"^ *# +Item_Size", r"^ +\d+ +\d+B +0s +1 +1 "])),
        ("memcached-tool: stats", lambda: tool("stats", [r" curr_items +2$", r" get_hits +2$", r" threads +2$"])),
        ("memcached-tool: settings", lambda: tool("settings", [r" maxbytes +67108864$", r" cas_enabled +yes$"])),
        ("memcached-tool: sizes", lambda: tool("sizes", [r"^ +\d+ +1$"])),
        ("stats has memcached's rows", lambda: has_memcacheds_rows("")),
        ("stats settings has memcached's rows", lambda: has_memcacheds_rows(" settings")),
        ("stats items has memcached's rows", lambda: has_memcacheds_rows(" items")),
        ("stats slabs has memcached's rows", lambda: has_memcacheds_rows(" slabs")),
        ("stats detail, sizes, reset: memcached's answers", topics_are_answered_alike),
        ("memcached_exporter: the same metrics of both", exporter_makes_the_same_of_both),
        ("stats: want of descriptors", want_of_descriptors_is_told),
        ("promtool: check metrics", promtool_accepts_the_metrics),
    ]
)

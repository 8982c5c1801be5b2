"""What the checks of clients share: daemons they may kill, comparisons, and the loop that prints a line per check."""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HOST = "127.0.0.1"
DAEMON = os.environ["SLABD"]
README = os.path.join(os.path.dirname(__file__), "..", "..", "README.md")


def equal(got, expected, what):
    if got != expected:
        shown = [repr(value)[:200] for value in (got, expected)]
        raise AssertionError(f"{what}: got {shown[0]}, expected {shown[1]}")


def true(got, what):
    if not got:
        raise AssertionError(f"{what}: got {got!r}")


def free_port():
    """A port below those the system gives to clients, so that no connection of anybody takes it while a daemon is away."""
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
                return port
            except OSError:
                pass


def connect(port, timeout=10):
    return socket.create_connection((HOST, port), timeout)


def exchange(port, data, end):
    """Sends bytes over a connection of its own; what comes back until `end` stands there."""
    with connect(port) as stream:
        stream.sendall(data)
        answer = b""
        while not answer.endswith(end):
            more = stream.recv(65536)
            if not more:
                raise ConnectionError(f"closed after {answer[-200:]!r}")
            answer += more
        return answer


def until(condition, seconds, what):
    """Waits for a condition; how long it took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - begun


class Process:
    """A program of ours, which is gone when the block ends, and what it said."""

    def __init__(self, command, **options):
        self.log = tempfile.TemporaryFile()
        self.popen = subprocess.Popen(command, stdout=self.log, stderr=self.log, **options)

    def kill(self):
        self.popen.kill()
        self.popen.wait()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Daemon(Process):
    """The daemon under test, on a free port or on one that it had before."""

    def __init__(self, port=None, extra=(), env=None):
        tries = 1 if port else 5
        while True:
            self.port = port or free_port()
            options = ["-l", HOST, "-p", str(self.port), "-t", "2", "-m", "64", "-u", "root", *extra]
            super().__init__([DAEMON, *options], stdin=subprocess.DEVNULL, env=env)
            self.address = f"{HOST}:{self.port}"
            tries -= 1
            try:
                until(self._listens, 10, "the daemon listens")
                return
            except AssertionError:
                self.kill()
                if tries == 0:
                    raise AssertionError(f"{DAEMON} does not start: {self.said()}") from None

    def _listens(self):
        if self.popen.poll() is not None:
            raise AssertionError("ended")
        try:
            connect(self.port, 1).close()
        except OSError:
            return False
        # A stranger may have been given the port in between: then ours has ended, or does so now.
        time.sleep(0.05)
        return self.popen.poll() is None


class NotServed(Exception):
    """The daemon under test does not serve what the check is about."""


def run(checks):
    """Runs named checks, which may return what they measured. The exit code is 0 if none failed."""
    failed = False
    for name, check in checks:
        try:
            measured = check()
            print(f"PASS {name}" + (f": {measured}" if measured else ""), flush=True)
        except NotServed as reason:
            print(f"SKIP {name}: {reason}", flush=True)
        except Exception:
            failed = True
            print(f"FAIL {name}", flush=True)
            traceback.print_exc(file=sys.stdout)
    sys.exit(failed)

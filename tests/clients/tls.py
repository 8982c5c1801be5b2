"""Clients that speak TLS against daemons of their own, whose certificates openssl makes: openssl s_client, pymemcache, and libmemcached's
tools. libmemcached has no TLS of its own: socat, with OpenSSL, stands in front of it.

Prints one PASS or FAIL line per check; exits with 1 if any failed.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import tempfile

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

from common import HOST, Daemon, Process, connect, equal, free_port, run, true, until

PLACE = tempfile.TemporaryDirectory()


def path(name):
    return os.path.join(PLACE.name, name)


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make(name, issuer):
    """A key, as PKCS#1, and a certificate by an authority."""
    openssl("genrsa", "-traditional", "-out", path(f"{name}.key"), "2048")
    openssl("req", "-new", "-key", path(f"{name}.key"), "-subj", f"/CN={name}", "-out", path("request"))
    with open(path("extensions"), "w", encoding="utf-8") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    arguments = ["-in", path("request"), "-days", "2", "-extfile", path("extensions"), "-out", path(f"{name}.pem")]
    openssl("x509", "-req", *arguments, "-CA", path(f"{issuer}.pem"), "-CAkey", path(f"{issuer}.key"), "-CAcreateserial")


def make_all():
    for name in "ca", "strangers":
        files = ["-keyout", path(f"{name}.key"), "-out", path(f"{name}.pem")]
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", *files)
    make("server", "ca")
    make("client", "ca")
    make("stranger", "strangers")


def daemon(mutual, *options):
    own = [f"ssl_chain_cert={path('server.pem')}", f"ssl_key={path('server.key')}"]
    if mutual:
        own += [f"ssl_ca_cert={path('ca.pem')}", "ssl_verify_mode=2"]
    return Daemon(extra=["-Z", "-o", ",".join([*own, *options])])


def context(who=None, version=None):
    made = ssl.create_default_context(cafile=path("ca.pem"))
    if who:
        made.load_cert_chain(path(f"{who}.pem"), path(f"{who}.key"))
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def s_client(port, *arguments):
    """What comes back of a short conversation, and the exit code."""
    command = ["openssl", "s_client", "-connect", f"{HOST}:{port}", "-CAfile", path("ca.pem"), "-verify_return_error"]
    said = b"set a 0 0 5\r\nhello\r\nget a\r\nquit\r\n"
    done = subprocess.run([*command, "-quiet", *arguments], input=said, capture_output=True, timeout=20)
    return done.stdout, done.returncode


HELLO = b"STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\n"


def s_client_checks(mutual):
    shown = ["-cert", path("client.pem"), "-key", path("client.key")] if mutual else []
    with daemon(mutual) as served:
        for version in "-tls1_2", "-tls1_3":
            equal(s_client(served.port, version, *shown), (HELLO, 0), version)
        equal(s_client(served.port, "-tls1_1", *shown)[0], b"", "an old version")
        if mutual:
            for strange in [], ["-cert", path("stranger.pem"), "-key", path("stranger.key")]:
                equal(s_client(served.port, *strange)[0], b"", f"with {strange}")
    with daemon(mutual, "ssl_min_version=3") as served:
        equal(s_client(served.port, "-tls1_2", *shown)[0], b"", "an older version than is wanted")
        equal(s_client(served.port, "-tls1_3", *shown), (HELLO, 0), "the version that is wanted")


def pymemcache_checks(mutual):
    who = "client" if mutual else None
    with daemon(mutual) as served:
        address = (HOST, served.port)
        for version in None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            secure = context(who, version)
            for client in [
                Client(address, tls_context=secure, timeout=10),
                PooledClient(address, tls_context=secure, timeout=10),
                HashClient([address], tls_context=secure, timeout=10),
            ]:
                for length in [0, 1, 1000, 16 * 1024, 100 * 1024, 1024 * 1024 - 512]:
                    value = os.urandom(length)
                    true(client.set("key", value, noreply=False), f"set of {length} bytes")
                    equal(client.get("key"), value, f"get of {length} bytes")
                many = {f"k{number}": os.urandom(number * 100) for number in range(200)}
                equal(client.set_many(many, noreply=False), [], "set_many")
                equal(client.get_many([*many, "none"]), many, "get_many")
                client.set("number", b"10")
                equal(client.incr("number", 5), 15, "incr, after a set without an answer")
                client.quit()
        if mutual:
            for strange in None, "stranger":
                try:
                    Client(address, tls_context=context(strange), timeout=10).get("key")
                except OSError:
                    continue
                raise AssertionError(f"let in as {strange}")


@contextlib.contextmanager
def through_socat(served, mutual):
    """A port in the clear, behind which is the daemon."""
    port = free_port()
    shown = f",cert={path('client.pem')},key={path('client.key')}" if mutual else ""
    target = f"OPENSSL:{HOST}:{served.port},cafile={path('ca.pem')},commonname=localhost{shown}"
    with Process(["socat", f"TCP-LISTEN:{port},bind={HOST},fork,reuseaddr,nodelay", target]):

        def listens():
            with contextlib.suppress(OSError):
                connect(port, 1).close()
                return True

        until(listens, 10, "socat listens")
        yield port


def libmemcached_checks(mutual):
    with daemon(mutual) as served, through_socat(served, mutual) as port:
        for protocol in "-a", "-b":
            command = ["memccapable", "-h", HOST, "-p", str(port), protocol]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            said = done.stdout + done.stderr
            true(said.count("[pass]") >= 25 and "fail" not in said.lower(), f"memccapable {protocol}: {said[-2000:]}")
        for test in "set", "get", "mget":
            command = ["memcslap", "-s", f"{HOST}:{port}", "--concurrency=4", "--execute-number=500", "--flush"]
            subprocess.run([*command, f"--test={test}"], check=True, capture_output=True, timeout=120)


def reload():
    with daemon(False) as served:
        with socket.create_connection((HOST, served.port), 10) as stream:
            with context().wrap_socket(stream, server_hostname="localhost") as opened:
                old = opened.getpeercert()["serialNumber"]
                make("server", "ca")
                served.popen.send_signal(signal.SIGHUP)

                def is_new():
                    with socket.create_connection((HOST, served.port), 10) as other:
                        with context().wrap_socket(other, server_hostname="localhost") as shown:
                            return shown.getpeercert()["serialNumber"] != old

                until(is_new, 10, "the new certificate is shown")
                opened.sendall(b"get x\r\n")
                equal(opened.recv(100), b"END\r\n", "over the connection from before")


make_all()
run(
    [
        (f"{name}, {'mutual' if mutual else 'plain'} TLS", lambda check=check, mutual=mutual: check(mutual))
        for name, check in [
            ("openssl s_client", s_client_checks),
            ("pymemcache", pymemcache_checks),
            ("memccapable and memcslap behind socat", libmemcached_checks),
        ]
        for mutual in (False, True)
    ]
    + [("new certificates by SIGHUP, seen by Python", reload)]
)

"""What clients that mean harm send, over raw sockets: each is refused in time, and the server is as well as before."""

import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

SECONDS, MEGABYTES = 5.0, 50
CLOSED = 0
"""In place of a status: the connection was closed without a word."""

POST = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
WRITE = POST.replace(b"/v1/search", b"/v1/documents")
BODY = b'{"query": "bread"}'


def get(path, *headers):
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *headers, b"", b""])


def post(body, *headers):
    length = b"Content-Length: %d" % len(body)
    return POST + b"\r\n".join([b"Connection: close", length, *headers, b"", b""]) + body


def drip(first, *, byte=b"a", every=0.2):
    """Something, and then a byte now and then."""
    yield first
    while True:
        time.sleep(every)
        yield byte


def flood(first, piece, times):
    yield first
    for _ in range(times):
        yield piece


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
ATTACKS = {
    # Never ending.
    "half a request line": (lambda: [b"GET /live"], {408}),
    "half-sent headers": (lambda: [b"GET /livez HTTP/1.1\r\nHost: local"], {408}),
    "headers byte by byte": (lambda: drip(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: "), {408}),
    "not a word": (list, {408}),
    "a second request that ends not": (lambda: [get(b"/livez").replace(b"close", b"keep-alive"), b"GET /"], {200, 408}),
    "a body that never comes": (lambda: [POST + b"Content-Length: 100\r\n\r\n"], {408}),
    "a body byte by byte": (lambda: drip(POST + b"Content-Length: 1000\r\n\r\n{"), {408}),
    "chunks byte by byte": (lambda: drip(CHUNKED, byte=b"1\r\na\r\n"), {408}),
    "a body that waits to be asked for": (
        lambda: [POST + b"Expect: 100-continue\r\nContent-Length: 10\r\n\r\n"], {100, 408},
    ),
    # Too large.
    "a gigabyte announced": (lambda: [POST + b"Content-Length: 1073741824\r\n\r\n"], {413}),
    "a gigabyte to be written": (lambda: [WRITE + b"Content-Length: 1073741824\r\n\r\n"], {403}),
    "a gigabyte in chunks": (lambda: flood(CHUNKED, b"100000\r\n" + b"a" * (1 << 20) + b"\r\n", 1024), {413, CLOSED}),
    "a chunk without end": (lambda: flood(CHUNKED + b"FFFFFFFF\r\n", b"a" * (1 << 20), 1024), {413, CLOSED}),
    "a length beyond all numbers": (lambda: [POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n"], {400, 413}),
    "a huge header": (lambda: [get(b"/livez", b"X: " + b"a" * (1 << 20))], {431, CLOSED}),
    "a header of 40 KiB": (lambda: [get(b"/livez", b"X: " + b"a" * 40_960)], {431}),
    "very many headers": (lambda: [get(b"/livez", *[b"X-%d: a" % number for number in range(20_000)])], {431, CLOSED}),
    "a long address": (lambda: [get(b"/v1/documents/" + b"a" * (1 << 20))], {431, CLOSED}),
    "a million empty lists": (lambda: [post(b"[" + b"[]," * 300_000 + b"[]]")], {422}),
    "lists in lists": (lambda: [post(b"[" * 500_000)], {400}),
    "objects in objects": (lambda: [post(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)], {400}),
    "a number of many digits": (lambda: [post(b'{"k": ' + b"9" * 500_000 + b"}")], {400}),
    # Not what it says.
    "two lengths": (lambda: [POST + b"Content-Length: 18\r\nContent-Length: 5\r\n\r\n" + BODY], {400}),
    "a length and chunks": (
        lambda: [POST + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"],
        {400, 422},
    ),
    "chunks by another name": (lambda: [POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"], {400, 501}),
    "two codings": (lambda: [POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"], {400, 501}),
    "a space before a colon": (lambda: [POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"], {400}),
    "a negative length": (lambda: [POST + b"Content-Length: -5\r\n\r\n" + BODY], {400}),
    "a length with a plus": (lambda: [POST + b"Content-Length: +18\r\n\r\n" + BODY], {400}),
    "a chunk of no size": (lambda: [CHUNKED + b"zz\r\n"], {400}),
    "a chunk of negative size": (lambda: [CHUNKED + b"-1\r\n"], {400}),
    "no host": (lambda: [b"GET /livez HTTP/1.1\r\n\r\n"], {400}),
    "two hosts": (lambda: [get(b"/livez", b"Host: evil.example")], {400}),
    "another site's name": (lambda: [get(b"/livez").replace(b"localhost", b"evil.example")], {421}),
    "another server's address": (lambda: [get(b"http://evil.example/livez")], {404}),
    "gzip": (lambda: [post(b"\x1f\x8b\x08" + b"\0" * 100, b"Content-Encoding: gzip")], {400}),
    "a form": (lambda: [post(BODY).replace(b"application/json", b"multipart/form-data; boundary=x")], {415}),
    "no UTF-8": (lambda: [post(b'{"query": "\xff\xfe"}')], {400}),
    "half a surrogate pair": (lambda: [post(b'{"query": "\\ud800"}')], {400}),
    "NaN": (lambda: [post(b'{"query": "a", "k": NaN}')], {400}),
    # Where it should not lead.
    "up the path": (lambda: [get(b"/v1/documents/../../../../etc/passwd")], {404}),
    "up the path, encoded": (lambda: [get(b"/v1/documents/%2e%2e%2f%2e%2e%2fetc%2fpasswd")], {404}),
    "up the path of jobs": (lambda: [get(b"/v1/jobs/..%2f..%2fetc%2fpasswd")], {404}),
    "a NUL in an id": (lambda: [get(b"/v1/documents/a%00b")], {404}),
    "no UTF-8 in an id": (lambda: [get(b"/v1/documents/%ff%fe%80")], {404}),
    "a NUL in the request": (lambda: [b"GET /livez\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"], {400}),
    "a header in an id": (lambda: [get(b"/v1/documents/a%0d%0aSet-Cookie:%20a=b")], {404}),
    "a header in a request id": (lambda: [get(b"/livez", b"X-Request-ID: a%0d%0aSet-Cookie: a=b")], {200}),
    "a NUL in a header": (lambda: [get(b"/livez", b"X-Request-ID: a\0b")], {400}),
    "a line feed alone in a header": (lambda: [get(b"/livez", b"X: a\nSet-Cookie: a=b")], {200, 400}),
    # Another protocol.
    "a method that is none": (lambda: [get(b"/livez").replace(b"GET", b"BREW")], {405}),
    "TRACE": (lambda: [get(b"/livez").replace(b"GET", b"TRACE")], {405}),
    "HTTP/2": (lambda: [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], {400, 505}),
    "HTTP/9": (lambda: [b"GET /livez HTTP/9.9\r\nHost: localhost\r\nConnection: close\r\n\r\n"], {505}),
    "TLS": (lambda: [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x8a" * 200], {400}),
    "a web socket": (
        lambda: [get(b"/livez", b"Upgrade: websocket").replace(b"close", b"Upgrade, close")], {200},
    ),
    "noise": (lambda: [bytes(range(256)) * 64], {400, 431}),
}  # fmt: skip


def attack(port, pieces):
    """Send pieces until an answer comes; its statuses, its bytes and how long it took."""
    begin, got = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        done = threading.Event()

        def send():
            try:
                for piece in pieces:
                    if done.is_set():
                        return
                    sock.sendall(piece)
            except OSError:
                pass

        sending = threading.Thread(target=send)
        sending.start()
        try:
            while piece := sock.recv(65_536):
                got += piece
        except ConnectionResetError:
            pass
        seconds = time.monotonic() - begin
        done.set()
        sending.join(30)
    statuses = {int(status) for status in re.findall(rb"HTTP/1.1 (\d{3}) ", got)}
    return statuses or {CLOSED}, got, seconds


@pytest.fixture(scope="module")
def attacked(server):
    """All attacks, some at a time, and how long anybody else waited meanwhile."""
    for _ in range(20):  # as large as it will be anyway
        httpx.post(f"{server.url}/v1/search", json={"query": "bread", "explain": True}, timeout=30)
    before, lags, over = (server.rss(), server.descriptors()), [0.0], threading.Event()

    def ping():
        while not over.wait(0.1):
            begin = time.monotonic()
            httpx.get(f"{server.url}/livez", timeout=30)
            lags.append(time.monotonic() - begin)

    pinging = threading.Thread(target=ping)
    pinging.start()
    with ThreadPoolExecutor(16) as pool:
        found = dict(zip(ATTACKS, pool.map(lambda name: attack(server.port, ATTACKS[name][0]()), ATTACKS), strict=True))
    over.set()
    pinging.join()
    return found, before, max(lags)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_in_time(attacked, name):
    found, _, lag = attacked
    statuses, got, seconds = found[name]
    assert statuses <= ATTACKS[name][1], got[:500]
    assert seconds < SECONDS + lag
    assert b"Traceback" not in got
    assert b"Set-Cookie" not in got
    if statuses != {CLOSED} and max(statuses) >= 400:
        assert b'"error"' in got


def test_the_server_is_as_well_as_before(attacked, server):
    _, (memory, descriptors), _ = attacked
    assert httpx.post(f"{server.url}/v1/search", json={"query": "bread"}, timeout=30).status_code == 200
    assert server.rss() - memory < MEGABYTES << 20
    assert server.descriptors() - descriptors <= 3
    assert not [line for line in server.log if line["level"] in ("error", "critical")]


def test_a_client_that_never_reads_holds_up_nobody(server):
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        request = get(b"/openapi.json").replace(b"close", b"keep-alive")
        for _ in range(200):
            try:
                sock.send(request)
            except BlockingIOError:
                break
        assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200

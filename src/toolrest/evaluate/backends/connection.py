"""A connection to an untrusted server, with limits on time and bytes.

A socket of our own below the standard library's reader of responses, as only there a body of one
byte a second, a header without an end and a signal to stop can all be seen in time.
"""

from __future__ import annotations

import base64
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from toolrest.errors import InputError

MOST_BYTES = 8 * 1024**2
"""Of a reply, as it is sent and unpacked; 4,096 tokens are a hundredth of it."""
_CONNECT = 5.0
"""Seconds for a connection: a stop signal has to wait for it."""
_SLICE = 0.25
"""Seconds between looks at the clock and at whether to stop."""
_PAUSED = 20.0
"""Seconds between two looks from which on this process was stopped meanwhile, not the server."""
PIECE = 1 << 16


class Stopped(Exception):
    """The user asked to stop."""


class Unreachable(Exception):
    """No connection, repeated disconnects, or no complete reply in time."""


class Unreadable(Exception):
    """The reply does not follow the interface."""


class Dropped(Exception):
    """The server closed the connection."""


class Late(Exception):
    """The request's time limit is over."""


class Limits:
    """The remaining time and bytes of a request."""

    def __init__(self, seconds: float, stopped: threading.Event) -> None:
        self._end = time.monotonic() + seconds
        self._seen = time.monotonic()
        self._stopped = stopped
        self._bytes = MOST_BYTES

    def again(self) -> None:
        """Start another try; its bytes are counted from 0."""
        self._bytes = MOST_BYTES

    def look(self) -> float:
        """The seconds left. Raises `Stopped` and `Late`."""
        now = time.monotonic()
        if now - self._seen > _PAUSED:
            self._end += now - self._seen
        self._seen = now
        if self._stopped.is_set():
            raise Stopped
        if now >= self._end:
            raise Late
        return self._end - now

    def came(self, count: int) -> None:
        """Count received bytes. Raises `Unreadable` over the limit."""
        self._bytes -= count
        if self._bytes < 0:
            raise Unreadable(f"it is over {MOST_BYTES // 1024**2} MiB")

    def wait(self, seconds: float) -> None:
        """Sleep that long, or until a stop or the time limit."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._stopped.wait(min(left, self.look(), _SLICE))
        self.look()


class Line(io.RawIOBase):
    """A socket that checks the request's limits at each step."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self.limits = limits
        self._socket = sock
        sock.settimeout(_SLICE)

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Switch to TLS."""
        made = context.wrap_socket(
            self._socket, server_hostname=host, do_handshake_on_connect=False
        )
        self._socket = made
        self._patiently(made.do_handshake)

    def _patiently(self, step: Callable[[], Any]) -> Any:
        while True:
            self.limits.look()
            try:
                return step()
            except TimeoutError:
                continue

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._patiently(lambda: self._socket.recv_into(buffer))
        self.limits.came(count)
        return count

    def send(self, data: bytes) -> None:
        """Send all the data."""
        rest = memoryview(data)
        while rest:
            piece = rest[:PIECE]
            rest = rest[self._patiently(lambda piece=piece: self._socket.send(piece)) :]

    def makefile(self, mode: str, *_: object) -> io.BufferedReader:
        """The file object that http.client reads a response from."""
        return io.BufferedReader(self)

    def hang_up(self) -> None:
        """Close the connection; the reader on it leaves it open, for the next request."""
        self._socket.close()

    def close(self) -> None:
        """Does nothing; `hang_up` closes the connection."""


def server_of(address: SplitResult) -> tuple[str, int]:
    """(server, port) of an address."""
    return address.hostname or "", address.port or (443 if address.scheme == "https" else 80)


def basic(address: SplitResult) -> str:
    said = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
    return "Basic " + base64.b64encode(said.encode()).decode()


def trusting() -> ssl.SSLContext:
    """A TLS context with the system's authorities, and certifi's if it is installed."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def proxy_for(address: SplitResult) -> SplitResult | None:
    """The environment's proxy for an address.

    Raises:
        InputError: it is of a kind that is not spoken here.
    """
    host = address.hostname or ""
    known = getproxies()
    named = known.get(address.scheme) or known.get("all")
    if not named or proxy_bypass(host):
        return None
    found = urlsplit(named if "://" in named else f"http://{named}")
    if found.scheme != "http" or not found.hostname:
        raise InputError(
            f"the environment's proxy for {host} is not of the kind http://; set NO_PROXY={host}, "
            "or another proxy"
        )
    return found


def tunnel(line: Line, place: str, proxy: SplitResult) -> None:
    """Open a tunnel through a proxy. Raises `HTTPException`."""
    key = f"Proxy-Authorization: {basic(proxy)}\r\n" if proxy.username else ""
    line.send(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{key}\r\n".encode("latin-1"))
    response = HTTPResponse(cast(Any, line), method="CONNECT")
    response.begin()
    if response.status != 200:
        raise HTTPException(f"the proxy answers {response.status}")


def connect(
    address: SplitResult,
    proxy: SplitResult | None,
    context: ssl.SSLContext | None,
    limits: Limits,
) -> Line:
    """A connection to the address, by the proxy where there is one. Raises OSError, `Stopped`,
    `Late` and `HTTPException`.
    """
    limits.look()
    line = Line(socket.create_connection(server_of(proxy or address), timeout=_CONNECT), limits)
    try:
        if context is not None:
            host, port = server_of(address)
            if proxy is not None:
                tunnel(line, f"{host}:{port}", proxy)
            line.secure(context, host)
    except BaseException:
        line.hang_up()
        raise
    return line

"""JSON to and from a server that is not trusted: bounded in bytes, in time and in tries.

The standard library's reader of responses stands on a socket of our own, as only there a body of
one byte a second, a header without an end and a signal to stop can all be seen in time.
"""

from __future__ import annotations

import base64
import io
import json
import math
import random
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from toolrest.errors import InputError, reason
from toolrest.redaction import HIDDEN

SECONDS = 600.0
"""For a request with all its tries."""
MOST_BYTES = 8 * 1024**2
"""Of a reply, as it is sent and unpacked; 4,096 tokens are a hundredth of it."""
_CONNECT = 5.0
"""Seconds for a connection: a stop signal has to wait for it."""
_SLICE = 0.25
"""Seconds between looks at the clock and at whether to stop."""
_PAUSED = 20.0
"""Seconds between two looks from which on this process was stopped meanwhile, not the server."""
_LONGEST_WAIT = 60.0
"""Seconds that a server can ask us to wait before the next try."""
_GARBLED_TRIES = 2
"""Times that a reply which cannot be read is asked for again."""
_REDIRECTS = 3
_PACKED = {"gzip", "x-gzip", "deflate"}
_PIECE = 1 << 16
_SAID = 200
"""Characters of a server's message that are shown."""


class Stopped(Exception):
    """We were told to stop; nothing came."""


class Unreachable(Exception):
    """No connection, one that broke off each time, or no whole reply in time."""


class Unreadable(Exception):
    """There is a reply, and it is not of the interface."""


class _Dropped(Exception):
    """The connection broke off."""


class _Late(Exception):
    """The time for the request is over."""


@dataclass(frozen=True)
class Reply:
    """What a server has answered."""

    status: int
    headers: Mapping[str, str]
    """By names in small letters."""
    body: bytes
    value: Any = None
    """What the body says, where the status is 200."""

    def said(self) -> str:
        """The message of a refusal, in a line."""
        text = self.body[: 1 << 16].decode("utf-8", "replace")
        try:
            found: Any = json.loads(text)
            for key in ("error", "message", "detail"):
                if isinstance(found, dict) and found.get(key):
                    found = found[key]
            text = found if isinstance(found, str) else text
        except (ValueError, RecursionError):
            pass
        return " ".join(text.split())[:_SAID] or "without a word"


class _Limits:
    """The time and the bytes that a request has left."""

    def __init__(self, seconds: float, stopped: threading.Event) -> None:
        self._end = time.monotonic() + seconds
        self._seen = time.monotonic()
        self._stopped = stopped
        self._bytes = MOST_BYTES

    def again(self) -> None:
        """Another try, whose reply is counted anew."""
        self._bytes = MOST_BYTES

    def look(self) -> float:
        """Seconds left. Raises `Stopped` and `_Late`."""
        now = time.monotonic()
        if now - self._seen > _PAUSED:
            self._end += now - self._seen
        self._seen = now
        if self._stopped.is_set():
            raise Stopped
        if now >= self._end:
            raise _Late
        return self._end - now

    def came(self, count: int) -> None:
        """So many bytes have come. Raises `Unreadable`."""
        self._bytes -= count
        if self._bytes < 0:
            raise Unreadable(f"it is over {MOST_BYTES // 1024**2} MiB")

    def wait(self, seconds: float) -> None:
        """Wait as long, but for a stop or the end of the time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._stopped.wait(min(left, self.look(), _SLICE))
        self.look()


class _Line(io.RawIOBase):
    """A connection that looks at its limits all the while."""

    def __init__(self, sock: socket.socket, limits: _Limits) -> None:
        self.limits = limits
        self._socket = sock
        sock.settimeout(_SLICE)

    def secure(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from now on."""
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
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            piece = rest[:_PIECE]
            rest = rest[self._patiently(lambda piece=piece: self._socket.send(piece)) :]

    def makefile(self, mode: str, *_: object) -> io.BufferedReader:
        """What the standard library reads a response from."""
        return io.BufferedReader(self)

    def hang_up(self) -> None:
        """Close the connection; the reader on it leaves it open, for the next request."""
        self._socket.close()

    def close(self) -> None:
        """Nothing: see `hang_up`."""


class Endpoint:
    """Posts JSON to the paths below an address; as many threads at once as like.

    Args:
        base_url: http or https; a name and password in it are sent as such, where there is no key.
        key: sent as a bearer's.
        tries: that are made again after a dropped connection, a 408, 409, 429 or 5xx.
        note: is told what the user should know of the waiting.

    Raises:
        InputError: the address or the key is none.
    """

    def __init__(
        self, base_url: str, key: str | None, tries: int, note: Callable[[str], object]
    ) -> None:
        try:
            self._address = _checked(urlsplit(base_url))
        except (ValueError, UnicodeError) as error:
            raise InputError(f"--base-url {base_url}: not an address ({reason(error)})") from error
        self._key = (key or "").strip()
        if not self._key.isascii() or not self._key.isprintable():
            raise InputError("OPENAI_API_KEY: holds characters that no key has")
        self._tries = tries
        self._note = note
        self._noted: set[str] = set()
        self._stopped = threading.Event()
        self._own = threading.local()
        """Each thread keeps a connection."""
        self._context = _trusting() if self._address.scheme == "https" else None
        self._proxy = _proxy_for(self._address)

    def stop(self) -> None:
        """End every request that is under way; from then on each raises `Stopped`."""
        self._stopped.set()

    def hidden(self, text: str) -> str:
        """A server's text without the key, which it has seen."""
        return text.replace(self._key, HIDDEN) if self._key else text

    def post(self, path: str, value: Any) -> Reply:
        """The reply to a value; one that asks to try later is the last of all tries.

        Raises:
            Stopped: by `stop`.
            Unreachable: there is no whole reply.
            Unreadable: it is too large, packed in a way that we did not ask for, or cut off.
            InputError: it leads to another place.
        """
        data = json.dumps(value).encode()
        limits = _Limits(SECONDS, self._stopped)
        garbled = 0
        for tried in range(self._tries + 1):
            last = tried == self._tries
            pause = min(8.0, 0.5 * 2.0**tried) * random.uniform(0.75, 1.0)
            try:
                limits.again()
                reply = self._ask(path, data, limits)
                if last or (reply.status not in (408, 409, 429) and reply.status < 500):
                    return reply
                pause = self._pause(reply, pause)
            except _Late:
                raise Unreachable(f"no whole answer within {SECONDS:.0f} s") from None
            except Unreadable:
                self._hang_up()
                garbled += 1
                if last or garbled > _GARBLED_TRIES:
                    raise
            except _Dropped as error:
                self._hang_up()
                if last:
                    raise Unreachable(reason(error)) from error
            except BaseException:
                self._hang_up()
                raise
            try:
                limits.wait(pause)
            except _Late:
                raise Unreachable(f"no answer in {tried + 1} tries of {SECONDS:.0f} s") from None
        raise AssertionError("the last try returns or raises")

    def _pause(self, reply: Reply, usual: float) -> float:
        """Seconds to wait before the next try: what the server asks for, within reason."""
        asked = _asked_to_wait(reply.headers)
        if asked is None:
            return usual
        pause = asked if asked <= _LONGEST_WAIT else usual
        if asked >= 1:
            self._say_once(
                f"the endpoint answers {reply.status} and asks to wait {asked:,.0f} s; asking again"
                f" in {pause:.0f} s"
            )
        return pause

    def _say_once(self, text: str) -> None:
        kind = text.split(";")[0]
        if kind not in self._noted:
            self._noted.add(kind)
            self._note(text)

    def _ask(self, path: str, data: bytes, limits: _Limits) -> Reply:
        """One try, its redirections within the same server included."""
        address = self._address
        target = f"{address.path.rstrip('/')}{path}" + (
            f"?{address.query}" if address.query else ""
        )
        for _ in range(_REDIRECTS + 1):
            reply = self._once(target, data, limits)
            where = reply.headers.get("location")
            if reply.status not in (301, 302, 303, 307, 308) or where is None:
                return reply
            shown = f"the endpoint redirects ({reply.status}) to {self.hidden(where)[:_SAID]}"
            led = urlsplit(urljoin(f"{address.scheme}://{address.netloc}{target}", where))
            if _origin(led) != _origin(address):
                raise InputError(
                    f"--base-url: {shown}, another server, which is not sent the prompt; give that "
                    "address if you trust it"
                )
            if reply.status not in (307, 308):
                raise InputError(f"--base-url: {shown}; give that address")
            target = (led.path or "/") + (f"?{led.query}" if led.query else "")
        raise InputError(f"--base-url: the endpoint redirects more than {_REDIRECTS} times")

    def _once(self, target: str, data: bytes, limits: _Limits) -> Reply:
        try:
            line = self._line(limits)
            line.send(self._head(target, len(data)) + data)
            response = HTTPResponse(cast(Any, line), method="POST")
            response.begin()
            headers = {name.lower(): text for name, text in response.getheaders()}
            body = _body(response, headers)
            if response.will_close:
                self._hang_up()
            value = _parsed(body) if response.status == 200 else None
            return Reply(response.status, headers, body, value)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(reason(error)) from error
        except (OSError, HTTPException) as error:
            raise _Dropped(reason(error)) from error
        except (ValueError, UnicodeError) as error:  # a status line or a header of rubbish
            raise Unreadable(f"it is not HTTP ({reason(error)})") from error

    def _head(self, target: str, length: int) -> bytes:
        address = self._address
        if self._proxy is not None and address.scheme == "http":
            target = f"http://{address.netloc.rpartition('@')[2]}{target}"
        lines = {
            "Host": address.netloc.rpartition("@")[2],
            "Content-Type": "application/json",
            "Content-Length": str(length),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "toolrest",
        }
        if self._key:
            lines["Authorization"] = f"Bearer {self._key}"
        elif address.username is not None:
            lines["Authorization"] = _basic(address)
        if self._proxy is not None and self._proxy.username and address.scheme == "http":
            lines["Proxy-Authorization"] = _basic(self._proxy)
        written = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
        return f"POST {_quoted(target)} HTTP/1.1\r\n{written}\r\n".encode("latin-1")

    def _line(self, limits: _Limits) -> _Line:
        """This thread's connection; a new one where there is none."""
        line: _Line | None = getattr(self._own, "line", None)
        if line is not None:
            line.limits = limits
            return line
        limits.look()
        address, proxy = self._address, self._proxy
        line = self._own.line = _Line(
            socket.create_connection(_place(proxy or address), timeout=_CONNECT), limits
        )
        if self._context is not None:
            host, port = _place(address)
            if proxy is not None:
                _tunnel(line, f"{host}:{port}", proxy)
            line.secure(self._context, host)
        return line

    def _hang_up(self) -> None:
        line: _Line | None = getattr(self._own, "line", None)
        self._own.line = None
        if line is not None:
            line.hang_up()


def _body(response: HTTPResponse, headers: Mapping[str, str]) -> bytes:
    """A response's body, unpacked. Raises `Unreadable`, `HTTPException` where it is cut off."""
    found = bytearray()
    while piece := response.read(_PIECE):
        found += piece
        if len(found) > MOST_BYTES:
            raise Unreadable(f"it is over {MOST_BYTES // 1024**2} MiB")
    if response.length:
        raise HTTPException(f"cut off, {response.length} bytes before its end")
    packed = headers.get("content-encoding", "identity").strip().lower()
    if packed in ("identity", ""):
        return bytes(found)
    if packed not in _PACKED:
        raise Unreadable(f"it is packed ({packed[:20]}), which was not asked for")
    opening = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        body = opening.decompress(bytes(found), MOST_BYTES + 1)
    except zlib.error as error:
        raise Unreadable(f"it cannot be unpacked ({error})") from error
    if len(body) > MOST_BYTES:
        raise Unreadable(f"unpacked it is over {MOST_BYTES // 1024**2} MiB")
    if not opening.eof:
        raise HTTPException("cut off before the end of what is packed")
    return body


def _parsed(body: bytes) -> Any:
    """What a body of JSON says. Raises `Unreadable`."""
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        shown = body[:40].decode("utf-8", "replace").strip()
        raise Unreadable(f"it is no JSON ({reason(error)}): {shown!r}") from error


def _checked(address: SplitResult) -> SplitResult:
    """Raises ValueError where nothing can be asked there."""
    if address.scheme not in ("http", "https"):
        raise ValueError("it begins with http:// or https://")
    _place(address)
    if not address.hostname or not address.netloc.isprintable() or " " in address.netloc:
        raise ValueError("it names no server")
    address.netloc.rpartition("@")[2].encode("idna")
    return address


def _place(address: SplitResult) -> tuple[str, int]:
    """(server, port) of an address."""
    return address.hostname or "", address.port or (443 if address.scheme == "https" else 80)


def _origin(address: SplitResult) -> tuple[str, str, int]:
    try:
        return address.scheme, *_place(address)
    except ValueError:
        return address.scheme, "", 0


def _quoted(target: str) -> str:
    """A path that was written with letters that none has."""
    return "".join(
        c if "!" <= c <= "~" else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "replace"))
        for c in target
    )


def _basic(address: SplitResult) -> str:
    said = f"{unquote(address.username or '')}:{unquote(address.password or '')}"
    return "Basic " + base64.b64encode(said.encode()).decode()


def _trusting() -> ssl.SSLContext:
    """The system's authorities, and those that come with certifi where it is installed."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def _proxy_for(address: SplitResult) -> SplitResult | None:
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


def _tunnel(line: _Line, place: str, proxy: SplitResult) -> None:
    """Have a proxy connect us. Raises `HTTPException`."""
    key = f"Proxy-Authorization: {_basic(proxy)}\r\n" if proxy.username else ""
    line.send(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{key}\r\n".encode("latin-1"))
    response = HTTPResponse(cast(Any, line), method="CONNECT")
    response.begin()
    if response.status != 200:
        raise HTTPException(f"the proxy answers {response.status}")


def _asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks us to wait, as a number or a date; None where it says none."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        written = headers.get(name, "").strip()
        if not written:
            continue
        try:
            seconds = float(written) * factor
        except ValueError:
            try:
                seconds = parsedate_to_datetime(written).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError, OSError):
                continue
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return None

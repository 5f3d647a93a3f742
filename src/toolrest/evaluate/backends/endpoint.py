"""JSON to and from a server that is not trusted: bounded in bytes, in time and in tries."""

from __future__ import annotations

import json
import random
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPException, HTTPResponse
from typing import Any, cast
from urllib.parse import SplitResult, urljoin, urlsplit

from toolrest.errors import InputError, reason
from toolrest.evaluate.backends.connection import (
    Dropped,
    Late,
    Limits,
    Line,
    Unreachable,
    Unreadable,
    basic,
    connect,
    proxy_for,
    server_of,
    trusting,
)
from toolrest.evaluate.backends.reply import SAID, Reply, parse_body, read_body
from toolrest.io.redaction import HIDDEN, redacted

SECONDS = 600.0
"""For a request with all its tries."""
_LONGEST_WAIT = 60.0
"""Seconds that a server can ask us to wait before the next try."""
_GARBLED_TRIES = 2
"""Times that a reply which cannot be read is asked for again."""
_REDIRECTS = 3
_LATER = (408, 409, 425, 429)
_BUSY = (502, 503, 504)
"""What a server, or one before it, answers for as long as it is starting or overloaded."""
_ALIKE = 3
"""Times in a row that a request fails in the same words before it is taken to do so each time."""


class Endpoint:
    """Posts JSON to the paths below an address; as many threads at once as like.

    Args:
        base_url: http or https; a name and password in it are sent as such, where there is no key.
        key: sent as a bearer's.
        tries: that are made again after a dropped connection, a 408, 409, 425, 429 or 5xx.
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
        self._context = trusting() if self._address.scheme == "https" else None
        self._proxy = proxy_for(self._address)

    def stop(self) -> None:
        """End every request that is under way; from then on each raises `Stopped`."""
        self._stopped.set()

    def hidden(self, text: str) -> str:
        """A server's text without the key, which it has seen, and other keys."""
        return redacted(text.replace(self._key, HIDDEN) if self._key else text)

    def post(self, path: str, value: Any) -> Reply:
        """The reply to a value; one that asks to try later is the last of all tries.

        A failure that is not of a busy server is not tried again once it has come in the same words
        three times in a row: a server that cannot read what the model wrote does so each time.

        Raises:
            Stopped: by `stop`.
            Unreachable: there is no whole reply.
            Unreadable: it is too large, packed in a way that we did not ask for, or cut off.
            InputError: it leads to another place.
        """
        data = json.dumps(value).encode()
        limits = Limits(SECONDS, self._stopped)
        garbled = alike = 0
        before: tuple[int, bytes] | None = None
        for tried in range(self._tries + 1):
            last = tried == self._tries
            pause = min(8.0, 0.5 * 2.0**tried) * random.uniform(0.75, 1.0)
            try:
                limits.again()
                reply = self._ask(path, data, limits)
                if last or (reply.status not in _LATER and reply.status < 500):
                    return reply
                now = (reply.status, reply.words())
                alike, before = alike + 1 if now == before else 1, now
                waits = reply.status in (*_LATER, *_BUSY) or reply.asked_to_wait()
                if alike == _ALIKE and not waits:
                    return replace(reply, each_time=True)
                pause = self._pause(reply, pause)
            except Late:
                raise Unreachable(f"no whole answer within {SECONDS:.0f} s") from None
            except Unreadable:
                self._hang_up()
                garbled += 1
                if last or garbled > _GARBLED_TRIES:
                    raise
            except Dropped as error:
                self._hang_up()
                if last:
                    raise Unreachable(reason(error)) from error
            except BaseException:
                self._hang_up()
                raise
            try:
                limits.wait(pause)
            except Late:
                raise Unreachable(f"no answer in {tried + 1} tries of {SECONDS:.0f} s") from None
        raise AssertionError("the last try returns or raises")

    def _pause(self, reply: Reply, usual: float) -> float:
        """Seconds to wait before the next try: what the server asks for, within reason."""
        asked = reply.asked_to_wait()
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

    def _ask(self, path: str, data: bytes, limits: Limits) -> Reply:
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
            shown = f"the endpoint redirects ({reply.status}) to {self.hidden(where)[:SAID]}"
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

    def _once(self, target: str, data: bytes, limits: Limits) -> Reply:
        try:
            line = self._line(limits)
            line.send(self._head(target, len(data)) + data)
            response = HTTPResponse(cast(Any, line), method="POST")
            response.begin()
            headers = {name.lower(): text for name, text in response.getheaders()}
            body = read_body(response, headers)
            if response.will_close:
                self._hang_up()
            value = parse_body(body) if response.status == 200 else None
            return Reply(response.status, headers, body, value)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(reason(error)) from error
        except (OSError, HTTPException) as error:
            raise Dropped(reason(error)) from error
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
            lines["Authorization"] = basic(address)
        if self._proxy is not None and self._proxy.username and address.scheme == "http":
            lines["Proxy-Authorization"] = basic(self._proxy)
        written = "".join(f"{name}: {text}\r\n" for name, text in lines.items())
        return f"POST {_quoted(target)} HTTP/1.1\r\n{written}\r\n".encode("latin-1")

    def _line(self, limits: Limits) -> Line:
        """This thread's connection; a new one where there is none."""
        line: Line | None = getattr(self._own, "line", None)
        if line is not None:
            line.limits = limits
            return line
        line = connect(self._address, self._proxy, self._context, limits)
        self._own.line = line
        return line

    def _hang_up(self) -> None:
        line: Line | None = getattr(self._own, "line", None)
        self._own.line = None
        if line is not None:
            line.hang_up()


def _checked(address: SplitResult) -> SplitResult:
    """Raises ValueError where nothing can be asked there."""
    if address.scheme not in ("http", "https"):
        raise ValueError("it begins with http:// or https://")
    server_of(address)
    if not address.hostname or not address.netloc.isprintable() or " " in address.netloc:
        raise ValueError("it names no server")
    address.netloc.rpartition("@")[2].encode("idna")
    return address


def _origin(address: SplitResult) -> tuple[str, str, int]:
    try:
        return address.scheme, *server_of(address)
    except ValueError:
        return address.scheme, "", 0


def _quoted(target: str) -> str:
    """A path that was written with letters that none has."""
    return "".join(
        c if "!" <= c <= "~" else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "replace"))
        for c in target
    )

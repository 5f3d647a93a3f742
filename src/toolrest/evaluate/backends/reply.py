"""What a server that is not trusted has answered, read within bounds."""

from __future__ import annotations

import json
import math
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import Any

from toolrest.errors import reason
from toolrest.evaluate.backends.connection import MOST_BYTES, PIECE, Unreadable

_PACKED = {"gzip", "x-gzip", "deflate"}
SAID = 200
"""Characters of a server's message that are shown."""


@dataclass(frozen=True)
class Reply:
    """What a server has answered."""

    status: int
    headers: Mapping[str, str]
    """By names in small letters."""
    body: bytes
    value: Any = None
    """What the body says, where the status is 200."""
    each_time: bool = False
    """Whether the server fails at this request in the same words however often it is sent."""

    def message(self) -> str:
        """What a refusal says, without what it repeats of the request."""
        text = self.body[: 1 << 16].decode("utf-8", "replace")
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError):
            return text
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and found.get(key):
                found = found[key]
        if isinstance(found, list) and found and all(_is_finding(each) for each in found):
            return "; ".join(f"{_path(each.get('loc'))}: {each['msg']}" for each in found)
        return found if isinstance(found, str) else text

    def said(self, hidden: Callable[[str], str]) -> str:
        """The message of a refusal, in a line.

        Args:
            hidden: takes keys out, before the message is cut.
        """
        return " ".join(hidden(self.message()).split())[:SAID] or "without a word"

    def words(self) -> bytes:
        """The body without words that hold digits, such as the request's name or the time."""
        return re.sub(rb"\w*\d\w*", b"", self.body)

    def asked_to_wait(self) -> float | None:
        """Seconds that a server asks us to wait, as a number or a date; None where it says none."""
        for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
            written = self.headers.get(name, "").strip()
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


def read_body(response: HTTPResponse, headers: Mapping[str, str]) -> bytes:
    """A response's body, unpacked. Raises `Unreadable`, `HTTPException` where it is cut off."""
    found = bytearray()
    while piece := response.read(PIECE):
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


def _is_finding(value: Any) -> bool:
    """Whether it is a field's fault as FastAPI lists them."""
    return isinstance(value, dict) and isinstance(value.get("msg"), str)


def _path(location: Any) -> str:
    return ".".join(map(str, location)) if isinstance(location, list) else ""


def parse_body(body: bytes) -> Any:
    """What a body of JSON says. Raises `Unreadable`."""
    try:
        return json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        shown = body[:40].decode("utf-8", "replace").strip()
        raise Unreadable(f"it is no JSON ({reason(error)}): {shown!r}") from error

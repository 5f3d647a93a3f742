"""Records how a server deviates from requests; reported once, stored beside its answers."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolrest.io.files import write_json
from toolrest.io.objects import object_or_none

FILE = "server.json"
_OPTIONAL = {
    "skip_special_tokens": "special tokens, marks of the dialect among them, may be missing in its "
    "texts",
    "stop_token_ids": "an answer may go on after the end of its turn",
}
"""Fields that some servers do not know, and what may differ without them."""
_RENAMED = {"max_tokens": "max_completion_tokens"}
"""Names that newer servers refuse, and what they take instead."""
_REFUSED = (400, 422)
DROPPED, LISTED = "dropped", "listed"


class Findings:
    """The known deviations of a server. Thread-safe.

    Args:
        note: is told each finding once, and what else the user should know of the waiting.
    """

    def __init__(self, note: Callable[[str], object] = lambda text: None) -> None:
        self.note = note
        self._lock = threading.Lock()
        self._left_out: list[str] = []
        self._renamed: set[str] = set()
        self._tools: str | None = None
        self._counts: tuple[int, int] | None = None
        self._kept: dict[str, Any] = {}

    def fitted(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request without the fields that the server does not know."""
        with self._lock:
            return {
                _RENAMED[name] if name in self._renamed else name: value
                for name, value in request.items()
                if name not in self._left_out
            }

    def learn(self, request: Mapping[str, Any], status: int, text: str) -> bool:
        """Whether a refusal names fields of the request that can be left out or named otherwise,
        which `fitted` does from now on.
        """
        if status not in _REFUSED:
            return False
        unknown = [name for name in _OPTIONAL if name in request and _names(text, name)]
        renamed = [old for old, new in _RENAMED.items() if old in request and _names(text, new)]
        with self._lock:
            new = [name for name in unknown if name not in self._left_out]
            self._left_out += new
            self._renamed.update(renamed)
        for name in new:
            self.note(_without(name))
        return bool(unknown or renamed)

    def count_tools(self, with_tools: int, without: int) -> None:
        """Take the tokens of one prompt with its tools and without them: where they are as many,
        the server's template has dropped the tools. What was dropped once stays so.
        """
        if with_tools == without:
            self._tools, self._counts = DROPPED, (with_tools, without)
            self.note(f"warning: {_no_tools(with_tools)}")
        elif self._tools is None:
            self._tools, self._counts = LISTED, (with_tools, without)

    def record(self) -> dict[str, Any]:
        """The findings as plain values; empty where there are none."""
        found: dict[str, Any] = {}
        warnings = []
        if self._tools is not None and self._counts is not None:
            found["tools"] = self._tools
            found["prompt_tokens"] = dict(
                zip(("with_tools", "without_tools"), self._counts, strict=True)
            )
            if self._tools == DROPPED:
                warnings.append(_no_tools(self._counts[0]))
        with self._lock:
            left_out = sorted(self._left_out)
        if left_out:
            found["left_out"] = left_out
            warnings += map(_without, left_out)
        return found | ({"warnings": warnings} if warnings else {})

    def load(self, folder: Path) -> None:
        """Load the findings that are stored beside the folder's answers."""
        known = object_or_none(folder / FILE)
        if known is None:
            return
        left_out = known.get("left_out")
        self._left_out += [n for n in _OPTIONAL if isinstance(left_out, list) and n in left_out]
        counts = known.get("prompt_tokens")
        if known.get("tools") in (DROPPED, LISTED) and isinstance(counts, dict):
            pair = counts.get("with_tools"), counts.get("without_tools")
            if isinstance(pair[0], int) and isinstance(pair[1], int):
                self._tools, self._counts = known["tools"], (pair[0], pair[1])
        self._kept = self.record()

    def save(self, folder: Path) -> None:
        """Store new findings. Raises OSError."""
        found = self.record()
        if found != self._kept:
            write_json(folder / FILE, found)
            self._kept = found


def _names(text: str, field: str) -> bool:
    return re.search(rf"\b{field}\b", text) is not None


def _without(field: str) -> str:
    return f"the server does not know {field}, which is left out: {_OPTIONAL[field]}"


def _no_tools(count: int) -> str:
    return (
        "the server's chat template drops the tools, so the policy cannot see them: a prompt has "
        f"{count:,} tokens with them and without; give the server a template that lists tools, or "
        "use --prompt plain, and another --out"
    )

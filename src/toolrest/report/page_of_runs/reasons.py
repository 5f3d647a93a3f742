"""Why a response that failed is not right, in a few words by which failures are grouped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolrest.report.inspection import told_status
from toolrest.report.page_of_runs.reading import finite, object_or_empty

_STATUS_OK = "ok"
_PARTS = (
    ("names", "wrong tool"),
    ("parameters", "wrong parameters"),
    ("values", "wrong value"),
)
"""A part of the reward of calls, and what is said where it is not whole; the first such counts."""


def reason_of(reward: Mapping[str, Any], cut: object = None, check: object = None) -> str:
    """Why a response is not right; never "ok", which is only how it was read.

    Args:
        reward: its reward, part by part, as it was recorded.
        cut: whether it was cut at the length limit, where that is recorded.
        check: what its benchmark's checker said.
    """
    status = reward.get("status")
    if isinstance(check, str) and check not in ("", _STATUS_OK):
        said = check
    elif isinstance(status, str) and status not in ("", _STATUS_OK):
        said = status.replace("_", " ")
    else:
        said = _of_parts(reward)
    return told_status(said, cut)


def _of_parts(reward: Mapping[str, Any]) -> str:
    if (finite(reward.get("format")) or 0.0) < 1 and "format" in reward:
        return "wrong format"
    if reward.get("over_called") is True:
        return "more calls than expected"
    calls = object_or_empty(reward.get("calls"))
    for part, words in _PARTS:
        value = finite(calls.get(part))
        if value is not None and value < 1:
            return words
    return "not as expected"

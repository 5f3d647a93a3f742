"""Which response of a run tells most of what its weights do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Places = list[tuple[int, int]]


def telling_response(groups: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Of the last saved step, the response with the greatest spread of weights: its place and why
    it was chosen. None where no response of that step has tokens.

    Those are looked at first that are wrong in a group that also has a right one, then those
    whose reward lies between the least and the greatest of their group, then all.
    """
    if not groups:
        return None
    last = max(group["step"] for group in groups)
    places = [
        (number, row)
        for number, group in enumerate(groups)
        if group["step"] == last
        for row, response in enumerate(group["rows"])
        if response.get("tokens")
    ]
    for kind, words in (
        (_wrong_beside_right, "that are wrong in a group that also has a right one"),
        (_between, "whose reward lies between the least and the greatest of their group"),
        (lambda group, row: True, "that were saved"),
    ):
        chosen = _kept(groups, places, kind)
        if chosen:
            number, row = max(chosen, key=lambda at: _spread(groups[at[0]]["rows"][at[1]]))
            return {"group": number, "row": row, "why": _why(groups, (number, row), words)}
    return None


def _kept(
    groups: Sequence[dict[str, Any]],
    places: Places,
    kind: Callable[[dict[str, Any], dict[str, Any]], bool],
) -> Places:
    return [at for at in places if kind(groups[at[0]], groups[at[0]]["rows"][at[1]])]


def _wrong_beside_right(group: dict[str, Any], row: dict[str, Any]) -> bool:
    readable = row["reward"]["format"] in (None, 1.0)
    return readable and not row["exact"] and any(each["exact"] for each in group["rows"])


def _between(group: dict[str, Any], row: dict[str, Any]) -> bool:
    totals = [each["reward"]["total"] for each in group["rows"]]
    known = [total for total in totals if total is not None]
    total = row["reward"]["total"]
    return total is not None and min(known) < total < max(known)


def _spread(row: dict[str, Any]) -> float:
    """The greatest weight less the least."""
    return max(row["weights"]) - min(row["weights"])


def _why(groups: Sequence[dict[str, Any]], at: tuple[int, int], words: str) -> str:
    step = groups[at[0]]["step"]
    if _spread(groups[at[0]]["rows"][at[1]]) > 0:
        return f"of step {step}, the greatest spread of weights among the responses {words}"
    return f"of step {step}, where all tokens weigh the same, the first of the responses {words}"

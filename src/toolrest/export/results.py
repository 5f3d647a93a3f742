"""What a run has measured of the policy that is taken out of it, for its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolrest.evaluate.intervals import bootstrap_mean, wilson
from toolrest.evaluate.results import RESULT
from toolrest.io.files import iterate_lines, read_json, whole_lines
from toolrest.io.foreign import parse_object
from toolrest.runs.folder import RunFolder
from toolrest.runs.headline import Figure, figures_of, of_episodes, scored
from toolrest.runs.model_card import Results, code
from toolrest.runs.origins import UNKNOWN, fingerprint

_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
_COLUMNS = ("before training", "this policy")


def run_results(run: RunFolder, folder: Path, when: str | None, step: int | None) -> Results:
    """The results of a policy of a run. Files that cannot be read have none.

    Args:
        folder: the policy's, by whose fingerprint benchmarks are known to be its own.
        when: the run's evaluation of it: `after` or `warm_start`; None: there is none.
        step: of the checkpoint, which can have been evaluated on the way.
    """
    lines = _benchmarks(run, folder)
    own = _whole(run, when) if when is not None else None
    if own is None and step is not None:
        own = _on_the_way(run, step)
    if own is None:
        words = "This policy was not evaluated on the run's held-out rows."
        return Results(words, lines=lines)
    before = _whole(run, "before") or {}
    rows = [
        (each.full_label, before.get(each.key, "-"), own[each.key])
        for each in figures_of(own)
        if each.key in own
    ]
    rows_of = (
        "rows of the run's own environment" if of_episodes(own) else "rows of the run's own data"
    )
    words = (
        f"On {own['n']} held-out {rows_of}, by the run's rules; in brackets 95 % intervals "
        "(Wilson's of shares, the bootstrap's of means)."
    )
    return Results(words, rows, _COLUMNS, lines)


def _whole(run: RunFolder, when: str) -> dict[str, str] | None:
    """{figure: value with its interval} of one of the run's evaluations."""
    try:
        return _cells(read_json(run.evaluation / f"{when}.json"), run.evaluation / f"{when}.jsonl")
    except _BROKEN:
        return None


def _on_the_way(run: RunFolder, step: int) -> dict[str, str] | None:
    try:
        points = [parse_object(line) for line in whole_lines(run.curve)]
        return _cells(next(point for point in points if point["step"] == step), None)
    except (*_BROKEN, StopIteration):
        return None


def _cells(found: dict[str, Any], responses: Path | None) -> dict[str, str]:
    n = int(found["n"])
    cells = {"n": str(n)}
    for each in figures_of(found):
        if each.key not in found:
            continue
        value = float(found[each.key])
        cells[each.key] = each.form.format(value)
        if each.share:
            low, high = wilson(round(value * scored(found)), scored(found))
            cells[each.key] += f" ({low:.1%} to {high:.1%})"
        else:
            cells[each.key] += _interval(responses, each)
    return cells


def _interval(responses: Path | None, figure: Figure) -> str:
    """Of a mean, from the responses that it is of; empty without them."""
    if responses is None or not responses.is_file():
        return ""
    decoding = "greedy" if figure.key.startswith("greedy") else "sampled"
    name = figure.key.removeprefix("greedy_")
    rows = map(parse_object, iterate_lines(responses))
    found = [_value(row, name) for row in rows if row["decoding"] == decoding]
    low, high = bootstrap_mean([value for value in found if value is not None])
    return f" ({low:.2f} to {high:.2f})"


def _value(row: dict[str, Any], name: str) -> float | None:
    """A figure of a response, or of an episode; None where its environment failed."""
    if "turns" not in row:
        return float(row["reward"]["total"])
    if row["reward"] is None:
        return None
    return float(row["reward"]) if name == "reward" else float(len(row["turns"]))


def _benchmarks(run: RunFolder, folder: Path) -> list[str]:
    """`toolrest evaluate`'s results of exactly this policy, a line each."""
    paths = sorted(run.evaluation.glob(f"*/{RESULT}"))
    own = fingerprint(folder) if paths else UNKNOWN
    lines = []
    for path in paths:
        try:
            found = read_json(path)
            if own == UNKNOWN or found["settings"]["weights"] != own:
                continue
            name = found["settings"].get("version") or found["settings"]["benchmark"]
            lines += [
                f"{code(str(name))}, {code(category)}: {float(each['accuracy']):.1%} "
                f"(95 % {float(each['low']):.1%} to {float(each['high']):.1%}, n = "
                f"{int(each['n'])})" + ("" if each["whole"] else ", not all of its items")
                for category, each in found["categories"].items()
            ]
        except _BROKEN:
            continue
    return lines

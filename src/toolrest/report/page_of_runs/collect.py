"""What a page says of a run, read from its folder; what cannot be read is named."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from toolrest.core.regions import Region
from toolrest.errors import InputError
from toolrest.evaluate.intervals import wilson
from toolrest.io.files import iterate_lines, read_json
from toolrest.recipe import load_recipe
from toolrest.report.shading import visible
from toolrest.runs.folder import RunFolder

_MOST_INCIDENTS = 20
MOST_POINTS = 400
"""Steps of a curve."""
MOST_RESPONSES = 1600
"""Responses in the browser, over all runs."""
MOST_TOKENS = 3000
"""Tokens of a response that are shown."""
MOST_CHARACTERS = 20_000
"""Of a prompt, a ground truth, or a response without recorded tokens."""
MOST_FAILURES = 60
"""Of each evaluation."""
_SUMMARY = (
    ("exact_match", "exact match, sampled"),
    ("greedy_exact_match", "exact match, greedy"),
    ("reward", "reward, sampled"),
    ("greedy_reward", "reward, greedy"),
)


def collect(folder: Path, share: float = 1.0) -> dict[str, Any]:
    """A run as plain values.

    Args:
        share: of `MOST_RESPONSES` that this run may have.

    Raises:
        InputError: the folder is no run.
    """
    run = RunFolder(folder)
    if not run.recipe.is_file():
        raise InputError(f"{folder}: no run is there (it has no recipe.yaml)")
    missing: list[str] = []
    try:
        recipe: dict[str, Any] = load_recipe(run.recipe, []).model_dump(mode="json")
    except InputError as error:
        recipe = {}
        missing.append(f"the recipe is of another version ({error})")
    summary = _json(run.summary, missing, "the run is not done")
    environment = _json(run.environment, missing, "no environment.json")
    rows = list(_lines(run.metrics, missing, "no metrics.jsonl"))
    texts = _Texts(folder, missing)
    alone = recipe.get("method", "rl") != "rl"
    groups, sampled = [], ""
    if not alone:
        groups, sampled = _groups(run, int(MOST_RESPONSES * share), texts, missing)
    learnt = rows if alone else _warm(run)
    return {
        "name": folder.resolve().name,
        "recipe": recipe,
        "scheme": recipe["method"] if alone else (recipe.get("weighting") or {}).get("scheme", "?"),
        "seed": recipe.get("seed"),
        "policy": recipe.get("policy"),
        "steps": rows[-1].get("step") if rows else 0,
        "seconds": (summary or {}).get("seconds"),
        "commit": (environment or {}).get("commit"),
        "versions": (environment or {}).get("versions") or {},
        "table": _table(run, summary),
        "series": {} if alone else _series(rows),
        "supervised": _series(learnt),
        "curve": _series(_lines(run.curve, [], "")) if run.curve.is_file() else {},
        "groups": groups,
        "sampled": sampled,
        "failures": _failures(run, missing),
        "warnings": _warnings(run),
        "missing": missing,
    }


def _warm(run: RunFolder) -> list[dict[str, Any]]:
    """The steps of a warm start; none of a run of an earlier version."""
    return list(_lines(run.warm_metrics, [], "")) if run.warm_metrics.is_file() else []


def _warnings(run: RunFolder) -> list[str]:
    """What the run said that the user should look at, and its incidents."""
    said = [
        f"step {row.get('step')}: {row.get('text')}; {row.get('advice')}"
        for row in (_lines(run.warnings, [], "") if run.warnings.is_file() else ())
    ]
    for path in sorted(run.incidents.glob("step-*.json"))[:_MOST_INCIDENTS]:
        incident = _json(path, [], "") or {}
        said.append(
            f"step {incident.get('step')}: a {incident.get('what')} was not finite "
            f"(incidents/{path.name})"
        )
    return said


def _json(path: Path, missing: list[str], what: str) -> dict[str, Any] | None:
    try:
        found = read_json(path)
        if isinstance(found, dict):
            return found
    except (OSError, ValueError, RecursionError):
        pass
    missing.append(what)
    return None


def _lines(path: Path, missing: list[str], what: str) -> Iterator[dict[str, Any]]:
    """The objects of a file; lines that are none are counted."""
    try:
        lines = list(iterate_lines(path))
    except OSError:
        missing.append(what)
        return
    broken = 0
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            broken += bool(line.strip())
            continue
        if isinstance(row, dict):
            yield row
        else:
            broken += 1
    if broken:
        missing.append(f"{path.name}: {broken} broken line{'s' if broken > 1 else ''} left out")


def _table(run: RunFolder, summary: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Held-out figures before and after; a proportion with Wilson's interval."""
    sides = {}
    for when in ("before", "after"):
        found = (summary or {}).get(when) or _json(run.evaluation / f"{when}.json", [], "")
        sides[when] = found if isinstance(found, dict) else {}
    rows = []
    for key, label in _SUMMARY:
        row: dict[str, Any] = {"label": label, "percent": "exact" in key}
        for when, found in sides.items():
            value, n = found.get(key), found.get("n")
            if _finite(value) is None or not isinstance(n, int) or n < 1:
                continue
            if not row["percent"] or 0 <= value <= 1:
                row[when] = {"value": value, "n": n}
                if row["percent"]:
                    row[when]["low"], row[when]["high"] = wilson(round(value * n), n)
        if "before" in row or "after" in row:
            rows.append(row)
    return rows


def _series(rows: Any) -> dict[str, list[list[float | None]]]:
    """[steps that have it, values] by name, thinned evenly; what is no finite number is null."""
    listed = [row for row in rows if isinstance(row.get("step"), int)]
    if len(listed) > MOST_POINTS:
        places = {round(i * (len(listed) - 1) / (MOST_POINTS - 1)) for i in range(MOST_POINTS)}
        listed = [row for place, row in enumerate(listed) if place in places]
    names = {name for row in listed for name, value in row.items() if _is_number(value)}
    return {
        name: [
            [row["step"] for row in listed if name in row],
            [_finite(row[name]) for row in listed if name in row],
        ]
        for name in sorted(names - {"step"})
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: Any) -> float | None:
    return round(value, 6) if _is_number(value) and math.isfinite(value) else None


class _Texts:
    """Texts of tokens: as recorded, or by the run's tokenizer where they were not."""

    def __init__(self, folder: Path, missing: list[str]) -> None:
        self._run = RunFolder(folder)
        self._missing = missing
        self._vocabulary: Any = None

    def of(self, row: dict[str, Any]) -> list[str] | None:
        """The texts of a rollout's tokens; None where they cannot be told."""
        recorded = row.get("tokens")
        if isinstance(recorded, list):
            return [str(text) for text in recorded]
        ids = row.get("ids")
        if not isinstance(ids, list) or not self._ready():
            return None
        try:
            return [self._vocabulary.text([token]) for token in ids[:MOST_TOKENS]]
        except (TypeError, ValueError, IndexError, OverflowError):
            return None

    def _ready(self) -> bool:
        if self._vocabulary is None:
            self._vocabulary = self._load()
        return self._vocabulary is not False

    def _load(self) -> Any:
        from toolrest.core.vocabulary import Vocabulary
        from toolrest.policy.tokenizer import load_tokenizer

        try:
            recipe = load_recipe(self._run.recipe, [])
            last = self._run.last_checkpoint()
            if last is not None:
                recipe = recipe.model_copy(update={"policy": str(last)})
            return Vocabulary.from_tokenizer(load_tokenizer(recipe))
        except InputError as error:
            self._missing.append(f"tokens are not shaded: no tokenizer ({error})")
            return False


def _groups(
    run: RunFolder, most: int, texts: _Texts, missing: list[str]
) -> tuple[list[dict[str, Any]], str]:
    """Groups of responses from evenly spread steps, and what was sampled."""
    files = sorted(run.rollouts.glob("step-*.jsonl"))
    if not files:
        missing.append("no rollouts")
        return [], ""
    first = list(_lines(files[0], missing, ""))
    keep = max(1, min(len(files), most // max(1, len(first))))
    spread = max(1, keep - 1)
    chosen = sorted({round(i * (len(files) - 1) / spread) for i in range(keep)})
    made: list[dict[str, Any]] = []
    count = 0
    for place in chosen:
        for row in _lines(files[place], missing, ""):
            if count >= most:
                break
            _add(made, row, texts)
            count += 1
    sampled = (
        f"{count} responses of {len(made)} groups from {len(chosen)} of {len(files)} steps whose "
        "rollouts were saved"
    )
    return made, sampled


def _add(made: list[dict[str, Any]], row: dict[str, Any], texts: _Texts) -> None:
    """A response to the group that it is of."""
    step, identity = row.get("step", 0), str(row.get("identity", "?"))
    last = made[-1] if made else None
    if last is None or (last["step"], last["identity"]) != (step, identity):
        last = {
            "step": step,
            "identity": visible(identity),
            "prompt": _short(row.get("prompt")),
            "truth": _short(row.get("ground_truth")),
            "rows": [],
        }
        made.append(last)
    last["rows"].append(_response(row, texts))


def _short(text: Any) -> str:
    if not isinstance(text, str):
        return ""
    lines = "\n".join(visible(line) for line in text[:MOST_CHARACTERS].split("\n"))
    return lines + (" .." if len(text) > MOST_CHARACTERS else "")


def _response(row: dict[str, Any], texts: _Texts) -> dict[str, Any]:
    reward = _object(row.get("reward"))
    codes = {region.name.lower(): int(region) for region in Region}
    pieces = texts.of(row)
    regions = [codes.get(str(name), int(Region.OTHER)) for name in _list(row.get("regions"))]
    weights = [_finite(w) or 0.0 for w in _list(row.get("weights"))]
    entropies = [_finite(h) or 0.0 for h in _list(row.get("entropies"))]
    made: dict[str, Any] = {
        "advantage": _finite(row.get("advantage")),
        "reward": {
            key: _finite(reward.get(key))
            for key in ("total", "format_reward", "correctness_reward", "format", "correctness")
        },
        "exact": bool(reward.get("exact")),
        "status": visible(str(reward.get("status", "?"))),
        "calls": _parts(reward.get("calls")),
    }
    if pieces is not None and len(pieces) == len(regions) == len(weights):
        made |= {
            "tokens": [visible(piece) for piece in pieces[:MOST_TOKENS]],
            "regions": regions[:MOST_TOKENS],
            "weights": weights[:MOST_TOKENS],
            "cut": len(pieces) > MOST_TOKENS,
        }
        if len(entropies) == len(pieces):
            made["entropies"] = entropies[:MOST_TOKENS]
    else:
        made["text"] = _short(row.get("response"))
    return made


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parts(calls: Any) -> dict[str, float | None]:
    if not isinstance(calls, dict):
        return {}
    return {str(key): _finite(value) for key, value in calls.items() if _is_number(value)}


def _failures(run: RunFolder, missing: list[str]) -> list[dict[str, Any]]:
    """Held-out responses after training that are not exactly right, and what `toolrest evaluate`
    has found wrong since.
    """
    found = [
        _failure(
            f"held-out {row.get('identity', '?')}, {row.get('decoding', '?')}",
            row.get("ground_truth"),
            row.get("response"),
            _object(row.get("reward")).get("status"),
        )
        for row in _some(run.evaluation / "after.jsonl", missing)
        if not _object(row.get("reward")).get("exact")
    ]
    for path in sorted(run.evaluation.glob("*/failures.jsonl")):
        found += [
            _failure(
                f"{path.parent.name} {row.get('identity', '?')}",
                _text(row.get("expected")),
                _text(_object(row.get("got")).get("text", row.get("got"))),
                row.get("check"),
            )
            for row in _some(path, missing)
        ]
    return found


def _some(path: Path, missing: list[str]) -> list[dict[str, Any]]:
    """The first rows of a file, if it is there."""
    return list(islice(_lines(path, missing, ""), MOST_FAILURES)) if path.is_file() else []


def _failure(what: str, expected: Any, got: Any, check: Any) -> dict[str, str]:
    return {
        "what": visible(what),
        "expected": _short(expected),
        "got": _short(got),
        "check": visible(str(check or "?")),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

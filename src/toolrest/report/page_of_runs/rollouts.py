"""The responses of a run that the page shows, by group, with their tokens, regions and weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toolrest.core.regions import Region
from toolrest.errors import InputError
from toolrest.recipe import load_recipe
from toolrest.report.inspection import UNFINISHED, told_status
from toolrest.report.page_of_runs.episodes import shown_episode
from toolrest.report.page_of_runs.reading import (
    finite,
    is_number,
    iterate_rows,
    list_or_empty,
    object_or_empty,
    question_of,
    shortened,
)
from toolrest.report.shading import visible
from toolrest.runs.folder import RunFolder, steps_before

MOST_RESPONSES = 1600
"""Responses of a page, over all runs."""
MOST_TOKENS = 3000
"""Tokens of a response that are shown."""
MOST_SHOWN = 16_000_000
"""Characters of all responses of a page."""


class TokenTexts:
    """The texts of a rollout's tokens: as recorded, else by the run's tokenizer."""

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
            return self._vocabulary.pieces(ids[:MOST_TOKENS], UNFINISHED)
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


def rollout_groups(
    run: RunFolder, share: float, texts: TokenTexts, missing: list[str]
) -> tuple[list[dict[str, Any]], str]:
    """(groups of responses from evenly spread steps, a sentence that says which).

    Args:
        share: the part of `MOST_RESPONSES` and of `MOST_SHOWN` that the run may use.
    """
    most, shown = int(MOST_RESPONSES * share), int(MOST_SHOWN * share)
    files = sorted(run.rollouts.glob("step-*.jsonl"))
    if not files:
        missing.append("no rollouts")
        return [], ""
    first = list(iterate_rows(files[0], [], ""))
    chosen = max(1, min(len(files), most // max(1, len(first))))
    broken: list[str] = []
    made = _shown(files, chosen, most, texts, broken)
    while made and most > 1 and len(json.dumps(made)) > shown:
        chosen, most = (chosen // 2, most) if chosen > 1 else (1, most // 2)
        broken = []
        made = _shown(files, chosen, most, texts, broken)
    missing += broken
    count = sum(len(group["rows"]) for group in made)
    what = "episodes" if made and "episode" in made[0]["rows"][0] else "responses"
    sampled = (
        f"{count} {what} of {len(made)} groups from {chosen} of {len(files)} steps whose "
        f"rollouts were saved{_rewards_of(run)}"
    )
    return made, sampled


def _shown(
    files: list[Path], keep: int, most: int, texts: TokenTexts, broken: list[str]
) -> list[dict[str, Any]]:
    """Groups of at most so many responses from evenly spread files, the last one among them."""
    first = 0 if keep > 1 else len(files) - 1
    spread = max(1, keep - 1)
    places = sorted({first + round(i * (len(files) - 1) / spread) for i in range(keep)})
    made: list[dict[str, Any]] = []
    count = 0
    for place in places:
        for row in iterate_rows(files[place], broken, ""):
            if count >= most:
                return made
            _add(made, row, texts)
            count += 1
    return made


def _rewards_of(run: RunFolder) -> str:
    """Which rewards are shown, where they are not those of `inspect`, `score` and evaluations."""
    try:
        recipe = load_recipe(run.recipe, [])
    except InputError:
        return ""
    schedule = recipe.reward.schedule
    if schedule == "constant" or recipe.acts:
        return ""
    return (
        f"; rewards are those of training, by reward.schedule={visible(schedule)} at the step "
        "(inspect, score and evaluations have constant ranges)"
    )


def _add(made: list[dict[str, Any]], row: dict[str, Any], texts: TokenTexts) -> None:
    """Add a response to the last group, or to a new one where step or identity differ."""
    step, identity = steps_before(row) + 1, str(row.get("identity", "?"))
    last = made[-1] if made else None
    if last is None or (last["step"], last["identity"]) != (step, identity):
        last = {
            "step": step,
            "identity": visible(identity),
            "prompt": shortened(row.get("prompt")),
            "question": question_of(row.get("prompt")),
            "truth": shortened(row.get("ground_truth")),
            "rows": [],
        }
        made.append(last)
    last["rows"].append(_response(row, texts))


def _response(row: dict[str, Any], texts: TokenTexts) -> dict[str, Any]:
    reward = object_or_empty(row.get("reward"))
    codes = {region.name.lower(): int(region) for region in Region}
    pieces = texts.of(row)
    regions = [
        codes.get(str(name), int(Region.OTHER)) for name in list_or_empty(row.get("regions"))
    ]
    weights = [finite(w) or 0.0 for w in list_or_empty(row.get("weights"))]
    entropies = [finite(h) or 0.0 for h in list_or_empty(row.get("entropies"))]
    advantages = [finite(a) or 0.0 for a in list_or_empty(row.get("advantages"))]
    made: dict[str, Any] = {
        "advantage": finite(row.get("advantage")),
        "reward": {
            key: finite(reward.get(key))
            for key in ("total", "format_reward", "correctness_reward", "format", "correctness")
        },
        "exact": bool(reward.get("exact")),
        "status": visible(told_status(str(reward.get("status", "?")), row.get("cut"))),
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
        if len(advantages) == len(pieces):
            made["advantages"] = advantages[:MOST_TOKENS]
    else:
        made["text"] = shortened(row.get("response"))
    if "episode" in row:
        made |= shown_episode(row)
    return made


def _parts(calls: Any) -> dict[str, float | None]:
    if not isinstance(calls, dict):
        return {}
    return {str(key): finite(value) for key, value in calls.items() if is_number(value)}

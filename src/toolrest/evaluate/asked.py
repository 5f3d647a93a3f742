"""What an evaluation on a benchmark asks of a policy: settings, limit and items."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from toolrest.core.dialects import get_dialect
from toolrest.data.wording import Thoughts
from toolrest.errors import InputError, check_name
from toolrest.evaluate import apibank, world
from toolrest.evaluate.bfcl import categories as bfcl_categories
from toolrest.evaluate.bfcl import episodes as bfcl
from toolrest.evaluate.bfcl.official import BESIDE, VERSIONS, OfficialBFCL
from toolrest.evaluate.episode import Episode
from toolrest.evaluate.options import Options
from toolrest.evaluate.settings import (
    answer_settings,
    asks_for_thought,
    dialect_and_style,
    limit_of_answer,
    trained_wording,
)
from toolrest.evaluate.target import Target


@dataclass(frozen=True)
class Asked:
    """The items of a benchmark as they are put to a policy, and all that its answers depend on."""

    settings: dict[str, Any]
    """The content of settings.json."""
    limited_by: str
    """Where the most tokens of an answer, `max_tokens` of the settings, are from."""
    episodes: list[Episode]
    """The items, none answered yet, in the benchmark's order."""
    whole: list[str]
    """The categories of which every item is there."""
    dialect: str
    """How calls are read."""
    release: str | None
    """Of BFCL; None: another benchmark."""


def ask(target: Target, options: Options, closing: ExitStack, weights: str | None = None) -> Asked:
    """What a benchmark asks of a policy.

    Args:
        closing: closes what the items are scored by.
        weights: what the settings say of the policy's bytes; None: their fingerprint.

    Raises:
        InputError: options that do not fit the policy or the benchmark, or there is no item.
    """
    dialect, style = dialect_and_style(target, options)
    official = None
    if options.benchmark == "bfcl":
        official = closing.enter_context(open_official(options))
    think = asks_for_thought(target, options, style)
    settings = answer_settings(target, options, dialect, style, official, weights)
    settings["max_tokens"], limited_by = limit_of_answer(target, options)
    if think:
        settings["think"] = True
    trained = trained_wording(target, options)
    thoughts: Thoughts = "placeholder" if trained is None else trained.thoughts
    if thoughts != "placeholder" and options.benchmark != "world":
        settings["thoughts"] = thoughts
    speech = bfcl.Speech(style, get_dialect(dialect), think, thoughts)
    groups = _episodes(target, options, speech, official)
    episodes = [episode for found in groups.values() for episode in found[: options.limit]]
    if not episodes:
        raise InputError(f"--on {options.benchmark}: there is no item to evaluate")
    played = Counter(episode.category for episode in episodes)
    every = Counter(episode.category for found in groups.values() for episode in found)
    whole = [name for name, count in every.items() if played[name] == count]
    release = None if official is None else official.release
    return Asked(settings, limited_by, episodes, whole, dialect, release)


def open_official(options: Options) -> OfficialBFCL:
    """BFCL's checker and simulators at work, to be closed.

    Raises:
        InputError: they are not here, or of another version.
    """
    official = OfficialBFCL(folder=options.official_folder)
    if options.version not in (None, official.release):
        official.close()
        release = options.version or ""
        beside = BESIDE.format(release=release, version=VERSIONS[release])
        raise InputError(
            f"--version {options.version}: bfcl-eval {official.version} is installed, which holds "
            f"BFCL {official.release}; for {options.version} beside it: {beside}, then "
            f"PYTHONPATH=bfcl-{options.version} before the command"
        )
    return official


def _episodes(
    target: Target, options: Options, speech: bfcl.Speech, official: OfficialBFCL | None
) -> dict[str, list[Episode]]:
    """The benchmark's episodes, by category."""
    wanted = options.categories
    if official is not None:
        names = bfcl_categories.choose(wanted, official.release)
        return {name: bfcl.episodes(official, name, speech) for name in names}
    if options.benchmark == "apibank":
        assert options.data is not None
        for name in wanted:
            check_name("level of API-Bank", name, apibank.LEVELS)
        levels = [name for name in apibank.LEVELS if not wanted or name in wanted]
        return {
            name: apibank.episodes(
                options.data,
                name,
                speech.dialect,
                speech.style,
                think=speech.think,
                thoughts=speech.thoughts,
            )
            for name in levels
        }
    if wanted:
        raise InputError("--categories: the embedded world's tasks have none to choose from")
    knobs = target.recipe.data.world.knobs
    return {"tasks": world.episodes(max(options.limit or 0, world.COUNT), knobs)}

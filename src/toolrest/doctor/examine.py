"""All checks of a recipe, in the order in which a run would need them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from toolrest.doctor.check import Check, Section, Status, guarded
from toolrest.errors import InputError
from toolrest.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from toolrest.estimate.settings import Lengths


@dataclass
class _Seen:
    """What a section found and a later one needs."""

    tokenizer: PreTrainedTokenizerBase | None = None
    recipe: Recipe | None = None
    """As training fits it to the policy's chat template, its size and the data."""
    lengths: Lengths | None = None


def examine(
    path: Path | None,
    overrides: list[str],
    *,
    gpu: str | None = None,
    self_test: bool = True,
    begins: Callable[[str], None] = lambda name: None,
) -> Iterator[Section]:
    """Look at the machine, the recipe, its policy and data, and train two steps.

    Args:
        path: the recipe's file; None: the embedded default run.
        overrides: `key=value` settings.
        gpu: the GPU to calculate memory for, by its short name; None: this machine's.
        self_test: whether the two steps are trained.
        begins: told the name of each section before it is looked at.

    Yields:
        Sections as they are done. Nothing raises: what cannot be checked is a line that says so.
    """
    recipe, said = _read_recipe(path, overrides)

    def section(name: str, look: Callable[[], list[Check]]) -> Section:
        begins(name)
        return Section(name, tuple(guarded(name, look)))

    yield section("environment", lambda: _environment(recipe or Recipe()))
    if recipe is not None and recipe.engine.name == "verl":
        yield section("verl", _verl)
    yield section("recipe", lambda: [said])
    if recipe is not None:
        known = recipe
        seen = _Seen()
        yield section("policy", lambda: _policy(known, seen))
        yield section("data", lambda: _data(known, gpu, seen))
        if known.environment.source is not None:
            yield section("episodes", lambda: _episodes(known, seen))
        yield section("needs", lambda: _needs(known, gpu, seen))
    if self_test:
        yield section("self-test", lambda: _self_test(recipe))


def _read_recipe(path: Path | None, overrides: list[str]) -> tuple[Recipe | None, Check]:
    from toolrest.core.weights import get_scheme

    source = str(path) if path is not None else "the embedded default run"
    try:
        recipe = load_recipe(path, overrides)
        get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    except InputError as error:
        return None, Check("recipe", Status.PROBLEM, str(error))
    changed = f" with {', '.join(overrides)}" if overrides else ""
    return recipe, Check("recipe", Status.OK, f"{source}{changed}")


def _environment(recipe: Recipe) -> list[Check]:
    from toolrest.doctor.environment import check_environment

    return check_environment(recipe)


def _verl() -> list[Check]:
    from toolrest.doctor.environment import check_verl_engine

    return check_verl_engine()


def _policy(recipe: Recipe, seen: _Seen) -> list[Check]:
    from toolrest.doctor import policy, tokens
    from toolrest.doctor.template import check_prefix

    def load() -> list[Check]:
        seen.tokenizer, checks = policy.check_tokenizer(recipe)
        return checks

    checks = guarded("policy", lambda: policy.check_files(recipe))
    if any(check.status is Status.PROBLEM for check in checks):
        return checks
    checks += guarded("tokenizer", load)
    if seen.tokenizer is None:
        return checks

    def fit(tokenizer: PreTrainedTokenizerBase) -> list[Check]:
        seen.recipe, found = policy.fit(recipe, tokenizer)
        return found

    checks += guarded("dialect", partial(fit, seen.tokenizer))
    recipe = seen.recipe or recipe
    for name, look in (
        ("chat template", check_prefix),
        ("end of turn", tokens.check_end),
        ("marks", tokens.check_marks),
    ):
        checks += guarded(name, partial(look, recipe, seen.tokenizer))

    def label(tokenizer: PreTrainedTokenizerBase) -> list[Check]:
        vocabulary = tokens.read_vocabulary(recipe, tokenizer)
        round_trip = partial(tokens.check_round_trip, recipe, tokenizer, vocabulary)
        regions = partial(tokens.check_regions, recipe, tokenizer, vocabulary)
        return guarded("round trip", round_trip) + guarded("regions", regions)

    return checks + guarded("regions", partial(label, seen.tokenizer))


def _data(recipe: Recipe, gpu: str | None, seen: _Seen) -> list[Check]:
    from toolrest.doctor.data import (
        check_evaluation_rows,
        check_lengths,
        check_replies,
        check_rows,
        prompt_lengths,
    )
    from toolrest.policy.sizing import count_tokens

    recipe = seen.recipe or recipe
    tokenizer = seen.tokenizer
    settings: list[Check] = []

    def size(tokenizer: PreTrainedTokenizerBase) -> list[Check]:
        seen.recipe, found = policy.size(recipe, tokenizer, gpu)
        return found

    if tokenizer is not None:
        from toolrest.doctor import policy

        settings = guarded("settings", partial(size, tokenizer))
    recipe = seen.recipe or recipe
    begun: list[Check] = []
    if recipe.environment.source is not None:
        from toolrest.doctor import episodes

        begun = guarded("data", lambda: episodes.check_rows(recipe))
        if recipe.acts or not recipe.sources:
            return begun + settings
    samples, checks = check_rows(recipe)
    if not begun:
        checks += check_evaluation_rows(recipe)
    checks = begun + checks
    if tokenizer is None or not samples:
        return checks

    def measure() -> list[Check]:
        lengths, refused = prompt_lengths(samples, tokenizer)
        return refused + (check_lengths(recipe, lengths) if lengths else [])

    def count() -> list[Check]:
        seen.lengths = count_tokens(samples, tokenizer, recipe)
        return check_replies(recipe, seen.lengths)

    return checks + settings + guarded("prompts", measure) + guarded("replies", count)


def _episodes(recipe: Recipe, seen: _Seen) -> list[Check]:
    from toolrest.doctor.episodes import check_episodes

    return check_episodes(seen.recipe or recipe, seen.tokenizer)


def _needs(recipe: Recipe, gpu: str | None, seen: _Seen) -> list[Check]:
    from toolrest.doctor.environment import Torch, look_at_torch
    from toolrest.doctor.estimates import check_needs

    try:
        torch = look_at_torch()
    except (ImportError, OSError):
        torch = Torch(None, ())
    return check_needs(seen.recipe or recipe, torch, gpu, seen.lengths)


def _self_test(recipe: Recipe | None) -> list[Check]:
    from importlib.util import find_spec

    from toolrest.doctor.self_test import run_self_test

    if recipe is not None and recipe.engine.name == "verl" and find_spec("trl") is None:
        return [Check("training", Status.NOTE, "not done: it needs TRL, and verl does not")]
    return run_self_test(recipe)

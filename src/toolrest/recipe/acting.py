"""What must fit together in a recipe with an environment, and what means nothing without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from toolrest.errors import InputError

if TYPE_CHECKING:
    from toolrest.recipe.schema import Recipe

_OF_RESPONSES = (
    *("correctness", "schedule", "normalise_strings", "lenient_types", "punish_over_calls"),
)
"""Keys of `reward` that say how a response is compared with a ground truth."""
_OF_TURNS = ("by_turns", "needless_turn")
"""Keys of `reward` about the turns of an episode."""
_OF_ROWS = ("format", "take", "share", "mask")
"""Keys of a source that say how samples are made of its rows, and which."""


def check_environment(recipe: Recipe) -> None:
    """Check everything that a recipe says of its environment against the rest.

    Raises:
        InputError: the first thing that does not fit or would be ignored, with the mend.
    """
    if recipe.environment.source is None:
        _check_absent(recipe)
        return
    for wrong, said in (*_refused(recipe), *_ignored(recipe), *_sizes(recipe)):
        if wrong:
            raise InputError(said)


def _check_absent(recipe: Recipe) -> None:
    if recipe.advantage.credit == "turns":
        raise InputError(
            "advantage.credit=turns needs an environment that rewards turns: give "
            "environment.source, or use advantage.credit=response"
        )
    for name in _OF_TURNS:
        if name in _said(recipe.reward):
            raise InputError(
                f"reward.{name} is about the turns of an episode, but there is no environment; "
                "give environment.source, or leave it out"
            )
    for name in _said(recipe.environment):
        raise InputError(
            f"environment.{name} is said, but there is no environment; give environment.source, or "
            "leave it out"
        )


def _said(section: BaseModel) -> list[str]:
    """The keys of a section whose values are not the usual ones."""
    return [
        name
        for name, field in type(section).model_fields.items()
        if getattr(section, name) != field.get_default(call_default_factory=True)
    ]


def _refused(recipe: Recipe) -> list[tuple[bool, str]]:
    """What an environment cannot be used with."""
    source, engine = f"environment.source={recipe.environment.source}", recipe.engine
    teaches = "whole episodes have no demonstrations to learn from"
    own = recipe.data.path is not None or bool(recipe.data.sources)
    steps, credit = "environment.train=steps", recipe.advantage.credit
    turns = "reward.by_turns=true"
    dialogues = "give data.path with dialogues, each a row that `reset` is given too"
    needs = None if recipe.acts else steps
    needs = turns if recipe.acts and recipe.reward.by_turns else needs
    return [
        (
            recipe.method != "rl" and recipe.acts,
            f"method={recipe.method} with {source}: {teaches}; use {steps}, or method=rl",
        ),
        (
            recipe.warm_start.method != "none" and recipe.acts,
            f"warm_start.method={recipe.warm_start.method} with {source}: {teaches}; run "
            f"method={recipe.warm_start.method} with {steps} first and give its folder as policy",
        ),
        (
            needs is not None and not own and recipe.environment.source != "world",
            f"{needs} with {source}: steps are those of demonstrated dialogues, and there are "
            f"none; {dialogues}",
        ),
        (
            recipe.reward.by_turns and not recipe.acts,
            f"{turns} with {steps}: a single step is one turn; leave it out",
        ),
        (
            recipe.reward.needless_turn > 0 and not recipe.reward.by_turns,
            f"reward.needless_turn={recipe.reward.needless_turn:g} without {turns}: nobody knows "
            f"which turns are needless; use {turns}, or leave it out",
        ),
        (
            credit == "turns" and recipe.reward.by_turns,
            f"advantage.credit=turns with {turns}: credit by turns is of what the environment "
            "gives alone; use advantage.credit=response",
        ),
        (
            engine.name == "verl" and not recipe.acts,
            f"{steps} with engine=verl: policies there are evaluated as they are trained, and not "
            "in whole episodes; use engine=trl",
        ),
        (
            engine.name == "verl" and recipe.reward.by_turns,
            f"{turns} with engine=verl: the environment gives all rewards there; use engine=trl, "
            "or leave it out",
        ),
        (
            not recipe.acts and credit == "turns",
            f"advantage.credit=turns with {steps}: a single step is one turn; use "
            "advantage.credit=response or spans",
        ),
        (
            engine.name == "trl" and engine.sharding != "ddp",
            f"engine.sharding={engine.sharding} with {source}: an episode is sampled by a process "
            "that has the whole policy; use engine.sharding=ddp",
        ),
        (
            engine.name == "trl" and recipe.rollout.sampler == "vllm",
            f"rollout.sampler=vllm with {source}: episodes are sampled by the training process; "
            "use rollout.sampler=generate, or leave it out",
        ),
        (
            recipe.data.prompt == "rlla",
            f"data.prompt=rlla with {source}: it writes a dialogue's history into one message, so "
            "that no turn can follow another; use data.prompt=plain or template",
        ),
        (
            recipe.environment.source == "world" and recipe.dialect not in ("rlla", "auto"),
            f"dialect={recipe.dialect} with {source}: the embedded chains ask for dialect=rlla",
        ),
        (
            recipe.acts and credit == "spans",
            f"advantage.credit=spans with {source}: spans are parts of one response; use "
            "advantage.credit=turns or response",
        ),
        (
            recipe.acts and recipe.optimizer.mask_truncated,
            f"optimizer.mask_truncated with {source}: TRL takes every episode that ends with a "
            "result for one that was cut; leave it out",
        ),
        (
            credit == "turns" and bool(recipe.reward.functions),
            "advantage.credit=turns with reward.function: no turn is known to have earned what the "
            "function gives; use advantage.credit=response, or leave reward.function out and have "
            "the environment reward turns",
        ),
    ]


def _ignored(recipe: Recipe) -> list[tuple[bool, str]]:
    """What would mean nothing with an environment."""
    source, data = f"environment.source={recipe.environment.source}", recipe.data
    own = data.path is not None or bool(data.sources)
    found = [
        (
            True,
            f"reward.{name} says how a response is compared with a ground truth, but with {source} "
            "the environment gives the rewards; leave it out",
        )
        for name in _OF_RESPONSES
        if recipe.acts and not recipe.reward.by_turns and name in _said(recipe.reward)
    ]
    found += [
        (
            True,
            f"data.{name} is about actions of dialogues in the data, but with {source} the "
            "environment says what a prompt is, and thoughts of earlier turns stay; leave it out",
        )
        for name in ("thoughts", "thought_sentences")
        if name in _said(data) and (recipe.acts or name == "thoughts")
    ]
    found += [
        (
            True,
            f"data.sources.{number}.{name} with {source}: each row begins an episode, as it is; "
            "leave it out, and put the rows that are wanted into a file",
        )
        for number, each in enumerate(data.sources)
        for name in _OF_ROWS
        if name in _said(each)
    ]
    rows = recipe.environment.rows
    return [
        *found,
        (
            own and "rows" in _said(recipe.environment),
            f"environment.rows={rows} says how many rows are made where there are no data, but "
            "data are given; leave one of them out",
        ),
    ]


def _sizes(recipe: Recipe) -> list[tuple[bool, str]]:
    """Limits that cannot all be kept."""
    whole, turn = recipe.environment.max_trajectory_tokens, recipe.rollout.max_response_tokens
    result = recipe.environment.max_result_tokens
    return [
        (
            whole < turn,
            f"environment.max_trajectory_tokens={whole} of a whole episode are fewer than "
            f"rollout.max_response_tokens={turn} of one turn; raise the first or lower the second",
        ),
        (
            recipe.environment.max_turns > 1 and whole <= result,
            f"environment.max_trajectory_tokens={whole} of a whole episode leave no room for a "
            f"result of environment.max_result_tokens={result}; raise the first or lower the "
            "second",
        ),
        (
            recipe.environment.episode_timeout < recipe.environment.call_timeout,
            f"environment.episode_timeout={recipe.environment.episode_timeout:g} seconds of a "
            "whole episode are fewer than "
            f"environment.call_timeout={recipe.environment.call_timeout:g} of one turn; raise the "
            "first or lower the second",
        ),
    ]

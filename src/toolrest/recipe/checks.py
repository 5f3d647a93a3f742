"""What must fit together in a recipe, beyond the values themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from toolrest.errors import InputError, check_name, counted, short, unknown_name
from toolrest.recipe.acting import check_environment
from toolrest.recipe.branching import branching_checks
from toolrest.recipe.evaluated import check_evaluation
from toolrest.recipe.sharding import check_sharding

if TYPE_CHECKING:
    from toolrest.recipe.schema import Recipe

_MODULE = re.compile(r"[A-Za-z0-9_.-]{1,200}+")

LOSSES = ("bnpo", "cispo", "dapo", "dr_grpo", "grpo", "sapo")
"""TRL's losses in which an advantage weighs its token exactly; luspo has one ratio a response, and
asks for a setting that recipes have not.
"""


def check_recipe(recipe: Recipe) -> None:
    """Check what pydantic cannot: names that are registered elsewhere, and sums that must fit.

    Raises:
        InputError: naming key, value and mend.
    """
    from toolrest.core.dialects import AUTO, get_dialect
    from toolrest.core.rewards.correctness import check_correctness
    from toolrest.core.rewards.schedule import get_schedule
    from toolrest.data.formats import format_names

    own = recipe.data.path is not None or bool(recipe.data.sources)
    own = own or recipe.environment.source is not None
    if recipe.dialect != AUTO and get_dialect(recipe.dialect).name != "rlla" and not own:
        raise InputError(
            f"dialect={recipe.dialect}: the embedded tasks ask for dialect=rlla; give data.path"
        )
    _check_world(recipe)
    if recipe.data.path is not None and recipe.data.sources:
        raise InputError("data.path and data.sources: give one of them")
    if recipe.method != "rl" and recipe.warm_start.method != "none":
        raise InputError(
            f"method={recipe.method} with warm_start.method={recipe.warm_start.method}: a warm "
            "start comes before reinforcement learning; leave it out, or use method=rl"
        )
    for number, source in enumerate(recipe.data.sources):
        if source.format is not None and source.format not in format_names():
            said = unknown_name("format", source.format, format_names())
            raise InputError(f"data.sources.{number}.format: {said}")
    _check_template_options(recipe)
    _check_modules(recipe)
    get_schedule(recipe.reward.schedule)
    check_correctness(recipe.reward.correctness)
    check_environment(recipe)
    _check_split(recipe)
    later = (*_quantised(recipe), *branching_checks(recipe))
    for wrong, said in (*_ignored(recipe), *later):
        if wrong:
            raise InputError(said)
    check_evaluation(recipe)
    _check_engine(recipe)


def _check_world(recipe: Recipe) -> None:
    """The tasks of the embedded world are made where nothing else gives any, and single tasks have
    no knobs.
    """
    world = recipe.data.world
    for name in ("decided_in_thought", "idle_sentences"):
        value = getattr(world, name)
        if value is not None and world.tasks == "single":
            raise InputError(
                f"data.world.{name}={value}: single tasks have nothing of the kind; add "
                "data.world.tasks=thoughts, or leave it out"
            )
    given = {
        "data.path": recipe.data.path,
        "data.sources": recipe.data.sources,
        "environment.source": recipe.environment.source,
    }
    for key, value in given.items():
        if value and world.tasks != "single":
            raise InputError(
                f"data.world.tasks={world.tasks} with {key}: the tasks are those of {key}; leave "
                "one of them out"
            )


def _ignored(recipe: Recipe) -> list[tuple[bool, str]]:
    """What says nothing without something else, or does not go with it."""
    functions, weights = recipe.reward.functions, recipe.reward.weights
    one_each = f"1 for the rules and {len(functions)} for reward.function"
    return [
        (
            weights is not None and not functions,
            "reward.weights weighs the rules' reward beside those of reward.function, and there is "
            "none; leave it out",
        ),
        (
            weights is not None and len(weights) != 1 + len(functions),
            f"reward.weights has {counted(len(weights or []), 'number')}; it takes {one_each}",
        ),
        (
            recipe.max_epochs is not None and recipe.method != "rl",
            f"max_epochs with method={recipe.method}: supervised learning has warm_start.steps of "
            "warm_start.batch_size demonstrations; set these",
        ),
        (
            recipe.lora.base_precision != "full" and not recipe.lora.rank,
            f"lora.base_precision={recipe.lora.base_precision} is of what adapters are added to, "
            "and there are none; set lora.rank",
        ),
        *_noisy(recipe),
    ]


def _noisy(recipe: Recipe) -> list[tuple[bool, str]]:
    """What label noise does not reach."""
    share = recipe.reward.label_noise
    key = f"reward.label_noise={share:g}"
    return [
        (
            share > 0 and recipe.engine.name == "verl",
            f"{key} with engine=verl: its reward is not told which response of a generation it "
            "scores; leave it out, or use engine=trl",
        ),
        (
            share > 0 and recipe.acts,
            f"{key} with environment.source={recipe.environment.source}: an environment's rewards "
            "are its own; leave it out, or use environment.train=steps",
        ),
        (
            share > 0 and recipe.advantage.credit not in ("response", "forks"),
            f"{key} with advantage.credit={recipe.advantage.credit}: parts of a reward would stay "
            "true while their sum is not; use advantage.credit=response",
        ),
        (
            share > 0 and recipe.method != "rl",
            f"{key} with method={recipe.method}: supervised learning has no rewards; leave it out",
        ),
    ]


def _quantised(recipe: Recipe) -> list[tuple[bool, str]]:
    """What a base in 4 bits, or moments in 8, cannot be used with in the engine trl."""
    base, engine = f"lora.base_precision={recipe.lora.base_precision}", recipe.engine
    nf4 = recipe.lora.base_precision == "nf4" and engine.name == "trl"
    split = engine.sharding != "ddp"
    supervised = recipe.method != "rl" or recipe.warm_start.method != "none"
    name = recipe.optimizer.name
    return [
        (
            nf4 and supervised,
            f"{base} with supervised learning: adapters are merged after it, into a base that 4 "
            "bits do not hold; use it without a warm start and with method=rl",
        ),
        (
            nf4 and split,
            f"{base} with engine.sharding={engine.sharding}: weights of 4 bits are not split; use "
            "engine.sharding=ddp",
        ),
        (
            nf4 and recipe.rollout.sampler == "vllm",
            f"{base} with rollout.sampler=vllm: vLLM would be sent weights of 4 bits, which it "
            "does not take; leave rollout.sampler out",
        ),
        (
            name != "adamw" and engine.name == "trl" and split,
            f"optimizer.name={name} with engine.sharding={engine.sharding}: bitsandbytes keeps "
            "moments of whole parameters; use engine.sharding=ddp, or adamw",
        ),
    ]


def _check_template_options(recipe: Recipe) -> None:
    """Options are variables of a template, and none of those that it always gets."""
    for name in recipe.data.template_options:
        if not name.isidentifier() or not name.isascii():
            raise InputError(f"data.template_options: {name!r} is no name of a template's variable")
        if name in ("messages", "tools", "add_generation_prompt", "documents"):
            raise InputError(
                f"data.template_options.{name}: {name} comes from the data; leave it out"
            )


def _check_modules(recipe: Recipe) -> None:
    """Adapters go to modules by their names; a pattern could take for ever to match."""
    for name in recipe.lora.names or ():
        if not _MODULE.fullmatch(name):
            raise InputError(
                f"lora.target_modules: {short(name)} is no module's name, such as q_proj; name "
                "each in a list (patterns are not matched), or all-linear"
            )


def _check_split(recipe: Recipe) -> None:
    """Generation, optimiser steps, processes and forwards must divide each other."""
    mini, prompts = recipe.optimizer.mini_batch, recipe.rollout.prompts_per_step
    if mini is not None and prompts % mini:
        raise InputError(
            f"optimizer.mini_batch={mini} does not divide rollout.prompts_per_step={prompts}"
        )
    processes = recipe.engine.processes * recipe.engine.nodes
    responses = recipe.responses_per_update
    if responses % processes:
        raise InputError(
            f"engine.processes={recipe.engine.processes}: {processes} processes do not divide the "
            f"{responses} responses of an optimiser step "
            "(rollout.prompts_per_step or optimizer.mini_batch, times rollout.group_size)"
        )
    credit = recipe.advantage.credit
    if recipe.engine.name == "trl" and credit != "response" and prompts % processes:
        raise InputError(
            f"advantage.credit={credit} with engine.processes={recipe.engine.processes}: "
            f"{processes} processes would cut a group in two, whose responses are compared; use "
            f"rollout.prompts_per_step={-(-prompts // processes) * processes}"
        )
    micro = recipe.optimizer.micro_batch
    if micro is not None and recipe.optimizer.micro_tokens is not None:
        raise InputError(
            f"optimizer.micro_batch={micro} and optimizer.micro_tokens="
            f"{recipe.optimizer.micro_tokens} both say how large a forward is; keep one"
        )
    if micro is not None and (responses // processes) % micro:
        part = "" if processes == 1 else f" on each of {processes} processes"
        raise InputError(
            f"optimizer.micro_batch={micro} does not divide the {responses // processes} "
            f"responses of an optimiser step{part} (rollout.prompts_per_step or "
            "optimizer.mini_batch, times rollout.group_size)"
        )
    steps = recipe.steps_per_generation
    if recipe.save_steps % steps:
        raise InputError(
            f"save_steps={recipe.save_steps} falls between optimiser steps on the same rollouts; "
            f"use {-(-recipe.save_steps // steps) * steps}"
        )


def _check_engine(recipe: Recipe) -> None:
    """What an engine cannot do."""
    engine = recipe.engine
    if engine.name == "verl":
        return
    check_name("optimizer.loss", recipe.optimizer.loss, LOSSES)
    if recipe.optimizer.clip_by != "none" and recipe.optimizer.loss in ("cispo", "sapo"):
        raise InputError(
            f"optimizer.clip_by={recipe.optimizer.clip_by}: optimizer.loss={recipe.optimizer.loss} "
            "clips no token's ratio to a range around 1; use another loss, or leave it out"
        )
    _check_later_updates(recipe)
    if recipe.advantage.filter_groups:
        raise InputError(
            "advantage.filter_groups: TRL samples no other groups in the place of those without a "
            "signal; use engine=verl, or leave it out"
        )
    for key, value, usual in (("mode", engine.mode, "sync"), ("options", engine.options, {})):
        if value != usual:
            raise InputError(f"engine.{key} is a setting of verl; use it with engine=verl")
    check_sharding(recipe)
    split = engine.sharding != "ddp"
    if split and recipe.lora.rank and (recipe.method != "rl" or recipe.warm_start.method != "none"):
        raise InputError(
            f"engine.sharding={engine.sharding} with lora and supervised learning: adapters are "
            "merged after it, for which a process needs the whole policy; use engine.sharding=ddp"
        )
    if split and recipe.evaluation.every:
        raise InputError(
            f"evaluation.every={recipe.evaluation.every} with engine.sharding={engine.sharding}: "
            "no process has the whole policy on the way; use evaluation.every=0, and "
            "`toolrest evaluate RUN --checkpoint STEP` afterwards"
        )


def _check_later_updates(recipe: Recipe) -> None:
    """What acts from a generation's second update on needs one."""
    if recipe.method != "rl" or recipe.steps_per_generation > 1:
        return
    optimizer, prompts = recipe.optimizer, recipe.rollout.prompts_per_step
    said = {
        f"clip_by={optimizer.clip_by}": optimizer.clip_by != "none",
        f"llds={optimizer.llds:g}": optimizer.llds > 0,
    }
    for key, given in said.items():
        if given:
            half = f"optimizer.mini_batch={prompts // 2} or " if prompts % 2 == 0 else ""
            raise InputError(
                f"optimizer.{key}: each generation has one update, of the policy that sampled it, "
                f"on which this does nothing; use {half}optimizer.iterations=2, or leave it out"
            )

"""A new recipe as commented YAML, from what its user has."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import yaml

from toolrest.errors import printable
from toolrest.recipe.schema import EMBEDDED, Recipe

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*", re.ASCII)
"""Texts that may stand without quotes; what begins with a letter is no number."""
_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
"""Words that YAML reads as something else."""
_PROMPTS = Recipe().rollout.prompts_per_step
_GROUP = Recipe().rollout.group_size
_DEMONSTRATIONS = Recipe().warm_start.batch_size
_STEPS, _SAMPLES = 50, 64
"""Steps, and held-out samples, of a pretrained policy."""

Line = tuple[str, object, str]
"""(key, value, what it does)."""


@dataclass(frozen=True)
class Answers:
    """What the user has and wants, and what follows from it."""

    policy: str = EMBEDDED
    """As recipes have it."""
    data: str | None = None
    """A file or a data set on the hub; None: the embedded world's tasks."""
    method: Literal["rl", "sft"] = "rl"
    """As recipes have it."""
    warm_start: bool = False
    """Whether supervised learning comes before reinforcement learning."""
    processes: int = 1
    """One a GPU."""
    name: str | None = None
    """The run's."""
    dialect: str | None = None
    """None: the recipes' default."""
    dialect_why: str = ""
    """Where the dialect comes from."""
    think: bool | None = None
    """Whether a right reply has a thought; None: left to the recipe's default."""
    checkpointing: bool = False
    """Whether memory asks for recomputed activations."""
    lora_rank: int = 0
    """Rank of the adapters that memory asks for; 0: all parameters are trained."""
    sharded: bool = False
    """Whether memory asks for a policy that is spread over the GPUs."""


def write_new(answers: Answers, file: str) -> str:
    """The recipe's text; what it leaves out follows from policy, memory and data.

    Args:
        file: the recipe's, for the commands in its head.
    """
    lines = [*_head(answers, file)]
    for title, keys in _sections(answers):
        made = [_line(key, value, why, "  " if title else "") for key, value, why in keys]
        if made:
            lines += [f"{title}:", *made] if title else made
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """A value as YAML on one line, quoted wherever it would be read back as another."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    dumped = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=math.inf)
    return dumped.rstrip("\n")


def command_word(text: str) -> str:
    """A text as one word of a command, on one line."""
    return printable(shlex.quote(text))


def _head(answers: Answers, file: str) -> Iterator[str]:
    name = command_word(file)
    yield f"# Made by `toolrest new`; {_what(answers)}."
    yield f"#   toolrest train {name} --dry-run    # what would be done, and how long it takes"
    yield f"#   toolrest train {name}"
    if answers.policy != EMBEDDED:
        yield "# Learning rates, batch sizes, limits of tokens and precision are left out: they"
        yield "# follow from the policy's size, the free memory and the data (docs/scaling.md)."
        yield "# --dry-run shows them with their reasons; a key that is written here stays."
    if answers.data is not None:
        yield "# Paths that are not whole begin in the folder that the command is given in."


def _what(answers: Answers) -> str:
    if answers.method == "sft":
        return "supervised learning on demonstrations"
    if answers.warm_start:
        return "supervised learning first, then reinforcement learning with ResT"
    return "reinforcement learning with ResT"


def _sections(answers: Answers) -> Iterator[tuple[str, list[Line]]]:
    """(section, its keys), the keys of no section first."""
    yield "", [*_top(answers)]
    yield "data", [*_data(answers)]
    yield "warm_start", [*_warm_start(answers)]
    yield "rollout", [*_rollout(answers)]
    if answers.method == "rl":
        scheme = "weights of tokens, by the entropy of their regions; uniform: GRPO"
        yield "weighting", [("scheme", "rest", scheme)]
    if answers.checkpointing:
        why = "activations are computed again: less memory, more time"
        yield "optimizer", [("gradient_checkpointing", True, why)]
    if answers.lora_rank:
        yield "lora", [("rank", answers.lora_rank, "adapters are trained; 0: all parameters")]
    yield "engine", [*_engine(answers)]
    samples = Recipe().evaluation.samples if answers.policy == EMBEDDED else _SAMPLES
    why = "held-out prompts at most, before and after; 0: none"
    yield "evaluation", [("samples", samples, why)]


def _top(answers: Answers) -> Iterator[Line]:
    if answers.name is not None:
        yield "name", answers.name, "the run's folder is runs/NAME"
    yield "policy", answers.policy, "what is trained: embedded, a folder, or a name on the hub"
    if answers.dialect is not None:
        yield "dialect", answers.dialect, answers.dialect_why
    if answers.method == "sft":
        yield "method", "sft", "supervised learning alone; rl: reinforcement learning"
    else:
        steps = Recipe().max_steps if answers.policy == EMBEDDED else _STEPS
        yield "max_steps", steps, "optimiser steps; rows / prompts_per_step are about an epoch"
        yield "save_steps", Recipe().save_steps, "steps between checkpoints"
    yield "seed", 0, "of the order of the data and of what is sampled"


def _data(answers: Answers) -> Iterator[Line]:
    if answers.data is None:
        return
    yield "path", answers.data, "its format is seen from each row's keys"
    fraction = Recipe().data.heldout_fraction
    yield "heldout_fraction", fraction, "share of the rows that is kept for evaluation"
    if answers.think is not None:
        yield "think", answers.think, "whether a right reply begins with a thought"


def _warm_start(answers: Answers) -> Iterator[Line]:
    if answers.method != "sft" and not answers.warm_start:
        return
    if answers.warm_start:
        yield "method", "sft", "supervised learning first; tsft, rsft: calls, thoughts count more"
    yield "steps", Recipe().warm_start.steps, "optimiser steps of supervised learning"
    batch = -(-_DEMONSTRATIONS // answers.processes) * answers.processes
    yield "batch_size", batch, "demonstrations a step"


def _rollout(answers: Answers) -> Iterator[Line]:
    prompts = _prompts(answers.processes)
    if prompts != _PROMPTS:
        why = f"with group_size {_GROUP}, responses that {answers.processes} processes divide"
        yield "prompts_per_step", prompts, why
    if answers.method == "rl":
        yield "group_size", _GROUP, "responses to each prompt, which are compared"


def _prompts(processes: int) -> int:
    """The fewest prompts a step, from the usual number up, whose responses processes divide."""
    part = processes // math.gcd(processes, _GROUP)
    return _PROMPTS if _PROMPTS % part == 0 else -(-_PROMPTS // part) * part


def _engine(answers: Answers) -> Iterator[Line]:
    if answers.processes > 1:
        yield "processes", answers.processes, "one a GPU"
    if answers.sharded:
        yield "sharding", "fsdp", "the policy is spread over the GPUs; ddp: a copy on each"


def _line(key: str, value: object, why: str, indent: str) -> str:
    return f"{indent}{key}: {scalar(value)}  # {why}"

"""Rebuilds the embedded policy of the tasks whose thought decides, one for all their knobs.

    python -m toolrest.world.build_thoughts OUT

It goes on from the embedded policy (`build`) in three lessons: right answers with short thoughts,
then with all knobs, then answers of which a part is wrong. The last makes the policy unsure and
teaches it a bad habit, which is what is left for reinforcement learning to mend.
"""

import random
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast

from toolrest.data.prompts import render_prompt
from toolrest.world.build import build_on, main
from toolrest.world.chain_tokens import reply_ids
from toolrest.world.tasks import Split
from toolrest.world.teaching import NOT_LEARNED, Labelled, Lesson
from toolrest.world.thought_demonstrations import (
    demonstrate_thought,
    demonstrate_thought_with_errors,
)
from toolrest.world.thought_tasks import MOST_IDLE, Knobs, ThoughtTask, make_thought_task

SEED = 20261127
ERROR_RATE = 0.08


def _task(seed: int, index: int, rng: random.Random) -> ThoughtTask:
    """A task of any knobs."""
    knobs = Knobs(rng.choice((0.0, 0.5, 1.0)), rng.randrange(MOST_IDLE + 1))
    return make_thought_task(Split.TRAIN, seed, index, knobs)


def labelled(tokenizer: PreTrainedTokenizerFast, task: ThoughtTask, answer: str) -> Labelled:
    """The row of a task: the answer is learned, the prompt is given."""
    prompt, reply = render_prompt(task.sample(""), tokenizer), reply_ids(answer, tokenizer)
    return prompt + reply, [NOT_LEARNED] * len(prompt) + reply


def _short(
    tokenizer: PreTrainedTokenizerFast, seed: int, index: int, rng: random.Random
) -> Labelled:
    task = make_thought_task(Split.TRAIN, seed, index, Knobs(0.75, 0))
    return labelled(tokenizer, task, demonstrate_thought(task, rng))


def _right(
    tokenizer: PreTrainedTokenizerFast, seed: int, index: int, rng: random.Random
) -> Labelled:
    task = _task(seed, index, rng)
    return labelled(tokenizer, task, demonstrate_thought(task, rng))


def _waver(
    tokenizer: PreTrainedTokenizerFast, seed: int, index: int, rng: random.Random
) -> Labelled:
    task = _task(seed, index, rng)
    return labelled(tokenizer, task, demonstrate_thought_with_errors(task, rng, ERROR_RATE))


LESSONS = (
    Lesson("short thoughts", 600, 16, 2e-3, 0.3, _short, 1.0, torch.float32),
    Lesson("right thoughts", 200, 16, 1e-3, 0.2, _right, 1.0, torch.float32),
    Lesson("wavering thoughts", 120, 16, 5e-4, 0.05, _waver, 1.0, torch.float32),
)


def build(out: Path, report: Callable[[str], None] = print) -> None:
    """Build the policy and save it in `out` with the tokenizer (safetensors in bfloat16, JSON)."""
    build_on(LESSONS, SEED, "sdpa", out, report)


if __name__ == "__main__":
    main(build, __doc__)

"""Rebuilds the embedded policy of the chains: a warm start on whole trajectories.

    python -m toolrest.world.build_chains OUT

It goes on from the embedded policy (`build`) in two lessons, with the loss on the policy's turns
alone: right trajectories, then trajectories of which a part is wrong. The second makes the policy
unsure and teaches it bad habits, which is what is left for reinforcement learning to mend.
"""

import random
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from toolrest.world.build import build_on, main
from toolrest.world.chain_demonstrations import (
    Trajectory,
    demonstrate_chain,
    demonstrate_chain_with_errors,
)
from toolrest.world.chain_tokens import prompt_ids, reply_ids, seam_ids
from toolrest.world.tasks import Split
from toolrest.world.teaching import NOT_LEARNED, Labelled, Lesson

SEED = 20261126
ERROR_RATE = 0.25


def labelled(tokenizer: PreTrainedTokenizerFast, trajectory: Trajectory) -> Labelled:
    """The row of a trajectory: the policy's turns are learned, all else is given."""
    ids = prompt_ids(trajectory.messages, tokenizer)
    labels = [NOT_LEARNED] * len(ids)
    for turn in trajectory.turns:
        reply = reply_ids(turn.reply, tokenizer)
        seam = seam_ids(turn.results, tokenizer) if turn.results else []
        ids += reply + seam
        labels += reply + [NOT_LEARNED] * len(seam)
    return ids, labels


def _row(seed: int, index: int) -> dict[str, object]:
    return {"index": index, "split": str(Split.TRAIN), "seed": seed}


def _right(
    tokenizer: PreTrainedTokenizerFast, seed: int, index: int, rng: random.Random
) -> Labelled:
    return labelled(tokenizer, demonstrate_chain(_row(seed, index), rng))


def _waver(
    tokenizer: PreTrainedTokenizerFast, seed: int, index: int, rng: random.Random
) -> Labelled:
    trajectory = demonstrate_chain_with_errors(_row(seed, index), rng, ERROR_RATE)
    return labelled(tokenizer, trajectory)


LESSONS = (
    Lesson("right trajectories", 600, 16, 1.5e-3, 0.1, _right),
    Lesson("wavering trajectories", 120, 16, 4e-4, 0.05, _waver),
)


def build(out: Path, report: Callable[[str], None] = print) -> None:
    """Build the policy and save it in `out` with the tokenizer (safetensors in bfloat16, JSON)."""
    build_on(LESSONS, SEED, "eager", out, report)


if __name__ == "__main__":
    main(build, __doc__)

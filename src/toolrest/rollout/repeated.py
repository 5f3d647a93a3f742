"""Turns of a policy whose sampler keeps nothing between them: each is sampled after all ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from toolrest.rollout.asking import Ask, OnEnded, Sampled

Sample = Callable[[list[list[int]], int], list[list[int]]]
"""Samples one response to each of some prompts, of at most so many tokens."""


class RepeatedTurns:
    """A `toolrest.rollout.asking.TurnSampler` for transformers' `generate`, vLLM and others.

    Args:
        prompts: token ids that each row begins with, [B] lists.
        sample: gives each prompt's response, its end token included.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], sample: Sample) -> None:
        self._known = [list(ids) for ids in prompts]
        self._sample = sample

    def turn(
        self, asked: Sequence[Ask], uniforms: torch.Tensor | None, on_ended: OnEnded
    ) -> Sampled:
        """Sample a turn of each row; it draws its own random numbers."""
        for each in asked:
            self._known[each.row] += each.seen
        most = max(each.most for each in asked)
        found = self._sample([self._known[each.row] for each in asked], most)
        turns = [ids[: each.most] for ids, each in zip(found, asked, strict=True)]
        for ids, each in zip(turns, asked, strict=True):
            self._known[each.row] += ids
        on_ended([each.row for each in asked], turns)
        return Sampled(turns, [])

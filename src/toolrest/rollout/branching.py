"""Samples groups that branch: trunks, and siblings that go on from their starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from toolrest.rollout.asking import Ask, Sampled
from toolrest.rollout.draw import Draw
from toolrest.rollout.shared_prefix import SharedPrefixTurns, sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Starts = Callable[[int, list[int]], list[int]]
"""Where a response could be forked: (the prompt's index, the response's ids) -> positions of
tokens, ascending, each of which follows from what was before it."""


@dataclass(frozen=True)
class Branching:
    """How groups branch."""

    group_size: int
    """Responses to a prompt."""
    branches: int
    """Responses of a family; the first is its trunk."""
    max_tokens: int
    """A response that has not ended by then is cut."""
    end_ids: Sequence[int]
    """A response ends with one of them."""
    draw: Draw
    """How each token is drawn."""

    @property
    def trunks(self) -> int:
        """Families of a group."""
        return self.group_size // self.branches


class Branched(NamedTuple):
    """B responses, those of a family next to each other, its trunk first."""

    sampled: Sampled
    """Ids and statistics; of shared tokens the trunk's."""
    forks: list[int]
    """The first token of each response that is its own; the whole length where the trunk was not
    forked and its siblings are copies."""


def choose_fork(
    starts: Sequence[int], statistics: torch.Tensor, uniforms: torch.Tensor
) -> int | None:
    """Where a trunk is forked; None: nowhere.

    At each of its starts, from the first on, with the probability sqrt(1 - sum_v p_v^2) of the
    token there, 1 - sum_v p_v^2 being the chance that a second draw differs from the first. So
    whether it is forked at a token follows from what was before that, and never from what the trunk
    became; `toolrest.core.forks` rests on that.

    Args:
        starts: positions of tokens, ascending.
        statistics: of the trunk's tokens, [T, 3]; see `Sampled`.
        uniforms: numbers in [0, 1), one for each token, [T] or more.
    """
    for start in starts:
        if float(uniforms[start]) < max(0.0, float(statistics[start, 2])) ** 0.5:
            return start
    return None


@torch.no_grad()
def sample_branched(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    how: Branching,
    starts: Starts,
    uniforms: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> Branched:
    """Sample `group_size` responses to each prompt.

    A trunk that is not forked has copies in place of siblings: were they sampled anew from the
    prompt, what such trunks are not would count too often.

    Args:
        model: a causal language model for which `can_share_prefix` holds.
        prompts: token ids, at least one a prompt, [P].
        how: sizes, and how tokens are drawn.
        starts: where a response could be forked.
        uniforms: numbers in [0, 1), float64: of the trunks and of the forks, [F, max_tokens] each
            with F = P * trunks; of the siblings, [F * (branches - 1), max_tokens].
    """
    of_trunks, of_forks, of_siblings = uniforms
    trunks = sample(
        model,
        prompts,
        group_size=how.trunks,
        max_tokens=how.max_tokens,
        end_ids=how.end_ids,
        draw=how.draw,
        uniforms=of_trunks,
    )
    forks = [len(ids) for ids in trunks.ids]
    for row, ids in enumerate(trunks.ids):
        found = choose_fork(starts(row // how.trunks, ids), trunks.statistics[row], of_forks[row])
        forks[row] = len(ids) if found is None else found
    forked = [row for row, ids in enumerate(trunks.ids) if forks[row] < len(ids)]
    siblings = _siblings(model, prompts, how, trunks, forks, forked, of_siblings)
    every: list[list[int]] = []
    statistics: list[torch.Tensor] = []
    for row, fork in enumerate(forks):
        every.append(trunks.ids[row])
        statistics.append(trunks.statistics[row])
        for number in range(how.branches - 1):
            own, told = siblings.get((row, number), ([], None))
            every.append(trunks.ids[row][:fork] + own)
            shared = trunks.statistics[row][:fork]
            statistics.append(shared if told is None else torch.cat((shared, told)))
    each = [fork for fork in forks for _ in range(how.branches)]
    return Branched(Sampled(every, statistics), each)


def _siblings(  # noqa: PLR0913 -- what the trunks are, and where they are forked
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    how: Branching,
    trunks: Sampled,
    forks: Sequence[int],
    forked: Sequence[int],
    uniforms: torch.Tensor,
) -> dict[tuple[int, int], tuple[list[int], torch.Tensor]]:
    """(the ids after the fork, their statistics) by trunk and number."""
    if not forked:
        return {}
    more = how.branches - 1
    begun = [[*prompts[row // how.trunks], *trunks.ids[row][: forks[row]]] for row in forked]
    turns = SharedPrefixTurns(model, begun, group_size=more, end_ids=how.end_ids, draw=how.draw)
    places = [(row, number) for row in forked for number in range(more)]
    asked = [Ask(at, [], how.max_tokens - forks[row]) for at, (row, _) in enumerate(places)]
    numbers = torch.stack([uniforms[row * more + number] for row, number in places])
    found = turns.turn(asked, numbers, last=True)
    return {
        place: (ids, told)
        for place, ids, told in zip(places, found.ids, found.statistics, strict=True)
    }

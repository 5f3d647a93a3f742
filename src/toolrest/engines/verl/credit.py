"""Advantages of verl's batches by the core's rules, whatever the order of the rows and however many
of a group are there. Knows no verl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from toolrest.core.credit import Decided, reward_to_go
from toolrest.core.turns import turn_decisions
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.potentials import batch_potentials
from toolrest.engines.common.reward import Asked, ToolReward
from toolrest.engines.verl.scoring import Scored
from toolrest.engines.verl.weights import Rollouts, WeightsNotApplied
from toolrest.rollout.turns import Trajectory


@dataclass(frozen=True)
class Crediting:
    """How the tokens of a recipe's rollouts are credited."""

    credit: str
    """`response`, `turns` or `spans`."""
    discount: float
    """With turns and spans; see `toolrest.core.credit.reward_to_go`."""
    scale: str
    """`group` or `none`."""
    reward: ToolReward
    """What single responses are scored by."""
    vocabulary: Vocabulary
    """The policy's."""

    def of(
        self, rollouts: Rollouts, scored: Scored | None, asked: Sequence[Asked | None] | None = None
    ) -> Rollouts:
        """The rollouts with the core's advantages in place of verl's, where the two differ: what an
        environment did not score counts for no mean, and turns or spans are credited by themselves.

        Args:
            scored: what the rows have earned; None: nobody knows the parts of it.
            asked: with credit by spans, what each row is scored by, [B]; None in padding rows.

        Raises:
            WeightsNotApplied: spans are to be credited, and the parts of the rewards are not known.
        """
        episodes = None if scored is None else scored.episodes
        if self.credit == "response" and episodes is None:
            return rollouts
        if scored is None:
            raise WeightsNotApplied(
                "advantage.credit=spans needs the parts of toolrest's own reward, and the reward "
                "function gives none; use advantage.credit=response"
            )
        if episodes is None:
            assert asked is not None
            decided = spans_decided(rollouts, asked, self.reward, self.vocabulary)
            return replace(rollouts, credited=self._credited(rollouts, scored, decided))
        none = nothing_decided(rollouts.mask)
        whole = replace(rollouts, advantages=self._credited(rollouts, scored, none))
        if self.credit == "response":
            return whole
        decided = turns_decided(episodes, rollouts.mask)
        return replace(whole, credited=self._credited(rollouts, scored, decided))

    def _credited(self, rollouts: Rollouts, scored: Scored, decided: Decided) -> torch.Tensor:
        discount, scale = self.discount, self.scale
        found = credited(scored.rewards, decided, rollouts.groups, discount=discount, scale=scale)
        return found.to(rollouts.advantages.dtype) * rollouts.mask


def credited(
    rewards: torch.Tensor,
    decided: Decided,
    groups: Sequence[str | None],
    *,
    discount: float = 1.0,
    scale: str = "group",
) -> torch.Tensor:
    """Per-token advantages by `toolrest.core.credit.reward_to_go`, [B, T].

    Args:
        rewards: one a row, NaN where it is not known, which counts for no mean and gets 0, [B].
        decided: what the rows decide of them; `nothing_decided` for GRPO's.
        groups: the prompt of each row; None: a padding row, which gets 0.
        discount: see there.
        scale: `group` or `none`.
    """
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        if group is not None:
            rows.setdefault(group, []).append(row)
    made = torch.zeros(decided.num_decided.shape, dtype=rewards.dtype)
    if not rows:
        return made
    size = max(map(len, rows.values()))
    # a row that is missing is one of which nothing is known
    places = [at for each in rows.values() for at in (*each, *[-1] * (size - len(each)))]
    known = torch.tensor(places) >= 0
    none = decided.no_call
    of_groups = Decided(
        [decided.potentials[at] if at >= 0 else [] for at in places],
        decided.num_decided[places] * known.unsqueeze(1),
        None if none is None else [none[at] if at >= 0 else 0.0 for at in places],
    )
    found = reward_to_go(
        rewards[places].masked_fill(~known, torch.nan),
        of_groups,
        size,
        discount=discount,
        scale=scale,
    )
    made[torch.tensor(places)[known]] = found[known]
    return made


def asked_of(
    truths: Sequence[Mapping[str, Any]],
    extra: Sequence[Mapping[str, Any] | None],
    rollouts: Rollouts,
) -> list[Asked | None]:
    """What each row is scored by, [B]; None in padding rows.

    Args:
        truths: verl's column reward_model, [B].
        extra: its column extra_info, [B].
        rollouts: of the rows, with what their prompts have written.
    """
    openings = rollouts.openings or [""] * len(truths)
    return [
        None
        if group is None
        else Asked(truth["ground_truth"], opening, (more or {}).get("tools") or None)
        for truth, more, opening, group in zip(
            truths, extra, openings, rollouts.groups, strict=True
        )
    ]


def nothing_decided(mask: torch.Tensor) -> Decided:
    """No decision before the end, so that every token gets its row's whole advantage.

    Args:
        mask: which tokens the policy sampled, bool, [B, T].
    """
    return Decided([[] for _ in mask], torch.zeros(mask.shape, dtype=torch.int64))


def turns_decided(episodes: Sequence[Trajectory | None], mask: torch.Tensor) -> Decided:
    """Turns as the decisions of `toolrest.core.credit.reward_to_go`.

    Args:
        episodes: of each row, [B]; None in padding rows.
        mask: which tokens the policy sampled, bool, [B, T].
    """
    rewards = [[t.reward for t in (each.turns if each else ())] or [0.0] for each in episodes]
    return turn_decisions(rewards, mask)


def spans_decided(
    rollouts: Rollouts,
    asked: Sequence[Asked | None],
    reward: ToolReward,
    vocabulary: Vocabulary,
) -> Decided:
    """The parts of single responses as such decisions; see `batch_potentials`.

    Args:
        asked: what each row is scored by, [B]; None in padding rows.
    """
    real = [row for row, each in enumerate(asked) if each is not None]
    known = [each for each in asked if each is not None]
    ids, mask = rollouts.ids, rollouts.mask
    found = batch_potentials(ids[real], mask[real], known, reward, vocabulary, rollouts.progress)
    potentials: list[Sequence[float]] = [[] for _ in asked]
    no_call = [0.0] * len(asked)
    num_decided = torch.zeros(mask.shape, dtype=torch.int64)
    for place, row in enumerate(real):
        potentials[row] = found.potentials[place]
        no_call[row] = found.no_call[place] if found.no_call else 0.0
        num_decided[row] = found.num_decided[place]
    return Decided(potentials, num_decided, no_call)

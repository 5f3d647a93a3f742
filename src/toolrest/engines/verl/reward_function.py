"""The rewards as a reward function of verl.

reward.custom_reward_function.path=pkg://toolrest.engines.verl.reward_function
reward.custom_reward_function.name=compute_score
+reward.custom_reward_function.reward_kwargs.dialect=hermes
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from toolrest.engines.common.reward import PARTS, ToolReward


@lru_cache(maxsize=8)
def _reward(
    dialect: str,
    correctness: tuple[tuple[str, float], ...],
    punish_over_calls: bool,
    normalise_strings: bool,
    lenient_types: bool,
) -> ToolReward:
    return ToolReward(
        dialect,
        "constant",
        correctness=dict(correctness),
        punish_over_calls=punish_over_calls,
        normalise_strings=normalise_strings,
        lenient_types=lenient_types,
    )


def compute_score(  # noqa: PLR0913 -- verl passes these by name
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    *,
    dialect: str = "rlla",
    correctness: str | Mapping[str, float] = "partial",
    punish_over_calls: bool = True,
    normalise_strings: bool = False,
    lenient_types: bool = False,
) -> dict[str, float]:
    """The reward of one response on the constant ranges (verl tells no progress), and its parts.

    The verl engine's trainer puts the parts on the schedule's ranges.

    Args:
        data_source: not used; verl gives it.
        solution_str: the response.
        ground_truth: a right reply, written in the dialect.
        extra_info: of the row. `opening`: what the prompt has written of the reply already;
            `tools`: their JSON text, for dialects that read values by their declared types. Either
            may be missing.

    Returns:
        `score`, which verl trains on, and what its metrics average. `correctness_counts` is 0 where
        the ground truth has no call and over-calling is not punished: the correctness then earns 0
        on every range.
    """
    weights = {correctness: 1.0} if isinstance(correctness, str) else correctness
    reward = _reward(
        dialect,
        tuple(sorted(weights.items())),
        punish_over_calls,
        normalise_strings,
        lenient_types,
    )
    extra = extra_info or {}
    found = reward.score(
        solution_str,
        ground_truth,
        prompt=extra.get("opening") or None,
        tools=extra.get("tools") or None,
    )
    return {
        "score": found.total,
        "correctness_counts": float(punish_over_calls or bool(reward.truth(ground_truth).calls)),
        **{name: part(found) for name, part in PARTS.items()},
    }

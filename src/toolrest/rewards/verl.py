"""The rewards as a reward function of verl.

custom_reward_function.path=.../toolrest/rewards/verl.py
custom_reward_function.name=compute_score
+custom_reward_function.reward_kwargs.dialect=hermes
"""

from functools import lru_cache
from typing import Any

from toolrest.rewards.function import ToolReward


@lru_cache(maxsize=8)
def _reward(dialect: str, schedule: str, correctness: str, punish_over_calls: bool) -> ToolReward:
    return ToolReward(
        dialect, schedule, correctness=correctness, punish_over_calls=punish_over_calls
    )


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict[str, Any] | None = None,
    *,
    dialect: str = "rlla",
    correctness: str = "partial",
    punish_over_calls: bool = True,
) -> dict[str, float]:
    """The reward of one response on the constant ranges (verl tells no progress), and its parts.

    Args:
        data_source: not used; verl gives it.
        solution_str: the response.
        ground_truth: a right reply, written in the dialect.
        extra_info: not used; verl gives it.
    """
    reward = _reward(dialect, "constant", correctness, punish_over_calls)
    found = reward.score(solution_str, ground_truth)
    return {
        "score": found.total,
        "exact_match": float(found.exact),
        "format": found.format,
        "correctness": found.correctness,
    }

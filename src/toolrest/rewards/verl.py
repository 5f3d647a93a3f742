"""`pkg://toolrest.rewards.verl`, which verl's settings of older runs name."""

from toolrest.engines.verl.reward_function import compute_score

__all__ = ["compute_score"]

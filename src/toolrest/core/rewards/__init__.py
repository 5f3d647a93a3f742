"""Rewards: rules that score a reply against the ground truth. One file each."""

from toolrest.core.rewards.format import format_score
from toolrest.core.rewards.partial import CallScore, call_score
from toolrest.core.rewards.schedule import RewardSchedule, get_schedule, schedule_names
from toolrest.core.rewards.score import RewardBreakdown, RewardRules, score_reply

__all__ = [
    "CallScore",
    "RewardBreakdown",
    "RewardRules",
    "RewardSchedule",
    "call_score",
    "format_score",
    "get_schedule",
    "schedule_names",
    "score_reply",
]

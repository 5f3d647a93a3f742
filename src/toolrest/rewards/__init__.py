"""Rewards: rules that score a reply against the ground truth. One file each."""

from toolrest.rewards.format import format_score
from toolrest.rewards.function import ToolReward, reward_parts
from toolrest.rewards.partial import CallScore, call_score
from toolrest.rewards.schedule import RewardSchedule, get_schedule, schedule_names
from toolrest.rewards.score import RewardBreakdown, score_reply

__all__ = [
    "CallScore",
    "RewardBreakdown",
    "RewardSchedule",
    "ToolReward",
    "call_score",
    "format_score",
    "get_schedule",
    "reward_parts",
    "schedule_names",
    "score_reply",
]

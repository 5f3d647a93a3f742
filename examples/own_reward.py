"""A reward of your own: whether the right tools are called, whatever they are given."""

from collections.abc import Sequence

from toolrest import ToolReward, register_reward
from toolrest.core.dialects import ToolCall


def right_tools(calls: Sequence[ToolCall], truth: Sequence[ToolCall]) -> float:
    """1 where the names are those that are due, in any order, else 0."""
    return float(sorted(c.name for c in calls) == sorted(t.name for t in truth))


register_reward("right_tools", right_tools)

if __name__ == "__main__":
    # In a recipe: reward.correctness={partial: 1, right_tools: 1}.
    reward = ToolReward(schedule="constant", correctness={"partial": 1.0, "right_tools": 1.0})
    truth = '<tool_call>\n{"name": "get_news", "parameters": {"city": "Ghent"}}\n</tool_call>'
    for reply in (truth, truth.replace("Ghent", "Bruges"), truth.replace("news", "time")):
        found = reward.score(reply, truth)
        print(f"{found.correctness:.2f} {found.total:+.2f}")  # 1.00, 0.83, 0.00

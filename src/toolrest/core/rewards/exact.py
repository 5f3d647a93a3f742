"""All or nothing: exactly the right calls, in any order."""

from toolrest.core.rewards.partial import CallScore


def exact(calls: CallScore) -> float:
    """1 if every call, every parameter and every value is right and nothing is added, else 0.

    That is so exactly where the partial score is 1.
    """
    return float(calls.total == 1.0)

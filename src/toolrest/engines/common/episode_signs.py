"""Signs of trouble in the metrics of episodes in an environment."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from toolrest.engines.common.warned import Warned

_FIRST = 3
"""Generations in which a policy can be seen to begin without a signal."""
_WINDOW = 5
"""Generations over which a share is averaged before it is judged."""
_EQUAL = 0.9
"""Groups of equal rewards from which on there is next to nothing to learn from."""
_MOST = 0.5
"""Share of tasks done, or of failed episodes, over which equal rewards are no cold start."""
_FAILED = 0.1
"""Share of failed episodes that is said at once; one that fails now and then is in the log."""
_ENDED = 0.5
"""Share of trajectories that end at one limit."""
_LIMITS = {
    "cut": (
        "had a turn that did not end",
        "raise rollout.max_response_tokens, or see in the rollouts why the policy goes on",
    ),
    "turns": (
        "had no turn left",
        "raise environment.max_turns, or see in the rollouts which calls are made again and again",
    ),
    "budget": (
        "had no tokens left",
        "raise environment.max_trajectory_tokens, or lower environment.max_result_tokens, at which "
        "a result is cut",
    ),
    "broken": (
        "ended with a call that cannot be read",
        "see in the rollouts whether the policy writes calls in another form (dialect)",
    ),
}
"""Endings before the task was done: what the trajectories had, and what to try."""


class EpisodeSigns:
    """Reads the metrics of step after step; it gives a warning as often as its sign is seen."""

    def __init__(self) -> None:
        self._history: dict[str, list[float]] = defaultdict(list)

    def read(self, step: int, metrics: Mapping[str, Any]) -> list[Warned | None]:
        """The warnings of a step on episodes; None in place of signs that are not seen."""
        for name, value in metrics.items():
            known = name.startswith(("episode/", "ending/")) or name == "frac_reward_zero_std"
            if known and isinstance(value, int | float) and math.isfinite(value):
                self._history[name].append(float(value))
        limits = [self._limit(step, name) for name in _LIMITS]
        return [self._cold(step), self._failed(step), *limits]

    def _cold(self, step: int) -> Warned | None:
        """No episode, or next to none, does better than the others of its group in the first
        generations, and few tasks are done.
        """
        equal, done = self._history["frac_reward_zero_std"], self._history["episode/success"]
        if not 0 < len(equal) <= _FIRST or sum(equal) / len(equal) < _EQUAL:
            return None
        failed = self._history["ending/failed"]
        if (done and done[-1] > _MOST) or (failed and failed[-1] > _MOST):
            return None
        rewards = self._history["episode/reward"]
        earned = f"; mean reward {rewards[-1]:.2f}" if rewards else ""
        share = f", {done[-1]:.0%} of the tasks are done" if done else ""
        low = "" if done else "if rewards are low, "
        high = "" if done else "; if they are high, take harder tasks"
        return Warned(
            "cold_start",
            step,
            f"{equal[-1]:.0%} of the groups of episodes earn alike{earned}{share}: there is next "
            "to nothing to learn from",
            f"{low}let the environment reward each step towards the task (Step.reward, or "
            "get_reward by how far the episode came), take easier tasks, or begin with a policy "
            "that does some of them, as supervised learning on the steps of right dialogues makes "
            "it (method=rsft with environment.train=steps)"
            f"{high}; see in the rollouts how episodes end",
        )

    def _failed(self, step: int) -> Warned | None:
        shares = self._history["ending/failed"]
        if not shares or shares[-1] < _FAILED:
            return None
        return Warned(
            "failed_environments",
            step,
            f"the environment failed in {shares[-1]:.0%} of the episodes, which are not learnt "
            "from",
            "see `failure` in the rollouts, what the environment printed in the run's folder, and "
            "`toolrest doctor` with the recipe; where calls take long, raise "
            "environment.call_timeout or lower environment.workers; `environment.failure=stop` "
            "ends a run at the first",
        )

    def _limit(self, step: int, ending: str) -> Warned | None:
        shares = self._history[f"ending/{ending}"][-_WINDOW:]
        if len(shares) < _WINDOW or sum(shares) / _WINDOW < _ENDED:
            return None
        what, advice = _LIMITS[ending]
        return Warned(
            f"ending_{ending}",
            step,
            f"{sum(shares) / _WINDOW:.0%} of the episodes of the last {_WINDOW} generations {what}",
            advice,
        )

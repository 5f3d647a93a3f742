"""Signs of trouble in a run's metrics: each is reported once, with what to try."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from toolrest.engines.common.episode_signs import EpisodeSigns
from toolrest.engines.common.warned import Warned

_WINDOW = 5
"""Generations over which a metric is averaged before it is judged."""
_EQUAL_GROUPS = 0.9
_FIRST = 3
"""Generations in which a policy can be seen to begin without a signal."""
_COLD = 0.5
"""Correctness under which equal rewards are of wrong responses, not of right ones."""
_TRUNCATED = 0.95
_ENTROPY_LEFT = 0.1
_LEAST_ENTROPY = 0.05
_FORMAT_SATURATED = 0.98
_CORRECTNESS_LOST = 0.1
_LOGP_DIFFERENCE = 0.1
_DROPPED = 0.1


def is_of_episodes(metrics: Mapping[str, Any]) -> bool:
    """Whether a step was on episodes of an environment."""
    return "episode/turns" in metrics


class Signs:
    """Reads the metrics of step after step and gives each warning once.

    Args:
        scores: the means of a step's format and correctness scores, both in [0, 1], or None where
            the metrics do not tell them.
        said: names of warnings that were given before.
    """

    def __init__(
        self,
        scores: Callable[[Mapping[str, Any]], tuple[float, float] | None] = lambda metrics: None,
        said: frozenset[str] = frozenset(),
    ) -> None:
        self._scores = scores
        self._said = set(said)
        self._history: dict[str, list[float]] = defaultdict(list)
        self._episodes = EpisodeSigns()
        self._acts = False

    def read(self, step: int, metrics: Mapping[str, Any]) -> list[Warned]:
        """The warnings that a step's metrics give for the first time."""
        for name in (
            "frac_reward_zero_std",
            "entropy",
            "completions/clipped_ratio",
            "sampling/sampling_logp_difference/mean",
        ):
            value = metrics.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                self._history[name].append(float(value))
        # a step on episodes that an earlier one was on tells nothing of them
        acts = self._acts = self._acts or is_of_episodes(metrics)
        scores = None if acts else self._scores(metrics)
        if scores is not None:
            self._history["format"].append(scores[0])
            self._history["correctness"].append(scores[1])
        if acts:
            of_rewards = self._episodes.read(step, metrics)
        else:
            cold = self._cold(step) if "frac_reward_zero_std" in metrics else None
            of_rewards = [cold, self._truncated(step), self._hacked(step)]
        found = (
            *of_rewards,
            self._equal_groups(step, acts),
            self._entropy(step),
            self._mismatch(step, acts),
        )
        return [self._say(warned) for warned in found if self._is_new(warned)]

    def dropped(self, left_out: int, rows: int) -> list[Warned]:
        """The warning of a share of rows with prompts that are too long."""
        if rows == 0 or left_out / rows <= _DROPPED:
            return []
        warned = Warned(
            "dropped_prompts",
            0,
            f"{left_out} of {rows} rows ({left_out / rows:.0%}) have prompts over "
            "data.max_prompt_tokens and are not trained on",
            "raise data.max_prompt_tokens, or see data.json for the rows",
        )
        return [self._say(warned)] if self._is_new(warned) else []

    def _is_new(self, warned: Warned | None) -> bool:
        return warned is not None and warned.name not in self._said

    def _say(self, warned: Warned | None) -> Warned:
        assert warned is not None
        self._said.add(warned.name)
        return warned

    def _last(self, name: str) -> float | None:
        """Mean of the last values; None while there are too few."""
        values = self._history[name][-_WINDOW:]
        return sum(values) / _WINDOW if len(values) == _WINDOW else None

    def _cold(self, step: int) -> Warned | None:
        """Groups of equal rewards in the first generations: a policy that never does better than
        the others of its group does not learn.
        """
        shares = self._history["frac_reward_zero_std"]
        form, right = self._history["format"], self._history["correctness"]
        if not 0 < len(shares) <= _FIRST or sum(shares) / len(shares) < _EQUAL_GROUPS:
            return None
        if right and right[-1] >= _COLD:
            return None
        seen = f" (format {form[-1]:.2f}, correctness {right[-1]:.2f} of 1)" if right else ""
        return Warned(
            "cold_start",
            step,
            f"{shares[-1]:.0%} of the groups have equal rewards{seen}: there is next to nothing to "
            "learn from",
            "begin with supervised learning on rows with demonstrations (warm_start.method=rsft); "
            "and see in the rollouts whether responses are cut off "
            "(rollout.max_response_tokens) or in another form (dialect)",
        )

    def _equal_groups(self, step: int, acts: bool) -> Warned | None:
        share = self._last("frac_reward_zero_std")
        if share is None or share < _EQUAL_GROUPS:
            return None
        return Warned(
            "equal_rewards",
            step,
            f"{share:.0%} of the groups of the last {_WINDOW} generations have equal rewards and "
            "teach nothing",
            f"take harder {'tasks' if acts else 'prompts'} if rewards are high, easier ones"
            f"{'' if acts else ' or a warm start (warm_start.method=sft)'} if they are low; or "
            "raise rollout.group_size or rollout.temperature",
        )

    def _entropy(self, step: int) -> Warned | None:
        values = self._history["entropy"]
        now = self._last("entropy")
        if now is None or len(values) < 2 * _WINDOW:
            return None
        start = sum(values[:_WINDOW]) / _WINDOW
        if now >= min(_LEAST_ENTROPY, _ENTROPY_LEFT * start):
            return None
        return Warned(
            "entropy_collapse",
            step,
            f"the policy's entropy fell from {start:.3f} to {now:.4f} nats a token",
            "lower optimizer.learning_rate, raise optimizer.clip_epsilon_high, or stop earlier: "
            "what is not sampled is not learnt",
        )

    def _truncated(self, step: int) -> Warned | None:
        share = self._last("completions/clipped_ratio")
        if share is None or share < _TRUNCATED:
            return None
        return Warned(
            "truncated",
            step,
            f"{share:.0%} of the responses of the last {_WINDOW} generations were cut off",
            "raise rollout.max_response_tokens, or see in the rollouts why the policy does not end",
        )

    def _hacked(self, step: int) -> Warned | None:
        form, now = self._last("format"), self._last("correctness")
        if form is None or now is None or form < _FORMAT_SATURATED:
            return None
        values = self._history["correctness"]
        means = [
            sum(values[at : at + _WINDOW]) / _WINDOW for at in range(len(values) - _WINDOW + 1)
        ]
        if max(means) - now < _CORRECTNESS_LOST:
            return None
        return Warned(
            "reward_hacking",
            step,
            f"the format is right in {form:.0%} of the responses, but correctness fell from "
            f"{max(means):.2f} to {now:.2f}",
            "look at the rollouts for replies that only look right; lower "
            "optimizer.learning_rate, or use reward.schedule=rest where another is in use",
        )

    def _mismatch(self, step: int, acts: bool) -> Warned | None:
        name = "sampling/sampling_logp_difference/mean"
        difference = self._last(name)
        if difference is None or difference < _LOGP_DIFFERENCE:
            return None
        return Warned(
            "sampler_mismatch",
            step,
            f"the sampler's log-probabilities differ from the policy's by {difference:.2f} nats a "
            "token",
            "use rollout.sampler=generate, which samples by transformers' own forward"
            if acts  # vLLM samples no episodes
            else "keep rollout.vllm.correction on, and check that the sampler runs the same "
            "weights in the same precision",
        )

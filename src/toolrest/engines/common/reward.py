"""The rewards as a callable of the shape that trainers take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from toolrest.core.dialects import Block, Scan, get_dialect
from toolrest.core.dialects.types import Declared, Tools, declared
from toolrest.core.rewards.ast import normalise, read_possible_answer
from toolrest.core.rewards.correctness import PARTIAL, check_correctness
from toolrest.core.rewards.decisions import Potentials, decision_values, find_decisions
from toolrest.core.rewards.dialogue import DialogueScore, score_dialogue
from toolrest.core.rewards.schedule import get_schedule
from toolrest.core.rewards.score import RewardBreakdown, RewardRules, score_reply
from toolrest.core.rewards.truth import check_truth, read_tools
from toolrest.core.rewards.turns import Turns, one_reply, read_messages
from toolrest.core.rewards.values import equal
from toolrest.engines.common.asked import NO_TRUTH, Asked, as_truth
from toolrest.errors import InputError


class ToolReward:
    """Format and correctness of tool calls, as a TRL reward function.

    The data set needs a column `ground_truth`: a right reply, written in the dialect; for a policy
    that acts over several turns a list of them, the right reply at each step of a dialogue, which
    its turns are scored against one by one (`toolrest.core.rewards.dialogue`). A thought
    that a prompt has begun belongs to the reply: it is asked for, whether or not the ground truth
    has one. `ResTTrainer` sees from each rendered prompt whether it has; elsewhere a prompt that is
    a text tells, or `opening`.

    Args:
        dialect: the dialect of the policy and of the ground truth.
        schedule: `rest`, `constant`, `official` or `binary`; see `toolrest.core.rewards.schedule`.
        correctness: `partial` (the paper's), `exact`, `ast`, or a weight for each of several.
        punish_over_calls: see `RewardRules`.
        normalise_strings: compare strings as BFCL does, without case and punctuation.
        lenient_types: let "5" equal 5.
        needless_turn: what a turn costs that is none of the dialogue's steps, where ground truths
            are lists; on the scale of a reply's reward, which is 7 from the worst to the best.
        opening: what the chat template writes of every reply, such as `<think>\\n`, where prompts
            are messages and nobody else tells.

    Raises:
        InputError: an unknown name, or weights that are none.
    """

    __name__ = "tool_reward"

    def __init__(  # noqa: PLR0913 -- named options of the public class
        self,
        dialect: str = "rlla",
        schedule: str = "rest",
        *,
        correctness: str | Mapping[str, float] = "partial",
        punish_over_calls: bool = True,
        normalise_strings: bool = False,
        lenient_types: bool = False,
        needless_turn: float = 0.0,
        opening: str = "",
    ) -> None:
        self.dialect = get_dialect(dialect)
        if not 0 <= needless_turn < math.inf:
            raise InputError(f"needless_turn={needless_turn}: what a turn costs, so 0 or more")
        self.needless_turn = needless_turn
        self.opening = opening
        ranges = get_schedule(schedule)
        weights = {correctness: 1.0} if isinstance(correctness, str) else dict(correctness)
        check_correctness(weights)
        same: Callable[[Any, Any], bool] = equal
        if normalise_strings or lenient_types:
            normaliser = normalise if normalise_strings else None
            same = partial(equal, normalise=normaliser, lenient=lenient_types)
        weights = PARTIAL if weights == PARTIAL else weights
        self.rules = RewardRules(ranges, weights, punish_over_calls, same)
        self._possible = lru_cache(maxsize=65536)(read_possible_answer)
        self._scan_truth = lru_cache(maxsize=65536)(self.dialect.scan)
        self._check_truth = lru_cache(maxsize=65536)(partial(check_truth, dialect))
        self._declared = lru_cache(maxsize=65536)(read_tools)

    def score(
        self,
        text: str,
        ground_truth: str,
        progress: float = 0.0,
        possible_answer: str | None = None,
        *,
        prompt: str | None = None,
        tools: Tools | str = None,
    ) -> RewardBreakdown:
        """Score one reply's text.

        Args:
            text: what the policy wrote.
            ground_truth: a right reply, written in the dialect.
            progress: step / max_steps, in [0, 1], which the schedule reads.
            possible_answer: for `ast`, BFCL's acceptable values; None: the ground truth's.
            prompt: the text that the policy went on from, whose end may have begun the thought;
                None: `opening` says whether it has.
            tools: those that could be called, or their JSON text, for dialects in which the text of
                a value does not say its type.
        """
        opening = self.opening if prompt is None else self.dialect.opening(prompt)
        known = self._tools(tools)
        reply = self._read(opening + text, known)
        return self._scored(
            reply, self.truth(ground_truth, opening, known), progress, possible_answer
        )

    def _scored(
        self, reply: Scan, truth: Scan, progress: float, possible_answer: str | None
    ) -> RewardBreakdown:
        return score_reply(
            reply,
            truth,
            self.rules,
            progress=progress,
            possible=None if possible_answer is None else self._possible(possible_answer),
        )

    def _read(self, turn: str, tools: Declared | None) -> Scan:
        return self.dialect.read(turn) if tools is None else self.dialect.read(turn, tools)

    def _tools(self, tools: Tools | str) -> Declared | None:
        """What the tools declare; None where the dialect has no use for it."""
        if not tools or not self.dialect.reads_types:
            return None
        return self._declared(tools) if isinstance(tools, str) else declared(tools)

    def potentials(self, response: bytes, asked: Asked, progress: float) -> Potentials:
        """The potentials of one response: where it decides a part of the reward, and how much.

        Args:
            response: the sampled tokens' bytes.
            asked: what it is scored by.
            progress: as in `score`.

        Raises:
            InputError: it is scored by several replies, one a step.
        """
        tools, owed = self._tools(asked.tools), asked.ground_truth
        if isinstance(owed, tuple):
            raise InputError(
                "credit by spans reads one reply, and a row's ground_truth is a list of them; use "
                "credit='response'"
            )
        rules, truth = self.rules, self.truth(owed, asked.opening, tools).calls
        format_reward, nothing = rules.schedule.rewards(1.0, 0.0 if truth else 1.0, progress)
        if not truth and not rules.punish_over_calls:
            return Potentials([], [], format_reward)
        least, most = (rules.schedule.rewards(1.0, c, progress)[1] for c in (0.0, 1.0))
        share = rules.correctness.get("partial", 0.0) / sum(rules.correctness.values())
        decisions = find_decisions(response, self.dialect, asked.opening)
        return Potentials(
            [decision.position for decision in decisions],
            decision_values(decisions, truth, share * (most - least)),
            format_reward + nothing,
        )

    def truth(self, ground_truth: str, opening: str = "", tools: Declared | None = None) -> Scan:
        """A ground truth, as a reply after a prompt that ends with `opening` has to be.

        Args:
            ground_truth: a right reply, written in the dialect.
            opening: what the prompt has written of the reply already.
            tools: what the tools declare, where the dialect needs it.

        Raises:
            InputError: it is no text, or holds a call that is not read in the dialect, so that a
                reply without calls would be right.
        """
        if not isinstance(ground_truth, str):
            kind = type(ground_truth).__name__
            raise InputError(f"a row's ground_truth is {kind}, not a right reply as a text")
        scan = (
            self._scan_truth(ground_truth)
            if tools is None
            else self.dialect.scan(ground_truth, tools)
        )
        self._check_truth(ground_truth, scan.status, bool(scan.calls))
        if opening and Block.THOUGHT not in scan.blocks:
            return replace(scan, blocks=(Block.THOUGHT, *scan.blocks))
        return scan

    def score_batch(
        self, completions: Sequence[Any], asked: Sequence[Asked], progress: float = 0.0
    ) -> list[RewardBreakdown]:
        """Score many replies, [B]; texts that say the same share a breakdown.

        Args:
            completions: texts, `Turns`, or lists of messages, whose `tool_calls` are read where
                there are some.
            asked: what each is scored by.
            progress: as in `score`.

        Raises:
            InputError: a completion or a ground truth cannot be read.
        """
        scored: dict[Any, tuple[RewardBreakdown, Declared | None]] = {}
        found: list[RewardBreakdown] = []
        for completion, each in zip(completions, asked, strict=True):
            known = self._tools(each.tools)
            texts = isinstance(completion, str | Turns)
            owed = self._owed(each, known, each.opening if texts else "")
            if not texts:
                turns = read_messages(completion, self.dialect, owed, each.opening, known)
                found.append(self._rollout(turns, owed, each, progress))
                continue
            written = completion if isinstance(completion, Turns) else (each.opening + completion,)
            written = [self.dialect.without_thought(turn) for turn in written]
            said = (*written, each.ground_truth, each.possible_answer, each.opening, id(known))
            if said not in scored:
                turns = [self._read(turn, known) for turn in written]
                # `known` stays referenced, so that its id is no other's
                scored[said] = self._rollout(turns, owed, each, progress), known
            found.append(scored[said][0])
        return found

    def counts_correctness(self, asked: Asked) -> bool:
        """Whether the correctness of a row's replies counts: where a call is due, or punished.

        Args:
            asked: what the row's replies are scored by.

        Raises:
            InputError: a ground truth cannot be read.
        """
        owed = self._owed(asked, self._tools(asked.tools), "")
        return self.rules.punish_over_calls or any(each.calls for each in owed)

    def _owed(self, asked: Asked, tools: Declared | None, again: str) -> list[Scan]:
        """The right replies of a row, one a step.

        Args:
            again: what is written of the reply at later steps already.

        Raises:
            InputError: there is none, or one cannot be read; or the row has one reply alone, or
                what a kind of correctness knows of one reply alone, and turns are to be counted.
        """
        truths, opening = asked.ground_truth, asked.opening
        if isinstance(truths, tuple):
            if not truths:
                raise InputError("a row's ground_truth is an empty list, not a right reply a step")
            if asked.possible_answer is not None:
                raise InputError(
                    "a row has a possible_answer, which is of one reply, and its ground_truth is "
                    "a list of several; leave one of them out"
                )
            return [self.truth(t, again if k else opening, tools) for k, t in enumerate(truths)]
        if self.needless_turn:
            raise InputError(
                f"needless_turn={self.needless_turn:g} is for ground truths that are lists, a "
                "right reply a step, and a row's is one reply; leave it out"
            )
        return [self.truth(truths, opening, tools)]

    def _rollout(
        self, turns: Sequence[Scan], owed: Sequence[Scan], asked: Asked, progress: float
    ) -> RewardBreakdown:
        if isinstance(asked.ground_truth, tuple):
            return self._dialogue(turns, owed, progress).breakdown
        reply = one_reply(turns, owed[0])
        return self._scored(reply, owed[0], progress, asked.possible_answer)

    def _dialogue(
        self, turns: Sequence[Scan], owed: Sequence[Scan], progress: float
    ) -> DialogueScore:
        return score_dialogue(
            turns, owed, self.rules, progress=progress, needless_turn=self.needless_turn
        )

    def __call__(
        self,
        completions: Sequence[Any],
        ground_truth: Sequence[str | Sequence[str]] | None = None,
        *,
        prompts: Sequence[Any] | None = None,
        trainer_state: Any = None,
        log_metric: Callable[[str, float], object] | None = None,
        **columns: Any,
    ) -> list[float]:
        """One reward a completion, [B].

        Args:
            completions: texts, or lists of messages; see `score_batch`.
            ground_truth: a right reply a row, or a list of them, from the data set's column.
            prompts: those that are texts show what they have written of the reply.
            trainer_state: of which the share of the run that is done is read.
            log_metric: is told the mean of each part of the reward.
            columns: `tools` and `possible_answer`, a value a row, see `score`; others are not read.

        Raises:
            InputError: the data set has no `ground_truth` column, or a completion cannot be read.
        """
        if ground_truth is None:
            raise InputError(NO_TRUTH.format(found=sorted(columns)))
        progress = 0.0
        if trainer_state is not None and trainer_state.max_steps > 0:
            progress = trainer_state.global_step / trainer_state.max_steps
        nothing = [None] * len(completions)
        asked = map(
            Asked,
            map(as_truth, ground_truth),
            self._openings(prompts or nothing),
            columns.get("tools") or nothing,
            columns.get("possible_answer") or nothing,
        )
        return totals(self.score_batch(completions, list(asked), progress), log_metric)

    def _openings(self, prompts: Sequence[Any]) -> list[str]:
        """What each prompt has written of the reply, as far as it is known here."""
        return [
            self.dialect.opening(prompt) if isinstance(prompt, str) else self.opening
            for prompt in prompts
        ]


PARTS: Mapping[str, Callable[[RewardBreakdown], float]] = {
    "exact_match": lambda found: float(found.exact),
    "format": lambda found: found.format,
    "correctness": lambda found: found.correctness,
    "names": lambda found: found.calls.names,
    "parameters": lambda found: found.calls.parameters,
    "values": lambda found: found.calls.values,
    "over_called": lambda found: float(found.over_called),
}
"""The parts of a reward that both engines average into metrics, by name."""


def totals(
    breakdowns: Sequence[RewardBreakdown],
    log_metric: Callable[[str, float], object] | None = None,
) -> list[float]:
    """The rewards, [B]; `log_metric` is told the mean of each of their parts."""
    if log_metric is not None:
        for name, values in reward_parts(breakdowns).items():
            log_metric(name, float(np.mean(values)))
    return [breakdown.total for breakdown in breakdowns]


def reward_parts(breakdowns: Sequence[RewardBreakdown]) -> dict[str, list[float]]:
    """The parts of many rewards by metric name."""
    return {f"reward/{name}": [part(b) for b in breakdowns] for name, part in PARTS.items()}

"""The embedded world of chains: the environment that plays the tasks of `chain_tasks`.

Rewards, over a trajectory without a needless call: 1 in total.

- Half for progress: each call that the chain needs, in its order, earns an equal share of 0.5 in
  the turn that makes it. A call that is refused and says what to mend is one of them.
- Half for the end: 0.5 if the calls that were run are the chain's and no others, and the policy
  then answers with the last result and with no earlier one.
- Each other call costs 0.1: one that fails, one made again, one too many. After the third of them
  the episode is over.

So an early answer earns what was done, a needless call never pays, and no guess of values is worth
its price. The calls that were run are all that counts as done; a text that looks like a result
changes nothing. A call that fails changes nothing either, so it can be put right, at its cost.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, Environment, Finish, Start, Step
from toolrest.world.chain_tasks import Chain, make_chain, other_result
from toolrest.world.tasks import PARAMETERS, Split, Tool

PROGRESS = 0.5
"""Of the reward of a chain, for the calls; the rest is for the end."""
NEEDLESS = 0.1
"""What a call costs that the chain does not need."""
PATIENCE = 3
"""The needless call after which the episode is over."""
_WORDS = re.compile(r"[A-Za-z0-9]+")


def chain_rows(split: Split, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """`count` rows that name chains of the split, numbered from 0."""
    return [{"index": index, "split": str(split), "seed": seed} for index in range(count)]


class Chains(Environment):
    """Plays one chain after the other."""

    reusable = True

    def reset(self, row: Mapping[str, Any], seed: int) -> Start:
        """Begin the chain that the row names.

        Args:
            row: {"index": i}, and as `chain_rows` writes them the split, else `train`, and the
                seed of the chains, else 0.
            seed: of the episode, which leaves nothing to chance.
        """
        split = Split(row.get("split", Split.TRAIN))
        self.chain: Chain = make_chain(split, row.get("seed", 0), row["index"])
        self.done = 0
        """How many of the chain's calls were made."""
        self._needless = 0
        self._stray = False
        """Whether a call was run that the chain does not need."""
        return Start(self.chain.messages)

    def call(self, calls: Sequence[ToolCall]) -> Step:
        results: list[tuple[str, str]] = []
        reward, errors = 0.0, 0
        for call in calls:
            text, failed, needed = self._run(call)
            results.append((call.name, text))
            errors += failed
            self._needless += not needed
            reward += PROGRESS / len(self.chain.links) if needed else -NEEDLESS
        return Step(tuple(results), reward, self._needless >= PATIENCE, errors)

    def finish(self, reply: str, ending: Ending) -> Finish:
        complete = self.done == len(self.chain.links) and not self._stray
        success = complete and ending is Ending.ANSWERED and self._answers(reply)
        return Finish(1 - PROGRESS if success else 0.0, success=success)

    def close(self) -> None:
        """Nothing is held."""

    def _run(self, call: ToolCall) -> tuple[str, bool, bool]:
        """(what the tool answers, whether that is an error, whether the chain needs the call)."""
        links = self.chain.links
        if self.done < len(links) and call == links[self.done].call:
            self.done += 1
            return links[self.done - 1].text, links[self.done - 1].refused, True
        tool = next((tool for tool in self.chain.tools if tool.name == call.name), None)
        wrong = "there is no such tool" if tool is None else _misfit(tool, call)
        if wrong:
            return f"error: {wrong}", True, False
        again = next((link for link in links[: self.done] if link.call == call), None)
        if again and again.refused:
            return again.text, True, False
        self._stray = True
        return again.text if again else other_result(call, self.chain), False, False

    def _answers(self, reply: str) -> bool:
        """Whether a reply gives the last result, and no earlier one."""
        said = set(_WORDS.findall(reply))
        *earlier, last = self.chain.results
        return last in said and not said.intersection(earlier)


def _misfit(tool: Tool, call: ToolCall) -> str | None:
    """What is wrong with the parameters of a call; None: nothing."""
    for name in tool.parameters:
        if name not in call.parameters:
            return f"{name} is missing"
        wanted, kind = (int, "a number") if PARAMETERS[name] == "number" else (str, "a string")
        if type(call.parameters[name]) is not wanted:
            return f"{name} must be {kind}"
    return "there is no such parameter" if len(call.parameters) > len(tool.parameters) else None

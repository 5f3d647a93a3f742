"""How long BFCL's scoring takes, generation aside: right answers through the official checker.

    python benchmarks/bfcl.py

Every single-turn item is read from text, written, checked; every dialogue is played through the
simulators turn by turn and checked. The release is that of the bfcl-eval that is installed.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "evaluate" / "bfcl"))

from gold import candidates, turn_calls

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.evaluate.bfcl.categories import choose
from toolrest.evaluate.bfcl.episodes import MultiTurn, SingleTurn, Speech, episodes
from toolrest.evaluate.bfcl.official import OfficialBFCL
from toolrest.evaluate.episode import Answer

HERMES = get_dialect("hermes")


def written(calls: list[dict]) -> Answer:
    """The answer as a policy writes it."""
    made = [ToolCall(call["name"], call["arguments"]) for call in calls]
    return Answer(HERMES.write(thought=None, calls=made, response=None) if made else "Done.", "end")


def right_answers(episode: SingleTurn | MultiTurn) -> list[Answer]:
    """All that a policy writes in an item: a turn's calls, and words when they are done."""
    if isinstance(episode, SingleTurn):
        return [written(next(candidates(episode)))]
    turns = [turn_calls(episode, turn) for turn in range(len(episode.gold))]
    return [written(calls) for turn in turns for calls in ((turn, []) if turn else ([],))]


def main() -> None:
    """Time both halves of the benchmark."""
    with OfficialBFCL() as official:
        speech = Speech("template", HERMES)
        for group in ("single_turn", "multi_turn"):
            found = [
                episode
                for category in choose([group], official.release)
                for episode in episodes(official, category, speech)
            ]
            answers = [right_answers(episode) for episode in found]
            start = time.perf_counter()
            right = 0
            for episode, texts in zip(found, answers, strict=True):
                for answer in texts:
                    if episode.request() is not None:
                        episode.receive(answer)
                right += episode.outcome().correct
            seconds = time.perf_counter() - start
            print(
                f"BFCL {official.release} {group}: {len(found)} items, {right} right, "
                f"{seconds:.1f} s"
            )


if __name__ == "__main__":
    main()

"""Rewards of 512 responses, against a direct reading of the formula and against the JSON alone.

    python benchmarks/rewards.py

64 prompts of the embedded world with 8 responses each, half of them with an error. Each row is
timed in turn with toolrest's, in pairs, and the ratio of a pair is reported with its median, least
and greatest. Responses that say the same to the same prompt are scored once a call; a second table
has only responses that differ in more than their thoughts.

- direct reading: regular expressions for the blocks, json.loads of every line of the response and
  of the ground truth each time, every assignment of calls tried. Its scores must equal toolrest's.
- JSON alone: json.loads of the responses' call lines, nothing else.
"""

import argparse
import itertools
import json
import random
import re
import statistics
from collections import Counter
from functools import partial

from pairs import pairs

from toolrest.core.dialects import get_dialect
from toolrest.engines.common.reward import ToolReward
from toolrest.world.demonstrations import demonstrate_with_errors
from toolrest.world.tasks import Split, make_task

PROMPTS, GROUP = 64, 8
_CALLS = re.compile(r"<tool_call>(.*?)</tool_call>", re.S)


def same(a: object, b: object) -> bool:
    return a == b and isinstance(a, bool) is isinstance(b, bool)


def read(text: str) -> list[dict] | None:
    """The calls of a text; None where they do not parse."""
    block = _CALLS.search(text)
    if block is None:
        return []
    try:
        calls = [json.loads(line) for line in block[1].strip().splitlines()]
        return (
            calls if all(isinstance(c["parameters"], dict) and c["name"] for c in calls) else None
        )
    except (ValueError, KeyError, TypeError):
        return None


def jaccard(a: Counter, b: Counter) -> float:
    return (a & b).total() / (a | b).total() if a or b else 1.0


def pair(a: dict, b: dict) -> float:
    if a["name"] != b["name"]:
        return 0.0
    mine, theirs = a["parameters"], b["parameters"]
    values = sum(k in mine and same(mine[k], v) for k, v in theirs.items())
    return jaccard(Counter(list(mine)), Counter(list(theirs))) + values


def direct(text: str, truth: str) -> float:
    """S_acc on the constant range, and the format's 0 or 1."""
    due, found = read(truth), read(text)
    tags = re.findall(r"</?(?:think|tool_call|response)>", text)
    format_ok = tags == re.findall(r"</?(?:think|tool_call|response)>", truth)
    format_ok &= not re.sub(r"<(think|tool_call|response)>.*?</\1>", "", text, flags=re.S).strip()
    score = 0.0
    owed = bool(due)
    closed = text.count("<tool_call>") == text.count("</tool_call>")
    if due is not None and found is not None and closed and owed == bool(found):
        names = jaccard(Counter(c["name"] for c in found), Counter(c["name"] for c in due))
        few, many = sorted((found, due), key=len)
        best = max(
            sum(pair(a, b) if few is found else pair(b, a) for a, b in zip(few, order, strict=True))
            for order in itertools.permutations(many, len(few))
        )
        total = 1 + len(due) + sum(len(c["parameters"]) for c in due)
        score = (names + best) / total if due else 1.0
    return float(format_ok) + 6 * score - 3


def json_alone(texts: list[str]) -> None:
    for text in texts:
        read(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    rng = random.Random(0)
    texts, truths = [], []
    for index in range(PROMPTS):
        task = make_task(Split.TRAIN, 0, index)
        truth = task.sample("").ground_truth
        for _ in range(GROUP):
            texts.append(demonstrate_with_errors(task, rng, 0.5))
            truths.append(truth)
    reward = ToolReward(schedule="constant")
    wanted = [direct(text, truth) for text, truth in zip(texts, truths, strict=True)]
    scores = reward(texts, ground_truth=truths)
    differing = [
        i for i, (a, b) in enumerate(zip(scores, wanted, strict=True)) if abs(a - b) > 1e-9
    ]
    print(f"{len(differing)} of {len(texts)} scores differ from the direct reading's")
    for index in differing[:3]:
        print(repr(texts[index]), repr(truths[index]), scores[index], wanted[index])
    rlla = get_dialect("rlla")
    different = {(rlla.without_thought(a), b): (a, b) for a, b in zip(texts, truths, strict=True)}
    compare(reward, texts, truths, repeats)
    compare(reward, *map(list, zip(*different.values(), strict=True)), repeats)


def compare(reward: ToolReward, texts: list[str], truths: list[str], repeats: int) -> None:
    print(f"{len(texts)} responses")
    ours = partial(reward, texts, ground_truth=truths)
    others = {
        "direct reading": lambda: [direct(a, b) for a, b in zip(texts, truths, strict=True)],
        "JSON alone": lambda: json_alone(texts),
    }
    for name, other in others.items():
        seconds, ratios = pairs(ours, other, repeats)
        print(
            f"  toolrest {seconds * 1000:6.1f} ms ({len(texts) / seconds:,.0f} responses/s); "
            f"{name} takes {statistics.median(ratios):.2f} times as long "
            f"({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} pairs)"
        )


if __name__ == "__main__":
    main()

"""Scores the responses in a file, row by row."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toolrest.core.rewards.score import RewardBreakdown
from toolrest.engines.common.reward import ToolReward, reward_parts
from toolrest.errors import InputError, kind_of, reason
from toolrest.io.files import iterate_lines
from toolrest.io.redaction import refuse_keys


def score_file(
    rollouts: Path, reward: ToolReward, output: Path | None
) -> dict[str, dict[str, float]]:
    """Score every row; one row is in memory at a time.

    Args:
        rollouts: JSONL with `response` and `ground_truth`, strings, in every row, and for `ast`
            `possible_answer` where there is one; `opening`, what the prompt has written of the
            reply, and `tools`, which some dialects read values by, where they are known.
        output: receives one JSON object a row: its number from 0, blank lines not counted, its
            identity where it has one, and the breakdown.

    Returns:
        By the rows' `decoding` (sampled, greedy), which are never put together; empty for rows
        that name none: `n`, the mean `reward`, and the mean of every part by name.

    Raises:
        InputError: no such file, an empty one, or a row that does not fit, by its number.
    """
    if not rollouts.is_file():
        raise InputError(f"{rollouts}: there is no such file")
    if output is not None and output.exists() and output.samefile(rollouts):
        raise InputError(f"{output}: the output would overwrite the rollouts; name another file")
    totals: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    count = 0
    with ExitStack() as files:
        write = None if output is None else files.enter_context(_writing(output))
        for line in _lines(rollouts):
            if not line.strip():
                continue
            number, count = count, count + 1
            row = _row(line, f"{rollouts}, row {number}")
            found = _score(row, reward, f"{rollouts}, row {number}")
            told = row.get("decoding")
            decoding = told if isinstance(told, str) else ""
            own = totals[decoding]
            own["n"] += 1
            own["reward"] += found.total
            for name, values in reward_parts([found]).items():
                own[name.removeprefix("reward/")] += values[0]
            if write is not None:
                named = {key: row[key] for key in ("identity", "decoding") if key in row}
                kept = {"row": number} | named
                text = json.dumps(kept | asdict(found))
                refuse_keys(text, f"{output}, row {number}")
                write(text + "\n")
        if count == 0:
            raise InputError(f"{rollouts}: it holds no row")
    return {
        decoding: {name: total if name == "n" else total / own["n"] for name, total in own.items()}
        for decoding, own in totals.items()
    }


@contextmanager
def _writing(path: Path) -> Iterator[Callable[[str], object]]:
    """What writes to a file, which is there, whole, once all is written, and as it was otherwise;
    whatever the disk refuses, at its end too, is an `InputError`.
    """

    def refused(error: OSError) -> InputError:
        return InputError(f"{path}: cannot be written: {error.strerror or reason(error)}")

    device = path.exists() and not path.is_file()
    part = path if device else path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        file = part.open("w", encoding="utf-8")
    except OSError as error:
        raise refused(error) from error

    def write(text: str) -> None:
        try:
            file.write(text)
        except OSError as error:
            raise refused(error) from error

    try:
        yield write
        try:
            file.close()
            if not device:
                part.replace(path)
        except OSError as error:
            raise refused(error) from error
    finally:
        with suppress(OSError):
            file.close()
        if not device:
            with suppress(OSError):
                part.unlink()


def has_rewards_of_training(rollouts: Path) -> bool:
    """Whether the first row has the reward that a step of a run counted, by its own schedule."""
    first = next((line for line in _lines(rollouts) if line.strip()), "{}")
    row = _row(first, f"{rollouts}, row 0")
    return "step" in row and isinstance(row.get("reward"), dict)


def _score(row: dict[str, Any], reward: ToolReward, where: str) -> RewardBreakdown:
    possible = row.get("possible_answer")
    if possible is not None and not isinstance(possible, str):
        possible = json.dumps(possible)
    opening = row.get("opening")
    if opening is not None and not isinstance(opening, str):
        raise InputError(f"{where}: its `opening` is {kind_of(opening)}, not a text")
    try:
        return reward.score(
            row["response"],
            row["ground_truth"],
            possible_answer=possible,
            prompt=opening or None,
            tools=row.get("tools"),
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from iterate_lines(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or reason(error)})") from error


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: not a JSON object but {kind_of(row)}")
    if "episode" in row or ("turns" in row and "ending" in row):
        raise InputError(
            f"{where}: an episode, whose reward its environment has given (`reward`); score is of "
            "single responses with ground truths"
        )
    for key in ("response", "ground_truth"):
        if not isinstance(row.get(key), str):
            found = f"it is {kind_of(row[key])}" if key in row else f"found {sorted(row)}"
            raise InputError(f"{where}: it needs a string `{key}`; {found}")
    return row

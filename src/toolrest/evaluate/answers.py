"""Stores the answers of an evaluation on disk as they come in."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from toolrest.errors import InputError, short
from toolrest.evaluate.episode import Answer
from toolrest.io.files import MOST_TEXT, open_to_add, write_json, writing
from toolrest.io.foreign import parse_object
from toolrest.io.objects import read_object
from toolrest.io.redaction import refuse_keys

KEYED = {"answers_by": "item, step and prompt"}
"""What the settings say where each answer's key holds its prompt's hash."""


class AnswerStore:
    """The file answers.jsonl of an evaluation: one object an answer, append only.

    An answer's key is the item, the step in it and the hash of what was sent, so that what is asked
    otherwise is asked again. One process at a time. A last line that was cut off by a kill is taken
    out; its answer is asked for again.

    Args:
        folder: made if it is not there.
        settings: all that the answers depend on. A folder of other settings is refused.

    Raises:
        InputError: other settings, another process, or a file that cannot be read or written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path = folder / "answers.jsonl"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open_to_add(self.path, buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise InputError(f"{folder}: another evaluation is writing there") from None
        except OSError as error:
            self._file.close()
            raise InputError(f"{folder}: cannot be locked: {error.strerror}") from error
        try:
            with writing(folder):
                for part in folder.glob("*.part"):  # of a killed process; nobody else writes
                    part.unlink()
                self._check_settings(folder / "settings.json", settings)
                self._answers = self._load()
        except InputError:
            self._file.close()
            raise

    def _check_settings(self, path: Path, settings: dict[str, Any]) -> None:
        if path.is_file():
            try:
                before = read_object(path)
            except ValueError:
                before = {}
            if KEYED.items() <= settings.items() and before and not KEYED.keys() <= before.keys():
                raise InputError(
                    f"{path.parent}: holds answers of an older toolrest, which did not keep what "
                    "they are answers to, so they are not taken; choose another --out"
                )
            changed = sorted(
                key
                for key in before.keys() | settings.keys()
                if before.get(key) != settings.get(key)
            )
            if changed:
                key = changed[0]
                raise InputError(
                    f"{path.parent}: holds answers of other settings ({key}: "
                    f"{short(before.get(key))}, now {short(settings.get(key))}); "
                    "choose another --out"
                )
        elif self.path.stat().st_size:
            raise InputError(
                f"{path.parent}: holds answers whose settings ({path.name}) are gone, so they are "
                "not taken; choose another --out"
            )
        else:
            write_json(path, settings)

    def _load(self) -> dict[str, Answer]:
        if os.fstat(self._file.fileno()).st_size > MOST_TEXT:
            raise InputError(f"{self.path}: over {MOST_TEXT >> 20} MiB; choose another --out")
        self._file.seek(0)
        found: dict[str, Answer] = {}
        end = 0
        with open(self._file.fileno(), "rb", closefd=False) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    row = parse_object(line)
                    key = row.pop("key")
                    found[key] = _checked(Answer(**row))
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"{self.path}, line {number}: not an answer ({error}); take the line out, "
                        "and it is asked for again"
                    ) from error
                end += len(line)
        self._file.truncate(end)
        return found

    @property
    def count(self) -> int:
        """Number of stored answers."""
        return len(self._answers)

    def has_readable(self) -> bool:
        """Whether any stored answer is readable."""
        return any(answer.stop != "unreadable" for answer in self._answers.values())

    def get(self, key: str) -> Answer | None:
        """The stored answer; None if there is none."""
        return self._answers.get(key)

    def add(self, key: str, answer: Answer) -> None:
        """Store an answer.

        Raises:
            InputError: the disk is full, the file cannot be written, or the answer holds a key of
                the environment.
        """
        row = {"key": key} | asdict(answer)
        if not answer.why:
            del row["why"]
        line = json.dumps(row, ensure_ascii=False) + "\n"
        refuse_keys(line, f"{self.path}: the answer {key}")
        try:
            self._append(line.encode("utf-8", "surrogatepass"))
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot be written: {error.strerror}; answers so far are kept, and "
                "the same command goes on"
            ) from error
        self._answers[key] = answer

    def _append(self, line: bytes) -> None:
        """Append a line; remove it again if a full disk has cut it off."""
        before = os.fstat(self._file.fileno()).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            with suppress(OSError):
                self._file.truncate(before)
            raise

    def close(self) -> None:
        """Close the file and release its lock."""
        with self._file, suppress(OSError):  # what was written is there, on the disk or not yet
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(answer: Answer) -> Answer:
    """The answer, if its parts are what they must be.

    Raises:
        TypeError: they are not.
    """
    numbers = (answer.prompt_tokens, answer.tokens)
    fits = (
        isinstance(answer.text, str)
        and isinstance(answer.opening, str)
        and isinstance(answer.why, str)
        and answer.stop in ("end", "length", "too_long", "unreadable")
        and all(number is None or isinstance(number, int) for number in numbers)
        and (answer.calls is None or all(isinstance(call, dict) for call in answer.calls))
    )
    if not fits:
        raise TypeError("a part of it is of the wrong type")
    return answer

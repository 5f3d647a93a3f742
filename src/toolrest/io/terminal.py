"""Standard streams whose loss does not stop a run, and safe printing of untrusted text.

`keep_streams` is called once, by the command. From then on a standard stream that is closed, full
or gone swallows what it is given, and `lost` says so. All printing goes through `say` and
`toolrest.io.console`, which read no markup and write controls as their codes.
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from toolrest.errors import InputError, printable, reason
from toolrest.io.files import append_json

_NAMES = {1: "standard output", 2: "standard error"}
KEPT = "\n\t"
"""Control characters that are printed as they are."""


class _Streams:
    """The lost standard streams, and the callbacks that are told of a loss."""

    def __init__(self) -> None:
        self.gone: dict[int, str] = {}
        self.told: list[Callable[[str], object]] = []

    def lose(self, number: int, why: str) -> None:
        """Record a lost stream and redirect it to the null device, for libraries too."""
        if number in self.gone:
            return
        self.gone[number] = why
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)
        for tell in self.told:
            tell(f"{_NAMES[number]}: {why}")


_streams = _Streams()


class _View(io.FileIO):
    """A standard stream that records its loss instead of raising."""

    def write(self, data: Any) -> int:
        """See io.RawIOBase. Always accepts everything."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            try:
                taken = super().write(rest)
            except OSError as error:
                _streams.lose(self.fileno(), error.strerror or reason(error))
                return size
            if taken is None:  # somebody has made it a stream that does not wait
                select.select([], [self], [])
            rest = rest[taken or 0 :]
        return size


def keep_streams() -> None:
    """Replace the standard streams by ones that never raise, whatever reader, disk or locale.

    A closed one is opened upon nothing, as the next file would take its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
            if number:
                _streams.gone[number] = "closed"
    for number, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        if before is not None:
            with suppress(OSError, ValueError):
                before.flush()
        made = io.TextIOWrapper(
            io.BufferedWriter(_View(number, "w", closefd=False)),
            encoding=getattr(before, "encoding", None) or "utf-8",
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, made)
    _outlive_the_terminal()


def _outlive_the_terminal() -> None:
    """A terminal that is closed takes the view along, and nothing else."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:  # nohup, say
        return

    def gone(number: int, frame: FrameType | None) -> None:
        for stream in (1, 2):
            if stream not in _streams.gone and os.isatty(stream):
                _streams.lose(stream, "the terminal is gone")

    signal.signal(signal.SIGHUP, gone)


def lost() -> str | None:
    """Why standard output was lost; None if it was not."""
    return _streams.gone.get(1)


def when_lost(tell: Callable[[str], object]) -> None:
    """Call `tell` with the reason when a stream is lost; at once if one is lost already."""
    _streams.told.append(tell)
    for number, why in _streams.gone.items():
        tell(f"{_NAMES[number]}: {why}")


def note_loss(path: Path, step: Callable[[], int] = lambda: 0) -> None:
    """Write the loss of a stream into a file of warnings."""

    def note(why: str) -> None:
        text = f"{why}; the work went on unseen"
        row = {"name": "view_lost", "step": step(), "text": text, "advice": "see the files here"}
        with suppress(OSError):  # the work decides what a full disk means
            append_json(path, row)

    when_lost(note)


def say_lost(what: str) -> None:
    """After some work, report that the output was lost on the way."""
    sys.stdout.flush()
    if why := lost():
        say(f"toolrest: {what}; {_NAMES[1]} was lost on the way ({why})", err=True)


def require_shown() -> None:
    """Fail if the output was lost, where the output is the command's only result.

    A reader that has seen enough (`| head`) is none that lost something.

    Raises:
        InputError: it was not.
    """
    sys.stdout.flush()
    why = lost()
    if why is not None and why != os.strerror(errno.EPIPE):
        raise InputError(f"{_NAMES[1]} cannot be written ({why}), and the result is nowhere else")


def is_first_process() -> bool:
    """Whether this process speaks for all that a launcher (accelerate launch, torchrun) started."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str, *, err: bool = False) -> None:
    """Print plain text."""
    print(printable(text, keep=KEPT), file=sys.stderr if err else sys.stdout, flush=True)

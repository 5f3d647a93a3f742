"""Time limits for work on untrusted files, such as rendering a chat template."""

from __future__ import annotations

import os
import select
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from toolrest.errors import InputError

TEMPLATE_SECONDS = 10.0
"""Seconds that a chat template may take for a prompt."""


class TooLong(BaseException):
    """The time is over. A BaseException, as Ctrl-C is, so that `except Exception` lets it pass."""


class EndlessTemplate(InputError):
    """The chat template took too long. It concerns all prompts, so no prompt is skipped for it."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Stop Python code that takes longer, in the main thread, where alone signals arrive; in
    another it takes as long as it takes.

    Raises:
        TooLong: the time is over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ends_within(seconds: float, work: Callable[[], object]) -> bool:
    """Whether work comes to an end in that time, by error or not; code in C, which no signal stops,
    included. It is done in a child of this process, and what it made is lost.
    """
    readable, writable = os.pipe()
    with warnings.catch_warnings():
        # Of forks beside threads: the child runs Python code alone and ends without clearing up.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.close(writable)
    status = None
    try:
        if select.select([readable], [], [], seconds)[0]:
            status = os.waitpid(child, 0)[1]
        return status is not None and not os.WIFSIGNALED(status)
    finally:
        os.close(readable)
        if status is None:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def apply_template(tokenizer: Any, messages: Any, **options: Any) -> Any:
    """A tokenizer's `apply_chat_template` with a time limit.

    Args:
        messages: of a conversation, or of each of several, which may take as much time each.
        options: of `apply_chat_template`.

    Raises:
        InputError: it takes over `TEMPLATE_SECONDS`.
    """
    several = len(messages) if messages and isinstance(messages[0], list) else 1
    try:
        with within(TEMPLATE_SECONDS * several):
            return tokenizer.apply_chat_template(messages, **options)
    except TooLong:
        raise EndlessTemplate(
            f"the policy's chat template takes over {TEMPLATE_SECONDS:.0f} s for a prompt; use "
            "another template"
        ) from None

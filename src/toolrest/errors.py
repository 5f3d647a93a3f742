"""The one exception for wrong input, whose text the command line shows; and others' in a line."""

from collections.abc import Callable

_WORDED = {
    MemoryError: "memory ran out",
    RecursionError: "it is nested too deeply",
    KeyboardInterrupt: "it was interrupted",
}


class InputError(ValueError):
    """The user gave something unusable; the text says what, where, and how to mend it."""


def reason(error: BaseException, clean: Callable[[str], str] = str) -> str:
    """What an error says, in one line that is never empty.

    Args:
        clean: applied to all that it says, before its first line is taken.
    """
    for kind, words in _WORDED.items():
        if isinstance(error, kind):
            return words
    line = clean(str(error)).strip().split("\n")[0].strip()
    return line or type(error).__name__

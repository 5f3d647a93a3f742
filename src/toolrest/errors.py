"""The one exception for wrong input, whose text the command line shows; and others' in a line."""

_WORDED = {
    MemoryError: "memory ran out",
    RecursionError: "it is nested too deeply",
    KeyboardInterrupt: "it was interrupted",
}


class InputError(ValueError):
    """The user gave something unusable; the text says what, where, and how to mend it."""


def reason(error: BaseException) -> str:
    """What an error says, in one line that is never empty."""
    for kind, words in _WORDED.items():
        if isinstance(error, kind):
            return words
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

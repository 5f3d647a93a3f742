"""The one exception for wrong input; the command line shows its text and exits with 2."""


class InputError(ValueError):
    """The user gave something unusable; the text says what, where, and how to mend it."""

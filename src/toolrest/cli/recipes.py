"""A recipe and its overrides as a command's arguments."""

from pathlib import Path

import typer

from toolrest.errors import InputError, short

ARGUMENTS = typer.Argument(
    metavar="[RECIPE] [KEY=VALUE]...",
    help="A recipe file, or a name that `toolrest recipes` lists; then overrides such as "
    "max_steps=5 or rollout.group_size=4.",
    show_default=False,
)


def split_arguments(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """The recipe's path, where the first argument is one, and the overrides.

    Raises:
        InputError: an argument is neither, with how it is written.
    """
    path, overrides = None, list(arguments)
    if overrides and "=" not in overrides[0] and not _is_key(overrides[0]):
        from toolrest.recipe.shipped import find_recipe

        path = find_recipe(overrides.pop(0))
    for at, text in enumerate(overrides):
        if "=" in text and text != "=":
            continue
        if _is_key(text):
            raise InputError(f"{short(text)}: a setting is one word: {_written(overrides, at)}")
        if text.endswith((".yaml", ".yml")):
            raise InputError(f"{short(text)}: one recipe, and it comes first; then KEY=VALUE")
        raise InputError(
            f"{short(text)}: after a recipe come settings, written KEY=VALUE, as in max_steps=5"
        )
    return path, overrides


def _is_key(text: str) -> bool:
    """Whether a word without `=` is a setting's name, and no file's."""
    from toolrest.recipe.mends import key_meant

    plain = "/" not in text and not text.endswith((".yaml", ".yml"))
    return plain and not Path(text).exists() and key_meant(text) is not None


def _written(words: list[str], at: int) -> str:
    """How the setting at a place, and its value after it, are written as one word."""
    from toolrest.recipe.mends import key_meant

    after = [word.removeprefix("=") for word in words[at + 1 : at + 3] if word != "="]
    value = after[0] if after and "=" not in after[0] else "VALUE"
    return f"write {key_meant(words[at])}={value}"

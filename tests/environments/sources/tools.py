"""Plain functions as tools."""

import math
from json import dumps


def add(a: float, b: float) -> float:
    """
    Add two numbers.

    Args:
        a: The first
        b: The second
    """
    return a + b


async def fetch(key: str) -> dict:
    """
    Fetch a value.

    Args:
        key: Its key
    """
    return {"key": key, "size": math.ceil(len(dumps(key)))}


def broken() -> set:
    """
    Give what is no JSON.
    """
    return {1}


def leave() -> None:
    """
    End the program.
    """
    raise SystemExit(2)


def _hidden(a: int) -> int:
    return a

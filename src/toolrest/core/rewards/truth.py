"""What a data set gives beside a prompt, checked: the ground truth and the tools."""

from __future__ import annotations

import json

from toolrest.core.dialects import Block, ParseStatus, dialect_names, get_dialect
from toolrest.core.dialects.types import Declared, declared
from toolrest.errors import InputError, short


def check_truth(dialect: str, text: str, status: ParseStatus, called: bool) -> None:
    """Refuse a ground truth whose calls are not read: a reply without calls would be right.

    Raises:
        InputError: a call or a thought is broken, or it is calls of another dialect alone.
    """
    if status in (ParseStatus.BAD_CALL, ParseStatus.UNCLOSED):
        raise InputError(
            f"a row's ground_truth does not parse in the dialect {dialect} ({status}): "
            f"{short(text)}"
        )
    if called:
        return
    for name in dialect_names():
        other = get_dialect(name).scan(text)
        if other.status is ParseStatus.OK and other.calls and Block.RESPONSE not in other.blocks:
            raise InputError(
                f"a row's ground_truth is calls in the dialect {name}, and the policy's is "
                f"{dialect}: {short(text)}; write them in {dialect}, or take dialect={name}"
            )


def read_tools(tools: str) -> Declared:
    """What tools declare, from their JSON text.

    Raises:
        InputError: it is none.
    """
    try:
        return declared(json.loads(tools))
    except (ValueError, RecursionError) as error:
        raise InputError(f"a row's tools are not JSON ({error})") from error

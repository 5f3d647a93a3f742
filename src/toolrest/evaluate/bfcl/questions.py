"""BFCL's questions, to look for among training data."""

from __future__ import annotations

from collections.abc import Iterator

from toolrest.evaluate.bfcl.categories import categories
from toolrest.evaluate.bfcl.official import OfficialBFCL


def bfcl_questions() -> Iterator[tuple[str, str]]:
    """(label, what the user says) of every item of the release that is installed.

    Raises:
        InputError: bfcl-eval is not installed.
    """
    with OfficialBFCL() as official:
        for category in categories(official.release):
            for item in official.ask("load", category=category):
                said = [
                    message["content"]
                    for turn in item["question"]
                    for message in turn
                    if message["role"] == "user"
                ]
                yield f"BFCL {official.release} {item['id']}", "\n".join(said)

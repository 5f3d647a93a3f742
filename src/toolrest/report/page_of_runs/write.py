"""Runs as one page, with nothing to load."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from toolrest.core.regions import Region
from toolrest.report.page import render, write_page
from toolrest.report.page_of_runs.collect import collect


def write_report(runs: Sequence[Path], output: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        InputError: a folder is no run, or the page cannot be written.
    """
    write_page(output, report_page(runs))


def report_page(runs: Sequence[Path]) -> str:
    """The whole page."""
    found = [collect(run, 1 / len(runs)) for run in runs]
    data = {"runs": found, "regions": [region.name.lower() for region in Region]}
    names = ", ".join(run["name"] for run in found)
    script = (files("toolrest.report") / "templates" / "runs.js").read_text(encoding="utf-8")
    return render(
        "runs",
        f"toolrest report: {names}",
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        names=names,
        data=_embedded(data),
        script=Markup(script),  # noqa: S704 - our own file
    )


def _finite(value: object) -> object:
    """The value with numbers that JSON does not have, such as a limit of infinity, as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value


def _embedded(value: object) -> Markup:
    """JSON that no HTML parser sees an end or a comment in."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - holds no "<"

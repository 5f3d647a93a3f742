"""Runs as one page, with nothing to load."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from toolrest.core.regions import Region
from toolrest.errors import InputError
from toolrest.report.page import document, shown
from toolrest.report.page_of_runs.collect import collect
from toolrest.runs.folder import write_whole


def write_report(runs: Sequence[Path], output: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        InputError: a folder is no run, or the page cannot be written.
    """
    page = report_page(runs)
    try:
        write_whole(output, page)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from error


def report_page(runs: Sequence[Path]) -> str:
    """The whole page."""
    found = [collect(run, 1 / len(runs)) for run in runs]
    data = {"runs": found, "regions": [region.name.lower() for region in Region]}
    names = ", ".join(run["name"] for run in found)
    here = files("toolrest.report.page_of_runs")
    script = (here / "app.js").read_text(encoding="utf-8")
    style = (here / "app.css").read_text(encoding="utf-8")
    body = (
        f"<h1>{shown(names)}</h1>\n"
        f'<script type="application/json" id="data">{_embedded(data)}</script>\n'
        f"<script>{script}</script>"
    )
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return document(f"toolrest report: {names}", body, style, script_hash=hashed)


def _finite(value: object) -> object:
    """The value with numbers that JSON does not have, such as a limit of infinity, as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list) else value


def _embedded(value: object) -> str:
    """JSON that no HTML parser sees an end or a comment in."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")

"""Runs as one page, with nothing to load."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from toolrest.core.regions import Region
from toolrest.report.page import render, write_page
from toolrest.report.page_of_runs.collect import collect
from toolrest.report.page_of_runs.seeds import differences, seed_groups

SCRIPTS = (
    "basics",
    "address",
    "looks",
    "charts",
    "curves",
    "curves_view",
    "difference",
    "tokens",
    "rewards",
    "rollouts",
    "failures",
    "facts",
    "story",
    "tabs",
)
"""Files of templates/runs/ that are the page's own script, in this order."""
_MOST_NAMES = 3
"""Names of runs in the title; of more only their number is told."""


def write_report(runs: Sequence[Path], output: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        InputError: a folder is no run, or the page cannot be written.
    """
    write_page(output, report_page(runs))


def report_page(runs: Sequence[Path]) -> str:
    """The whole page."""
    found = [collect(run, 1 / len(runs)) for run in runs]
    data = {
        "runs": found,
        "regions": [region.name.lower() for region in Region],
        "groups": seed_groups(found),
        "differences": differences(found),
    }
    folder = files("toolrest.report") / "templates" / "runs"
    script = "".join((folder / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    charts, hash_of_charts = _chart_library()
    return render(
        "runs",
        f"toolrest report: {_title(found)}",
        [_hash(script), hash_of_charts],
        names=_title(found),
        data=_embedded(data),
        script=_inlined(script),
        charts=charts,
    )


def _title(runs: Sequence[dict[str, Any]]) -> str:
    if len(runs) <= _MOST_NAMES:
        return ", ".join(run["name"] for run in runs)
    return f"{len(runs)} runs"


@cache
def _chart_library() -> tuple[Markup, str]:
    """(plotly's script as it stands in the page, its hash): 5 MB, read and looked through once."""
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs()
    return _inlined(script), _hash(script)


def _hash(script: str) -> str:
    """SHA-256, base64: by it the browser knows a script that it may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inlined(script: str) -> Markup:
    """A script as it stands in the page.

    Raises:
        ValueError: it would not end where it should.
    """
    if any(mark in script.lower() for mark in ("</script", "<script", "<!--")):
        raise ValueError("a script with a mark of HTML in it cannot be put into a page")
    return Markup(script)  # noqa: S704 - our own file, or that of the chart library


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

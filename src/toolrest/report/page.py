"""What every page has in common: one file, no network, light and dark, text shown as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from toolrest.core.regions import Region
from toolrest.io.files import write_whole, writing
from toolrest.report.shading import COLOURS, visible

_PAGES = Environment(
    loader=PackageLoader("toolrest.report"),
    autoescape=True,
    finalize=lambda value: value if isinstance(value, Markup) else visible(str(value)),
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
)
_PAGES.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
_PAGES.globals["colours_of"] = {region.name.lower(): COLOURS[region] for region in Region}


def render(page: str, title: str, script_hashes: Sequence[str] = (), **values: object) -> str:
    """A whole page of `templates/`. Every value is escaped, what is invisible made visible.

    Args:
        page: the template's name.
        script_hashes: SHA-256 of each of its scripts, base64; it may run no other.
        values: what the template shows; only `Markup` is taken as it is.
    """
    template = _PAGES.get_template(f"{page}.html.jinja")
    return template.render(title=title, script_hashes=script_hashes, **values)


def write_page(path: Path, page: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    with writing(path):
        write_whole(path, page)

"""What every page has in common: one file, no network, light and dark, text shown as text."""

from __future__ import annotations

import html

from toolrest.core.regions import Region
from toolrest.report.shading import COLOURS, visible

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src {script}; base-uri 'none'; "
    "form-action 'none'"
)
"""What the browser may load: nothing; only the page's own script runs, known by its hash."""

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1f2937; --soft: #4b5563;
  --line: #d1d5db; --panel: #f8fafc; --accent: #1d4ed8; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f172a; --ink: #e5e7eb; --soft: #a8b3c4;
  --line: #475569; --panel: #1e293b; --accent: #93c5fd; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
.tokens { font: .95rem/2.6 ui-monospace, monospace; overflow-wrap: anywhere; padding: .6rem;
  background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; }
.tokens .token { color: var(--ink); white-space: pre-wrap; padding: .1rem 0 0;
  border-bottom: 2px solid var(--region);
  background: color-mix(in srgb, var(--region) calc(var(--shade, 0) * 1%), transparent); }
.pair { display: inline-flex; flex-direction: column; vertical-align: top; line-height: 1.5;
  margin: 0 .15rem .5rem 0; }
.pair small { color: var(--soft); font-size: .7rem; }
code, pre { font-family: ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
.soft { color: var(--soft); }
.legend span { display: inline-block; margin-right: 1rem; }
@media print { body { max-width: none; } }
"""


def region_style() -> str:
    """The regions' colours as style rules, on a light and on a dark ground."""
    light, dark = (
        "".join(
            f".{r.name.lower()} {{ color: {COLOURS[r][side]}; --region: {COLOURS[r][side]}; }}\n"
            for r in Region
        )
        for side in (0, 1)
    )
    return f"{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def shown(text: str) -> str:
    """A text for a page: escaped, and with what is invisible made visible."""
    return html.escape(visible(text), quote=True)


def document(title: str, body: str, style: str = "", script_hash: str | None = None) -> str:
    """A whole page.

    Args:
        script_hash: SHA-256 of its one script, base64; None: it has none.
    """
    policy = _POLICY.format(script="'none'" if script_hash is None else f"'sha256-{script_hash}'")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{shown(title)}</title>\n<style>{_STYLE}{region_style()}{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def legend() -> str:
    """The regions in their colours."""
    names = "".join(
        f'<span class="{region.name.lower()}">{region.name.lower()}</span>' for region in Region
    )
    return f'<p class="legend">{names}</p>'

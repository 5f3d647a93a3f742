"""An inspection as a page."""

from __future__ import annotations

import json
from pathlib import Path

from toolrest.core.regions import Region
from toolrest.errors import InputError
from toolrest.report.inspection import Inspection, Token
from toolrest.report.page import document, legend, shown
from toolrest.runs.folder import write_whole


def write_page(path: Path, found: Inspection) -> None:
    """Write the page, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_whole(path, inspection_page(found))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def inspection_page(found: Inspection) -> str:
    """The whole page: tokens by region with weights, shares, calls and reward."""
    heaviest = max((token.weight for token in found.tokens), default=1.0) or 1.0
    tokens = "".join(_token(token, heaviest) for token in found.tokens)
    body = (
        "<h1>A response, token by token</h1>\n"
        f"{legend()}<p class='soft'>Under each token its weight; the darker the ground, the "
        "heavier. Point at a token for its entropy.</p>\n"
        f'<div class="tokens">{tokens}</div>\n'
        f"<h2>Regions</h2>\n{_regions(found.tokens)}\n<h2>Calls</h2>\n{_calls(found)}\n"
        f"{_reward(found)}"
    )
    return document("toolrest inspect", body)


def _token(token: Token, heaviest: float) -> str:
    shade = round(40 * token.weight / heaviest)
    region = token.region.name.lower()
    told = f"{region}, weight {token.weight:.3f}"
    if token.entropy is not None:
        told += f", entropy {token.entropy:.3f} nats"
    written = (
        f'<span class="pair"><span class="token {region}" title="{shown(told)}" '
        f'data-weight="{token.weight:.6f}" style="--shade: {shade}">{shown(token.text)}</span>'
        f"<small>{token.weight:.2f}</small></span>"
    )
    return written + ("<br>" if token.text.endswith("\n") else "")


def _regions(tokens: list[Token]) -> str:
    total = sum(token.weight for token in tokens) or 1.0
    rows = ""
    for region in Region:
        weights = [token.weight for token in tokens if token.region == region]
        if weights:
            rows += (
                f'<tr><td class="{region.name.lower()}">{region.name.lower()}</td>'
                f"<td>{len(weights)}</td><td>{sum(weights) / len(weights):.2f}</td>"
                f"<td>{sum(weights) / total:.0%}</td></tr>"
            )
    head = "<tr><th>region</th><th>tokens</th><th>mean weight</th><th>share of weight</th></tr>"
    return f'<div class="wide"><table>{head}{rows}</table></div>'


def _calls(found: Inspection) -> str:
    calls = "".join(
        f"<li><code>{shown(call.name)} {shown(json.dumps(call.parameters, ensure_ascii=False))}"
        "</code></li>"
        for call in found.reply.calls
    )
    status = f"<p>Parse status: {shown(str(found.reply.status))}.</p>"
    return status + (f"<ul>{calls}</ul>" if calls else "<p>None.</p>")


def _reward(found: Inspection) -> str:
    reward = found.reward
    if reward is None:
        return ""
    return (
        f"<h2>Reward</h2><p>{reward.total:.2f} = format {reward.format_reward:.2f} + correctness "
        f"{reward.correctness_reward:.2f}; exact match: {'yes' if reward.exact else 'no'}.</p>"
    )

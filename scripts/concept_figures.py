"""Draw the figures of docs/concepts.md from toolrest's own functions, into docs/figures.

python scripts/concept_figures.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from toolrest import Region, RegionEntropy, TokenBatch, Vocabulary, get_scheme, label_tokens
from toolrest.core.credit import group_normalise, reward_to_go
from toolrest.core.dialects import get_dialect
from toolrest.engines.common.asked import Asked
from toolrest.engines.common.potentials import batch_potentials
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.prefix.packing import pack
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe
from toolrest.report.shading import COLOURS, visible

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
ENTROPY = {"FORMAT": 0.10, "NAME": 0.17, "PARAMETERS": 0.46, "REASONING": 0.83, "RESPONSE": 0.41}
"""Nats, of the first step of the embedded default run (README)."""
SHARE = {"FORMAT": 0.27, "NAME": 0.04, "PARAMETERS": 0.15, "REASONING": 0.53, "RESPONSE": 0.01}
"""Of the tokens, in the same step."""
RIGHT = (
    "<think> I rent the parcel. </think>\n<tool_call>\n"
    '{"name": "RentParcel", "parameters": {"room": "G7528", "title": "Vosva"}}\n</tool_call>'
)
REPLIES = (RIGHT, RIGHT.replace("Vosva", "Losdos"), RIGHT.replace("RentParcel", "RentTable"))
"""A group of three: all right, a wrong value at the end, a wrong name."""


@dataclass(frozen=True)
class Labelled:
    """Replies as the policy's tokens, with what toolrest sees in them."""

    ids: torch.Tensor
    """int64, [B, T]."""
    mask: torch.Tensor
    """bool, [B, T]."""
    regions: torch.Tensor
    """`Region` of each token, int64, [B, T]."""
    vocabulary: Vocabulary
    """The bytes of every id."""

    def texts(self, row: int) -> list[str]:
        """The tokens of a row."""
        ids = self.ids[row][self.mask[row]]
        return [self.vocabulary.concatenate(np.array([each]))[0].decode() for each in ids.tolist()]


def labelled(replies: tuple[str, ...] = REPLIES) -> Labelled:
    """The replies by the embedded policy's tokenizer."""
    tokenizer = load_tokenizer(Recipe())
    rows = [tokenizer(reply)["input_ids"] for reply in replies]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    return Labelled(ids, mask, label_tokens(ids, mask, vocabulary, get_dialect("rlla")), vocabulary)


def measured_entropy() -> RegionEntropy:
    """The region entropies of the embedded default run's first step."""
    count = torch.tensor([SHARE.get(region.name, 0.0) for region in Region], dtype=torch.float64)
    mean = [ENTROPY.get(region.name, 0.0) for region in Region]
    return RegionEntropy(count * torch.tensor(mean, dtype=torch.float64), count)


def weights_at(seen: Labelled, progress: float, scheme: str = "rest") -> torch.Tensor:
    """The weight of each token, [B, T]."""
    batch = TokenBatch(seen.regions, seen.mask, progress, measured_entropy())
    return get_scheme(scheme)(batch)


def advantages(seen: Labelled) -> tuple[list[float], torch.Tensor, torch.Tensor]:
    """(rewards [B], GRPO's advantages [B, T], those by spans [B, T]) of one group."""
    reward = ToolReward(dialect="rlla", schedule="constant")
    earned = [reward.score(reply, RIGHT).total for reply in REPLIES]
    rewards = torch.tensor(earned, dtype=torch.float64)
    asked = [Asked(RIGHT)] * len(REPLIES)
    decided = batch_potentials(seen.ids, seen.mask, asked, reward, seen.vocabulary, 0.0)
    plain = group_normalise(rewards, len(REPLIES)).unsqueeze(1).expand(seen.ids.shape)
    return earned, plain, reward_to_go(rewards, decided, len(REPLIES))


def attended(prompt: int, lengths: tuple[int, ...]) -> np.ndarray:
    """Which place of a packed group attends to which: 1 its prompt, 2 itself; [L, L]."""
    packed = pack(
        [list(range(prompt))] * len(lengths), [[0] * each for each in lengths], max(lengths)
    )
    found = packed.sequences
    places = np.zeros((packed.ids.shape[1],) * 2, dtype=int)
    for number in range(len(found.query_ends) - 1):
        queries = range(int(found.query_ends[number]), int(found.query_ends[number + 1]))
        keys = found.keys[int(found.key_ends[number]) : int(found.key_ends[number + 1])].tolist()
        for back, query in enumerate(reversed(queries)):
            for key in keys[: len(keys) - back]:
                places[query, key] = 1 if key < prompt - 1 else 2
    return places


def draw_regions() -> Figure:
    """A reply token by token: its regions, and its weights at the start and the end."""
    seen = labelled((RIGHT,))
    texts, regions = seen.texts(0), seen.regions[0].tolist()
    first, last = (weights_at(seen, progress)[0].tolist() for progress in (0.0, 1.0))
    figure, axes = plt.subplots(figsize=(9, 3.4))
    x, row, widths = 0.0, 0, [max(len(visible(text)), 3) * 0.115 + 0.12 for text in texts]
    for text, region, width, *heights in zip(texts, regions, widths, first, last, strict=True):
        if x + width > 9:
            x, row = 0.0, row + 1
        y = -1.75 * row
        colour = COLOURS[Region(region)][0]
        axes.add_patch(plt.Rectangle((x, y), width - 0.05, 0.5, color=colour, alpha=0.16, lw=0))
        axes.text(x + width / 2 - 0.025, y + 0.24, visible(text), color=colour, **_TOKEN)
        for offset, height, alpha in zip((0.0, 0.5), heights, (0.45, 1.0), strict=True):
            half = (width - 0.05) / 2
            axes.add_patch(
                plt.Rectangle(
                    (x + offset * (width - 0.05), y - 0.06),
                    half - 0.02,
                    -0.45 * height,
                    color=colour,
                    alpha=alpha,
                    lw=0,
                )
            )
        x += width
    names = [region for region in Region if int(region) in regions]
    for place, region in enumerate(names):
        axes.text(place * 1.5, 0.72, region.name.lower(), color=COLOURS[region][0], fontsize=9)
    axes.text(9, 0.72, "bars: weight at the start (pale), at the end", ha="right", fontsize=8)
    axes.set(xlim=(0, 9), ylim=(-1.75 * row - 0.95, 1.0))
    axes.axis("off")
    return figure


_TOKEN = {"ha": "center", "va": "center", "fontsize": 8, "family": "monospace"}


def draw_curriculum() -> Figure:
    """Weights before normalisation over a run's progress, by `rest` and by `official`."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    progress = np.linspace(0, 1, 51)
    shown = [region for region in Region if region.name in ENTROPY]
    regions = torch.tensor([[int(region) for region in shown]])
    for axes, name in zip(panels, ("rest", "official"), strict=True):
        scheme = get_scheme(name)
        rows = [
            scheme.weights(TokenBatch(regions, regions >= 0, float(nu), measured_entropy()))[0]
            for nu in progress
        ]
        for place, region in enumerate(shown):
            axes.plot(
                progress,
                [float(row[place]) for row in rows],
                color=COLOURS[region][0],
                label=region.name.lower(),
                lw=5 if region is Region.PARAMETERS else 2,
                alpha=0.5 if region is Region.PARAMETERS else 1.0,
                ls="--" if region is Region.RESPONSE else "-",
            )
        axes.set(title=f"weighting.scheme={name}", xlabel="progress, step / max_steps")
        _plain(axes)
    panels[0].set(ylabel="weight before normalisation", ylim=(-0.05, 2.1))
    panels[1].legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    return figure


def draw_credit() -> Figure:
    """Advantages of a group's tokens, by GRPO and by spans."""
    seen = labelled()
    earned, plain, spans = advantages(seen)
    figure, panels = plt.subplots(3, 1, figsize=(9, 7.6), sharey=True)
    figure.subplots_adjust(hspace=0.95)
    titles = ("all right", "the last value is wrong", "the name is wrong")
    for row, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        texts = seen.texts(row)
        places = np.arange(len(texts))
        axes.axhline(0, color="#94a3b8", lw=0.8)
        axes.step(
            places, plain[row, : len(texts)], where="mid", color="#475569", ls="--", label="GRPO"
        )
        axes.step(
            places, spans[row, : len(texts)], where="mid", color="#1d4ed8", lw=2, label="by spans"
        )
        axes.set_xticks(places, [visible(text) for text in texts], rotation=90, fontsize=7)
        for label, region in zip(axes.get_xticklabels(), seen.regions[row].tolist(), strict=False):
            label.set(color=COLOURS[Region(region)][0], family="monospace")
        axes.set_title(f"{title}: reward {earned[row]:.2f}", fontsize=9, loc="left")
        axes.set(xlim=(-0.5, seen.ids.shape[1] - 0.5))
        _plain(axes)
    panels[1].set(ylabel="advantage of the token")
    panels[0].legend(frameon=False, fontsize=8, loc="lower left", ncols=2)
    return figure


def draw_prefix() -> Figure:
    """A group as rows of their own, and behind one prompt."""
    prompt, lengths = 12, (5, 7, 4)
    places = attended(prompt, lengths)
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1.15, 1))
    rows = np.zeros((len(lengths), prompt + max(lengths)), dtype=int)
    for row, length in enumerate(lengths):
        rows[row, :prompt], rows[row, prompt : prompt + length] = 1, 2
    colours = ListedColormap(["#f1f5f9", "#93c5fd", "#15803d"])
    panels[0].imshow(rows, cmap=colours, vmin=0, vmax=2, aspect=2.2)
    panels[0].set_title(f"one row each: {rows.size} places", fontsize=10)
    panels[0].set(yticks=range(3), yticklabels=[f"response {n}" for n in (1, 2, 3)], xticks=[])
    panels[1].imshow(places, cmap=colours, vmin=0, vmax=2)
    panels[1].set_title(f"one prompt: {len(places)} places, and what each sees", fontsize=10)
    panels[1].set(xticks=[], yticks=[], xlabel="sees", ylabel="place")
    for axes, shape in zip(panels, (rows.shape, places.shape), strict=True):
        axes.set_xticks(np.arange(-0.5, shape[1]), minor=True)
        axes.set_yticks(np.arange(-0.5, shape[0]), minor=True)
        axes.grid(which="minor", color="white", lw=0.8)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
    panels[0].set_xlabel("blue: prompt, green: response, grey: padding")
    return figure


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


FIGURES = {
    "concept_regions": draw_regions,
    "concept_curriculum": draw_curriculum,
    "concept_credit": draw_credit,
    "concept_prefix": draw_prefix,
}


def draw_all(folder: Path) -> None:
    """Write every figure as SVG on a white ground, the same bytes each time."""
    with plt.rc_context({"svg.hashsalt": "toolrest", "svg.fonttype": "none", "font.size": 9}):
        for name, draw in FIGURES.items():
            figure = draw()
            figure.savefig(
                folder / f"{name}.svg",
                bbox_inches="tight",
                pad_inches=0.15,
                facecolor="white",
                metadata={"Date": None},
            )
            plt.close(figure)


if __name__ == "__main__":
    draw_all(FOLDER)

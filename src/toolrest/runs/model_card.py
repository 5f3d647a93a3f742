"""The model card of a policy: what is known of it, and nothing else, as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata

from jinja2 import Environment, PackageLoader, StrictUndefined

CARD = "README.md"
"""The card's name in a folder."""
PAPER_TITLE = "ResT: Reshaping Token-Level Policy Gradients for Tool-Use Large Language Models"
PAPER_ID = "2509.21826"
PAPER_CITATION = (
    "@inproceedings{lin2026rest,\n"
    "    title        = {{ResT: Reshaping Token-Level Policy Gradients for Tool-Use Large "
    "Language Models}},\n"
    "    author       = {Zihan Lin and Xiaohan Wang and Jie Cao and Jiajun Chai and "
    "Guojun Yin and Wei Lin and Ran He},\n"
    "    booktitle    = {International Conference on Learning Representations},\n"
    "    year         = 2026,\n"
    "    eprint       = {arXiv:2509.21826},\n"
    "}"
)
_GRPO_CITATION = (
    "@article{shao2024deepseekmath,\n"
    "    title        = {{DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open "
    "Language Models}},\n"
    "    author       = {Zhihong Shao and others},\n"
    "    year         = 2024,\n"
    "    eprint       = {arXiv:2402.03300},\n"
    "}"
)
_REST = frozenset({"rest", "official"})
"""Schemes of the paper."""
_OF_THE_PAPER = _REST | {"tsft", "rsft"}
"""The same with its supervised baselines."""
_PACKAGES = ("toolrest", "trl", "transformers", "torch", "peft")
_SUPERVISED = {
    "sft": "supervised learning on demonstrations (`sft`)",
    "tsft": "supervised learning with the loss of calls scaled (`tsft`)",
    "rsft": "supervised learning with the loss of the reasoning scaled (`rsft`)",
}
_TICKS = re.compile(r"`+")
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|])")


@dataclass(frozen=True)
class Prompting:
    """How to prompt the policy."""

    words: str
    """Which wording it was trained with."""
    code: str
    """Python that prompts it by transformers and prints the reply."""
    ends: str
    """The tokens that end a reply."""
    template: str | None
    """The chat template; None where it is in several."""


@dataclass(frozen=True)
class Results:
    """What is measured of the policy."""

    words: str
    """On what, or that nothing is."""
    rows: Sequence[Sequence[str]] = ()
    """(label, value of each column)."""
    columns: Sequence[str] = ()
    """What the values are."""
    lines: Sequence[str] = ()
    """Results of benchmarks, one each."""


@dataclass(frozen=True)
class ModelCard:
    """The facts of a card. Texts are Markdown, written by us; what others wrote goes through
    `plain` or `code`.
    """

    name: str
    kind: str
    base: str
    method: str
    steps: str
    settings: str
    results: Results
    data: Sequence[str]
    citations: Sequence[str]
    versions: str
    dialect: str | None = None
    prompt: Prompting | None = None
    base_on_hub: str | None = None
    licence: str | None = None
    datasets: Sequence[str] = ()
    tags: Sequence[str] = field(default_factory=lambda: ("toolrest", "tool-use"))
    library: str = "transformers"


def render_card(card: ModelCard) -> str:
    """The card as Markdown with the hub's front matter."""
    return _cards().get_template("model_card.md.jinja").render(card=card)


@cache
def _cards() -> Environment:
    cards = Environment(
        loader=PackageLoader("toolrest.runs"),
        autoescape=False,  # noqa: S701 - Markdown, whose own marks `plain` escapes
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    cards.filters |= {"fenced": fenced, "plain": plain, "json": _json}
    return cards


def fenced(text: str, language: str) -> str:
    """A block of code, with a fence that no line of it closes."""
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def plain(text: str) -> str:
    """Text of others that no Markdown is read in, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text of others as a word of code."""
    bare = " ".join(text.split())
    ticks = "`" * (1 + max((len(run) for run in _TICKS.findall(bare)), default=0))
    space = " " if bare.startswith("`") or bare.endswith("`") else ""
    return f"{ticks}{space}{bare}{space}{ticks}"


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def is_rest(scheme: str) -> bool:
    """Whether a scheme, or a product of several, has ResT's weights in it."""
    return not _REST.isdisjoint(scheme.split("*"))


def method_words(scheme: str) -> str:
    """How a policy was trained by reinforcement learning with the scheme's token weights."""
    paper = f"[{PAPER_TITLE}](https://arxiv.org/abs/{PAPER_ID})"
    if is_rest(scheme):
        return (
            f"trained with ResT ({paper}), GRPO whose token weights follow the entropy of a "
            f"reply's regions; scheme {code(scheme)}"
        )
    grpo = "[GRPO](https://arxiv.org/abs/2402.03300)"
    if scheme == "uniform":
        return f"trained with {grpo}, all tokens weighted alike; scheme `uniform`"
    return f"trained with {grpo} and token weights by the scheme {code(scheme)} of toolrest"


def supervised_words(method: str, steps: int) -> str:
    """How a policy was taught demonstrations."""
    return f"{steps} steps of {_SUPERVISED[method]}"


def citations_of(method: str) -> tuple[str, ...]:
    """BibTeX of what a scheme or a supervised method is from."""
    if not _OF_THE_PAPER.isdisjoint(method.split("*")):
        return (PAPER_CITATION,)
    return () if method == "sft" else (_GRPO_CITATION,)


def versions_words(versions: Mapping[str, str | None] | None = None) -> str:
    """The packages that made the policy.

    Args:
        versions: those a run has recorded; None: those installed here.
    """
    if versions is None:
        versions = {name: _version(name) for name in _PACKAGES}
    known = [f"{name} {versions[name]}" for name in _PACKAGES if versions.get(name)]
    return ", ".join(map(plain, known)) or "not recorded"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""BFCL's categories by release, and the means that its leaderboard takes over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolrest.errors import InputError, unknown_name

_LIVE = (
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
    *("live_irrelevance", "live_relevance"),
)
_MULTI_TURN = (
    *("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param"),
    "multi_turn_long_context",
)
_SIMPLE = {
    "v3": ("simple", "java", "javascript"),
    "v4": ("simple_python", "simple_java", "simple_javascript"),
}


def categories(release: str) -> tuple[str, ...]:
    """All single-turn and multi-turn categories of a release, `v3` or `v4`."""
    return (
        *_SIMPLE[release],
        *("multiple", "parallel", "parallel_multiple", "irrelevance"),
        *_LIVE,
        *_MULTI_TURN,
    )


def _groups(release: str) -> dict[str, tuple[str, ...]]:
    every = categories(release)
    non_live = tuple(c for c in every if c not in _LIVE and c not in _MULTI_TURN)
    return {
        "all": every,
        "non_live": non_live,
        "live": _LIVE,
        "single_turn": non_live + _LIVE,
        "multi_turn": _MULTI_TURN,
    }


def choose(wanted: Sequence[str], release: str) -> list[str]:
    """The categories of names and groups, in the benchmark's order.

    Raises:
        InputError: an unknown name.
    """
    groups, every = _groups(release), categories(release)
    chosen: set[str] = set()
    for name in wanted or ["all"]:
        if name not in groups and name not in every:
            _refuse_renamed(name, release)
            raise InputError(unknown_name(f"category of BFCL {release}", name, [*groups, *every]))
        chosen.update(groups.get(name, (name,)))
    return [name for name in every if name in chosen]


def _refuse_renamed(name: str, release: str) -> None:
    """Of another release's name for a category, this one's."""
    for other, names in _SIMPLE.items():
        if name in names:
            here = _SIMPLE[release][names.index(name)]
            raise InputError(
                f"category {name!r} is one of BFCL {other}; BFCL {release} calls it {here!r} "
                f"(all of its kind: {','.join(_SIMPLE[release])})"
            )


@dataclass(frozen=True)
class Mean:
    """An official mean: over parts, each a category or another mean, with weights."""

    name: str
    """As the leaderboard calls it."""
    parts: tuple[str, ...]
    """Names of categories or of means that stand before it."""
    by_count: bool = False
    """Weighted by items, else each part alike."""


def means(release: str) -> tuple[Mean, ...]:
    """The official means of a release.

    v4's overall also weighs agentic categories, which are not run here; it is left out.
    """
    simple = Mean("simple", _SIMPLE[release])
    if release == "v3":
        simple = Mean("simple_mean", _SIMPLE[release])
    parts = (simple.name, "multiple", "parallel", "parallel_multiple")
    multi_turn = Mean("multi_turn", _MULTI_TURN)
    if release == "v3":
        return (
            simple,
            Mean("non_live", (*parts, "irrelevance")),
            Mean("live", _LIVE, by_count=True),
            multi_turn,
            Mean("overall", ("non_live", "live", "multi_turn")),
        )
    return (
        simple,
        Mean("non_live", parts),
        Mean("live", _LIVE[:4], by_count=True),
        Mean("irrelevance_mean", ("irrelevance", "live_irrelevance")),
        multi_turn,
    )


def official_means(
    release: str, accuracy: Mapping[str, float], count: Mapping[str, int]
) -> dict[str, float]:
    """The official means for which every part was evaluated.

    Args:
        accuracy: of each category that was run whole.
        count: its items.
    """
    known, sizes = dict(accuracy), dict(count)
    found: dict[str, float] = {}
    for mean in means(release):
        if not all(part in known for part in mean.parts):
            continue
        weights = [sizes[part] if mean.by_count else 1 for part in mean.parts]
        pairs = zip(mean.parts, weights, strict=True)
        found[mean.name] = sum(known[part] * w for part, w in pairs) / sum(weights)
        known[mean.name] = found[mean.name]
        sizes[mean.name] = sum(sizes[part] for part in mean.parts)
    return found

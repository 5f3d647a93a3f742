"""Methods to compare: named overrides of a recipe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from toolrest.errors import InputError, unknown_name
from toolrest.recipe import Recipe, override, parse_recipe, value_of
from toolrest.recipe.paths import PATHS, whole_path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""A method's name is part of the names of its runs' folders."""


@dataclass(frozen=True)
class Method:
    """One way to train, as overrides of a recipe."""

    name: str
    """Its name in tables and of its runs' folders."""
    overrides: tuple[str, ...]
    """`key=value`, as on the command line of `toolrest train`."""
    about: str = field(default="", compare=False)
    """What it is, in a line."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"method {self.name!r}: a name is letters, digits, '.', '_' and '-', and begins "
                "with a letter or a digit"
            )


def _preset(name: str, about: str, *overrides: str) -> tuple[str, Method]:
    return name, Method(name, overrides, about)


_UNIFORM = "weighting.scheme=uniform"
_REST = "weighting.scheme=rest"
_SPANS = "advantage.credit=spans"
_FORKS = ("rollout.branches=2", "advantage.credit=forks")
_ACTIONS = (
    "weighting.scheme=actfocus",
    "weighting.options.reasoning=0",
    "weighting.options.energy=0",
)

PRESETS: dict[str, Method] = dict(
    (
        _preset("grpo", "GRPO: every token weighs 1", _UNIFORM),
        _preset(
            "dr_grpo",
            "Dr. GRPO: no division by lengths and deviations",
            _UNIFORM,
            "optimizer.loss=dr_grpo",
            "advantage.scale=none",
        ),
        _preset(
            "dapo",
            "DAPO: a mean over the batch's tokens, clip-higher",
            _UNIFORM,
            "optimizer.loss=dapo",
            "optimizer.clip_epsilon_high=0.28",
        ),
        _preset(
            "cispo",
            "CISPO: clipped importance weights",
            _UNIFORM,
            "optimizer.loss=cispo",
            "optimizer.clip_epsilon_high=5.0",
        ),
        _preset(
            "rest", "ResT, entropies followed online", _REST, "weighting.entropy_source=online"
        ),
        _preset(
            "rest_static",
            "ResT, entropies of the first rollouts",
            _REST,
            "weighting.entropy_source=static",
        ),
        _preset(
            "rest_exact",
            "ResT, entropies of the current rollouts",
            _REST,
            "weighting.entropy_source=exact",
        ),
        _preset(
            "rest_inverse_entropy",
            "ResT, weights by 1/H",
            _REST,
            "weighting.options.rule=inverse_entropy",
        ),
        _preset(
            "rest_collision",
            "ResT, weights by 1/(1 - sum p^2)",
            _REST,
            "weighting.options.rule=collision",
        ),
        _preset(
            "rest_no_curriculum",
            "ablation: constant weights",
            _REST,
            "weighting.options.curriculum=false",
        ),
        _preset(
            "rest_no_reasoning",
            "ablation: no gradient for reasoning",
            _REST,
            "weighting.options.reasoning_gradient=false",
        ),
        _preset(
            "rest_constant_reward",
            "ablation: no reward schedule",
            _REST,
            "reward.schedule=constant",
        ),
        _preset("rest_kl", "ablation: a KL term of 0.003", _REST, "optimizer.beta=0.003"),
        _preset(
            "official",
            "the released code's constants and reward schedule",
            "weighting.scheme=official",
            "reward.schedule=official",
            "reward.punish_over_calls=false",
        ),
        _preset("stare", "STARE", "weighting.scheme=stare"),
        _preset(
            "top_entropy", "top 20 % by entropy in the reasoning", "weighting.scheme=top_entropy"
        ),
        _preset("gtpo", "GTPO", "weighting.scheme=gtpo"),
        _preset("actfocus", "ActFocus", "weighting.scheme=actfocus"),
        _preset(
            "contrast",
            "more for tokens that good and bad responses do not share",
            "weighting.scheme=contrast",
        ),
        _preset(
            "least_variance",
            "the embedded policy's weights of least variance",
            "weighting.scheme=regional",
            "weighting.options.format=2.5",
            "weighting.options.name=0.9",
            "weighting.options.parameters=0.3",
            "weighting.options.reasoning=0.5",
            "weighting.options.response=0.2",
            "weighting.options.other=0.2",
        ),
        _preset(
            "signal",
            "region weights by signal and noise, measured on the way",
            "weighting.scheme=signal",
        ),
        _preset(
            "trust",
            "GRPO with a clipping range for each region by its entropy",
            _UNIFORM,
            "optimizer.clip_by=region_entropy",
        ),
        _preset(
            "llds",
            "LLDS: GRPO with a loss for likelihood that good responses lose",
            _UNIFORM,
            "optimizer.llds=0.2",
        ),
        _preset(
            "tool_n1",
            "Tool-N1: GRPO with 1 for a right format and right calls, else 0",
            _UNIFORM,
            "reward.schedule=binary",
            "reward.correctness=exact",
        ),
        _preset("actions", "GRPO on the action alone: reasoning weighs 0", *_ACTIONS),
        _preset("rest_stare", "ResT times STARE", "weighting.scheme=rest*stare"),
        _preset("spans", "credit by spans, every token weighs 1", _UNIFORM, _SPANS),
        _preset("spans_rest", "credit by spans with ResT's weights", _REST, _SPANS),
        _preset("spans_actions", "credit by spans on the action alone", *_ACTIONS, _SPANS),
        _preset(
            "steps",
            "with an environment: single steps of its dialogues, the paper's way",
            "environment.train=steps",
            "advantage.credit=response",
        ),
        _preset(
            "trajectories",
            "with an environment: whole episodes",
            "environment.train=trajectories",
            "advantage.credit=response",
        ),
        _preset(
            "turns",
            "with an environment: whole episodes, credit by turns",
            "environment.train=trajectories",
            "advantage.credit=turns",
        ),
        _preset(
            "branch",
            "groups that branch where a name or a value begins, credited by forks",
            _UNIFORM,
            *_FORKS,
        ),
        _preset("branch_rest", "the same with ResT's weights", _REST, *_FORKS),
        _preset("sft_grpo", "supervised warm start, then GRPO", _UNIFORM, "warm_start.method=sft"),
        _preset("sft_rest", "supervised warm start, then ResT", _REST, "warm_start.method=sft"),
    )
)


def read_methods(written: str) -> list[Method]:
    """Methods from `grpo,rest,mine:optimizer.loss=dapo+weighting.scheme=rest`.

    A preset's name, or NAME:KEY=VALUE+KEY=VALUE; where NAME is a preset's, the overrides are added
    to its own and the text is the name, as in `rest:optimizer.learning_rate=1e-4`. Paths that exist
    become absolute, as the runs start in another folder.

    Raises:
        InputError: an unknown preset, a name that is no folder's, a method twice, or none.
    """
    found: dict[str, Method] = {}
    for part in filter(None, (part.strip() for part in written.split(","))):
        name, colon, more = part.partition(":")
        if colon:
            base = PRESETS.get(name)
            label = _folder_name(part) if base else name
            added = tuple(map(_absolute, filter(None, more.split("+"))))
            method = Method(label, (*(base.overrides if base else ()), *added))
        elif name in PRESETS:
            method = PRESETS[name]
        else:
            raise InputError(unknown_name("method", name, PRESETS))
        if method.name in found:
            raise InputError(f"method {method.name}: given twice")
        found[method.name] = method
    if not found:
        raise InputError("no methods; name some, as in --methods grpo,rest")
    return list(found.values())


def _absolute(written: str) -> str:
    key, _, value = written.partition("=")
    return f"{key}={whole_path(key, value)}" if key in PATHS else written


def _folder_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in text)


def apply_method(recipe: Recipe, method: Method) -> Recipe:
    """The recipe of a method.

    Options of the recipe's own weighting scheme do not reach a method of another scheme.

    Raises:
        InputError: an override that does not fit, with the method's name.
    """
    values = recipe.model_dump(mode="json")
    changed: dict[str, object] = {}
    for text in method.overrides:
        override(changed, text)
    weighting = changed.get("weighting")
    if isinstance(weighting, dict) and weighting.get("scheme") not in (
        None,
        recipe.weighting.scheme,
    ):
        values["weighting"]["options"] = {}
    for text in method.overrides:
        override(values, text)
    return parse_recipe(values, f"method {method.name}")


_OF_EPISODES = (
    *("environment.rows", "environment.max_turns", "environment.max_result_tokens"),
    *("environment.max_trajectory_tokens", "rollout.max_response_tokens"),
)
"""Keys that held-out episodes follow from, beside the environment itself."""


def check_measured_alike(recipe: Recipe, methods: Sequence[Method]) -> None:
    """Check that all methods are evaluated on the same rows, and in one environment, or all without
    any.

    Raises:
        InputError: one is evaluated on others, or in another than the rest.
    """
    wanted = recipe.environment.source
    for method in methods:
        made = apply_method(recipe, method)
        if made.evaluation.path != recipe.evaluation.path:
            raise InputError(
                f"method {method.name}: it is evaluated on other rows than the comparison "
                "(evaluation.path); give them to all of them, outside --methods"
            )
        source = made.environment.source
        if source != wanted:
            raise InputError(
                f"method {method.name}: it is evaluated with environment.source="
                f"{source or 'null'} and the comparison with {wanted or 'null'}, so that their "
                "held-out figures cannot be compared; give environment.source to all of them, "
                "outside --methods (environment.train=steps trains on single steps and is "
                "evaluated in episodes all the same)"
            )


def measured_otherwise(recipe: Recipe, methods: Sequence[Method], baseline: str) -> list[str]:
    """What of the held-out episodes of methods is not as the baseline's, a line a method."""
    if recipe.environment.source is None:
        return []
    recipes = {method.name: apply_method(recipe, method) for method in methods}
    base, lines = recipes.get(baseline, recipe), []
    for name, made in recipes.items():
        apart = [
            f"{key}={value_of(made, key)}, and {baseline} with {value_of(base, key)}"
            for key in _OF_EPISODES
            if value_of(made, key) != value_of(base, key)
        ]
        if apart:
            lines.append(f"{name} is trained and measured with {'; '.join(apart)}")
    return lines


def check_methods(
    recipe: Recipe, methods: Sequence[Method], *, stability: bool = False
) -> dict[str, Recipe]:
    """Every method's recipe by name, with its scheme's options checked.

    Args:
        stability: whether runs may end where they collapse.

    Raises:
        InputError: one that does not fit, or would not be trained for the same steps as the others.
    """
    from toolrest.core.weights import get_scheme

    recipes = {method.name: apply_method(recipe, method) for method in methods}
    for made in recipes.values():
        if made.evaluation.patience is not None:
            raise InputError(
                f"evaluation.patience={made.evaluation.patience}: all runs of a comparison are "
                "trained for the same steps; leave it out"
            )
        if made.collapse.end and not stability:
            raise InputError(
                "collapse.end=true: all runs of a comparison are trained for the same steps; leave "
                "it out, or compare with --stability"
            )
        get_scheme(made.weighting.scheme, **made.weighting.options)
    return recipes

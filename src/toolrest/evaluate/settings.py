"""All that the answers of an evaluation depend on, from its options and the policy."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from toolrest.core.dialects import AUTO, detect_dialect, get_dialect
from toolrest.data.wording import style_names
from toolrest.errors import InputError, check_name
from toolrest.evaluate import apibank, world
from toolrest.evaluate.answer_limit import answer_limit
from toolrest.evaluate.answers import KEYED
from toolrest.evaluate.backends.served import served_model
from toolrest.evaluate.bfcl.official import OfficialBFCL
from toolrest.evaluate.options import Options
from toolrest.evaluate.precision import chosen_dtype
from toolrest.evaluate.target import Target
from toolrest.io.files import sha256_of
from toolrest.io.redaction import redacted
from toolrest.policy.fitting import usual_style
from toolrest.policy.weights import load_config
from toolrest.policy.wording import Wording
from toolrest.recipe import Recipe
from toolrest.runs.origins import UNKNOWN, policy_fingerprint
from toolrest.runs.reproducibility import device

EVALUATIONS = Path("evaluations")
"""Folder for evaluations of policies that are of no run."""


def with_template_options(target: Target, options: Options) -> Target:
    """The target with the command's template options added to its recipe."""
    if not options.template_options:
        return target
    data = target.recipe.data
    told = {**data.template_options, **options.template_options}
    data = data.model_copy(update={"template_options": told})
    return replace(target, recipe=target.recipe.model_copy(update={"data": data}))


def dialect_and_style(target: Target, options: Options) -> tuple[str, str]:
    """(dialect, prompt style): the command's, else as in training, else as the chat template shows.

    Raises:
        InputError: an unknown name, a template that shows no dialect, or a dialect other than rlla
            on the embedded world.
    """
    tokenizer: Any = None
    template: str | None = None
    if options.backend != "openai" or options.api == "completions":
        tokenizer = prompt_tokenizer(target, options)
        found = tokenizer.chat_template
        template = found if isinstance(found, str) else None
    trained = trained_wording(target, options)
    named = options.dialect or (None if trained is None else trained.dialect)
    named = None if named == AUTO else named
    if named is None and options.benchmark == "world":
        named = "rlla"
    if named is None:
        try:
            named = detect_dialect(template)
        except InputError as error:
            raise InputError(f"{error} (--dialect)") from error
    get_dialect(named)
    if options.benchmark == "world" and named != "rlla":
        whose = f"--dialect {named}" if options.dialect else f"the run's dialect is {named}"
        raise InputError(
            f"{whose}: the world's prompts ask for the dialect rlla; take --on bfcl or --on apibank"
        )
    style = options.prompt
    if style is None and trained is not None and trained.dialect == named:
        style = trained.asked
    if style is None and tokenizer is not None:
        style = usual_style(get_dialect(named), tokenizer)[0]
    elif style is None:  # a server's template is not seen from here
        style = "rlla" if named == "rlla" else "template"
    check_name("prompt", style, style_names())
    return named, style


def trained_wording(target: Target, options: Options) -> Wording | None:
    """How prompts were worded in training; None where that is not known, as of a server's policy.

    Raises:
        InputError: what the policy's folder says cannot be read.
    """
    return None if options.backend == "openai" else target.wording()


def asks_for_thought(target: Target, options: Options, style: str) -> bool:
    """Whether the plain prompt asks for a thought: as the command says, else as in training.

    Raises:
        InputError: the command says so of another style than plain.
    """
    if options.think is None:
        trained = trained_wording(target, options)
        return style == "plain" and trained is not None and trained.think
    if style != "plain":
        raise InputError(
            f"--think, --no-think: prompts in the wording {style} ask for a thought in their own "
            "way; leave it out, or use --prompt plain"
        )
    return options.think


def prompt_tokenizer(target: Target, options: Options) -> Any:
    """The tokenizer that writes the prompts: `--tokenizer`'s, else the policy's own."""
    from toolrest.policy.tokenizer import load_tokenizer

    recipe = target.recipe
    if options.tokenizer is not None:
        recipe = recipe.model_copy(update={"policy": options.tokenizer})
    return load_tokenizer(recipe)


def answer_settings(
    target: Target,
    options: Options,
    dialect: str,
    style: str,
    official: OfficialBFCL | None,
    weights: str | None = None,
) -> dict[str, Any]:
    """The content of settings.json: all that an answer depends on, not which items are asked.

    Args:
        weights: what is known of the policy's bytes; None: their fingerprint.
    """
    settings: dict[str, Any] = {
        "policy": target.recipe.policy,
        "benchmark": options.benchmark,
        "version": None if official is None else f"{official.release} ({official.version})",
        "dialect": dialect,
        "prompt": "as it is" if options.benchmark == "world" else style,
        "backend": options.backend,
        "decoding": "greedy",
        **KEYED,
        "data": _data(target, options, official),
    }
    if official is not None:
        settings["checker"] = official.checker
    if target.recipe.data.template_options:
        settings["template_options"] = target.recipe.data.template_options
    if options.backend == "openai":
        settings |= {"base_url": redacted(options.base_url or ""), "api": options.api}
        if options.tokenizer is not None:
            settings["tokenizer"] = policy_fingerprint(Recipe(policy=options.tokenizer))
        served = served_model(options.base_url or "", target.recipe.policy, options.api_key)
        settings["served"] = UNKNOWN if served is None else served
        settings |= dict.fromkeys(("dtype", "device"), UNKNOWN)
        if options.tokenizer is None:
            settings["chat_template"] = UNKNOWN
    else:
        settings["weights"] = weights or policy_fingerprint(target.recipe)
        if options.backend == "hf":
            # A batch is padded to its longest prompt, which changes sums by rounding.
            settings["batch_size"] = options.batch_size
        settings["dtype"] = chosen_dtype(options.dtype)
        settings["device"] = device()
        settings["max_prompt_tokens"] = options.max_prompt_tokens
    return settings


def _data(target: Target, options: Options, official: OfficialBFCL | None) -> Any:
    """Hashes of the benchmark's questions and right answers, over all its categories."""
    if official is not None:
        return official.data
    if options.benchmark == "apibank":
        assert options.data is not None
        files = {name: options.data / file for name, file in apibank.LEVELS.items()}
        try:
            return {name: sha256_of(path) for name, path in files.items() if path.is_file()}
        except OSError as error:
            raise InputError(f"--data {options.data}: cannot be read ({error})") from error
    return world.data_hash(target.recipe.data.world.knobs)


def limit_of_answer(target: Target, options: Options) -> tuple[int, str]:
    """(most new tokens of an answer, where the number is from); see `answer_limit`."""
    here = options.backend != "openai"
    return answer_limit(
        options.max_tokens,
        options.benchmark,
        target,
        positions_of(target.recipe) if here else None,
        partial(prompt_tokenizer, target, options) if here or options.tokenizer else None,
    )


def positions_of(recipe: Recipe) -> int | None:
    """Tokens of the longest sequence that the policy takes; None where its configuration says none.

    Raises:
        InputError: the configuration cannot be loaded.
    """
    positions = getattr(load_config(recipe), "max_position_embeddings", None)
    return positions if isinstance(positions, int) else None


def evaluation_folder(target: Target, options: Options, settings: dict[str, Any]) -> Path:
    """The evaluation's folder, named by a hash of its settings: in the run's, or `EVALUATIONS`."""
    text = json.dumps(settings, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"{options.benchmark}-{key}"
    if target.run is not None:
        target.run.check_links(target.run.evaluation)
        return target.run.evaluation / f"{Path(target.recipe.policy).name}-{name}"
    return EVALUATIONS / target.label / name

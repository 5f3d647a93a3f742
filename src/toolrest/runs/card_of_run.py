"""The model card of a run's policy, from the run's recipe and hashes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from toolrest.io.files import read_text
from toolrest.io.foreign import user_path
from toolrest.io.plain_yaml import plain_values
from toolrest.policy.folder import policy_path
from toolrest.recipe import EMBEDDED, Recipe
from toolrest.runs.example_prompt import example_prompt, prompting, with_own_code
from toolrest.runs.model_card import (
    CARD,
    ModelCard,
    Results,
    citations_of,
    code,
    method_words,
    plain,
    supervised_words,
    versions_words,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from toolrest.policy.speech import Speech

_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WEIGHTS = ".safetensors"
_HEX = 16
"""Letters of a hash that are shown."""
_SECONDS = 10.0


def run_card(  # noqa: PLR0913 -- the facts of a card, each by its name
    recipe: Recipe,
    origins: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
    speech: Speech,
    *,
    name: str,
    steps: str,
    folder: str,
    results: Results,
    rows: Mapping[str, Any] | None = None,
    licence: str | None = None,
    versions: Mapping[str, str | None] | None = None,
    adapter: bool = False,
    own_code: bool = False,
) -> ModelCard:
    """The card of a policy of a run.

    Args:
        recipe: the run's resolved one.
        origins: the run's hashes; see `toolrest.runs.origins.origins`.
        speech: how it ends its replies.
        name: of the policy, for the title.
        steps: how far it was trained.
        folder: what the card's code loads; see `prompting`.
        rows: counts of the run's data.json.
        licence: the base model's, where it is known.
        versions: of the packages that trained it; None: those here.
        adapter: whether the folder holds adapters alone, which peft loads.
        own_code: whether loading the policy needs code that comes with it.
    """
    rl = recipe.method == "rl"
    warm = recipe.warm_start
    taught = warm.method if rl else recipe.method
    said = "" if taught == "none" else supervised_words(taught, warm.steps)
    method = method_words(recipe.weighting.scheme)
    if not rl:
        method = said
    elif said:
        method = f"{said}, then {method}"
    if recipe.lora.rank:
        kept = "alone in this folder: their base is loaded beside them" if adapter else "merged"
        method += f"; low-rank adapters of rank {recipe.lora.rank}, {kept}"
    prompt, words = example_prompt(recipe)
    limit = recipe.rollout.max_response_tokens
    tags = ["toolrest", "tool-use", *(["reinforcement-learning"] if rl else ["sft"])]
    how = prompting(prompt, words, limit, tokenizer, speech, folder)
    if own_code:
        tags.append("custom_code")
        how = with_own_code(how)
    return ModelCard(
        name=name,
        kind=f"in the dialect `{recipe.dialect}`",
        base=_base(recipe, origins),
        method=method,
        steps=steps,
        settings=settings_text(recipe.model_dump(mode="json")),
        results=results,
        data=_data(recipe, origins, rows or {}),
        citations=citations_of(recipe.weighting.scheme if rl else taught),
        versions=versions_words(versions),
        dialect=recipe.dialect,
        prompt=how,
        base_on_hub=_hub_name(recipe),
        licence=licence,
        datasets=[
            source.path
            for source in recipe.sources
            if _HUB.fullmatch(source.path) and not Path(source.path).exists()
        ],
        tags=tags,
        library="peft" if adapter else "transformers",
    )


def settings_text(values: dict[str, Any]) -> str:
    """A recipe as YAML in which paths are names of files: a card tells nothing of the machine."""
    return yaml.safe_dump(_named(values), sort_keys=False)


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_named(each) for each in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def base_licence(recipe: Recipe) -> str | None:
    """The licence of the policy that was trained, by its own card; None where that is not known.
    Of a policy on the hub the hub is asked.
    """
    if recipe.policy != EMBEDDED and not Path(name := policy_path(recipe)).is_dir():
        return _licence_on_hub(name)
    return kept_licence(recipe)


def kept_licence(recipe: Recipe) -> str | None:
    """As `base_licence`, but nobody is asked. The embedded policy has the package's licence."""
    if recipe.policy == EMBEDDED:
        return "apache-2.0"
    try:
        _, front, _ = read_text(Path(policy_path(recipe)) / CARD).split("---\n", 2)
        found = plain_values(front, CARD)
    except (OSError, ValueError):  # no card, none with a head, or one that is no YAML
        return None
    known = found.get("license") if isinstance(found, dict) else None
    return known if isinstance(known, str) else None


def _licence_on_hub(name: str) -> str | None:
    from huggingface_hub import HfApi

    try:
        found = HfApi().model_info(name, timeout=_SECONDS).card_data
    except Exception:  # the hub's and its transport's errors have no common class
        return None
    known = None if found is None else found.get("license")
    return known if isinstance(known, str) else None


def _hub_name(recipe: Recipe) -> str | None:
    local = recipe.policy == EMBEDDED or user_path(recipe.policy, "policy").is_dir()
    return None if local or not _HUB.fullmatch(recipe.policy) else recipe.policy


def _base(recipe: Recipe, origins: Mapping[str, str]) -> str:
    start = f"policy {recipe.policy}: "
    parts = {
        key.removeprefix(start): each for key, each in origins.items() if key.startswith(start)
    }
    if recipe.policy == EMBEDDED:
        said = "the policy embedded in toolrest, of 0.9 M parameters"
    elif _hub_name(recipe) is not None:
        said = f"[{plain(recipe.policy)}](https://huggingface.co/{recipe.policy})"
    else:
        said = f"a checkpoint in a folder, {code(Path(recipe.policy).name)}"
    if "commit" in parts:
        return f"{said}, commit {code(parts['commit'])}"
    weights = [
        f"{code(file)} {code(value[:_HEX])}"
        for file, value in parts.items()
        if file.endswith(_WEIGHTS)
    ]
    return f"{said}; sha256 of {', '.join(weights)}" if weights else said


def _knobs(recipe: Recipe) -> str:
    """What the tasks of the embedded world are like; nothing where they are the usual ones."""
    knobs = recipe.data.world.knobs
    if knobs is None:
        return ""
    return (
        f" whose thought decides (decided_in_thought={knobs.decided_in_thought:g}, "
        f"idle_sentences={knobs.idle_sentences})"
    )


def _data(recipe: Recipe, origins: Mapping[str, str], rows: Mapping[str, Any]) -> list[str]:
    lines = []
    source = recipe.environment.source
    if source is not None:
        name = source if "://" in source else Path(source).name
        what = "Episodes" if recipe.acts else "Single steps of dialogues, evaluated in episodes"
        lines.append(f"{what} of the environment {code(name)}, seed {recipe.seed}")
    elif recipe.data.path is None and not recipe.data.sources:
        lines.append(f"The embedded world's procedural tasks{_knobs(recipe)}, seed {recipe.seed}")
    for key, value in origins.items():
        if key.startswith("data "):
            path = key.removeprefix("data ")
            shown = Path(path).name if path.startswith("/") else path
            kind = "commit" if _HUB.fullmatch(path) and not Path(path).exists() else "sha256"
            lines.append(f"{code(shown)}, {kind} {code(value)}")
    if "the rows" in origins:
        lines.append(f"The rows as they were read and worded: sha256 {code(origins['the rows'])}")
    train, heldout = rows.get("train"), rows.get("heldout")
    if isinstance(train, int) and isinstance(heldout, int):
        path = recipe.evaluation.path
        of = "" if path is None else f", the rows of {code(Path(path).name)}"
        lines.append(f"{train} rows to train on, {heldout} held out{of}")
    return lines or ["Not recorded"]

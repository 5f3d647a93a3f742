"""Loads what `toolrest inspect` shows: a response, its tokenizer, its run's settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from toolrest.core.dialects import AUTO, get_dialect
from toolrest.core.dialects.types import declared
from toolrest.core.regions import Region
from toolrest.core.rewards.truth import read_tools
from toolrest.core.weights import RegionEntropy, get_scheme
from toolrest.engines.common.recipe_reward import recipe_reward
from toolrest.errors import InputError, short_list, unknown_name
from toolrest.io.files import read_text, split_lines
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.folder import kept_recipe
from toolrest.policy.speech import Speech, read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_generation_config, load_policy
from toolrest.recipe import Recipe, load_run_recipe
from toolrest.report.conversation import Conversation, read_conversation
from toolrest.report.inspection import (
    Inspection,
    Response,
    inspect_recorded,
    inspect_response,
)
from toolrest.report.origin import Place, facts_of
from toolrest.report.rollouts_of import logged_steps, rollouts_of
from toolrest.runs.folder import RunFolder, steps_before
from toolrest.runs.missing import no_run
from toolrest.runs.origins import changed_files, read_origins

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MOST_ID = 1 << 31


@dataclass(frozen=True)
class Subject:
    """The options of `toolrest inspect`."""

    source: Path | None = None
    text: str | None = None
    step: int | None = None
    row: int = 0
    policy: str | None = None
    prompt: Path | None = None
    truth: str | None = None
    dialect: str | None = None
    scheme: str | None = None
    entropy: tuple[str, ...] = ()
    progress: float | None = None
    trust_remote_code: bool = False


_OF_RESPONSES = ("truth", "dialect", "scheme", "entropy", "progress", "prompt", "policy")
"""Options by which a single response is read anew."""


def look(subject: Subject) -> Inspection | Conversation:
    """The inspection of a subject, or the conversation where it is an episode.

    Raises:
        InputError: there is no such response, or options that do not fit.
    """
    if (subject.source is None) == (subject.text is None):
        raise InputError("name a run, a rollouts file or a file with a response, or give --text")
    run = None if subject.source is None else _run_of(subject.source)
    trust_remote_code = subject.trust_remote_code
    recipe = Recipe(trust_remote_code=trust_remote_code)
    if run is not None:
        recipe = load_run_recipe(run.recipe, [], trusted=trust_remote_code)
    record, note = _record(subject, run, recipe.steps_per_generation)
    place = Place(subject.source, subject.row, None if run is None else recipe)
    if "episode" in record:
        return replace(_conversation(subject, record, note), facts=facts_of(record, place))
    recipe = _with(recipe, subject, run)
    facts = facts_of(record, place, recipe.weighting.scheme)
    tokenizer = load_tokenizer(recipe)
    if recipe.dialect == AUTO:
        recipe, _ = fit_recipe(recipe, tokenizer)
    speech = read_speech(tokenizer, get_dialect(recipe.dialect), load_generation_config(recipe))
    scheme = get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    ids = record.get("ids")
    if ids is None:
        ids = tokenizer(record["response"], add_special_tokens=False)["input_ids"]
    if not ids:
        raise InputError("the response is empty")
    entropies = None
    opening, prompt = record.get("opening", ""), record.get("prompt")
    if subject.prompt is not None:
        prompt = _text(subject.prompt)
        opening = speech.dialect.opening(prompt)
        entropies = _measured(recipe, tokenizer, prompt, ids)
    truth = subject.truth or record.get("ground_truth")
    scorer = recipe_reward(recipe, "constant", opening)
    names = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()}
    tools = record.get("tools")
    known = read_tools(tools) if isinstance(tools, str) else declared(tools)
    response = Response(ids, speech, entropies, truth, opening, scorer, names, known)
    told = partial(
        replace,
        trained=None if run is None or subject.truth else _trained(record, recipe),
        cut=record.get("cut") is True or (run is not None and _unended(record, speech)),
        note=note,
        facts=facts,
        prompt=prompt if isinstance(prompt, str) else None,
    )
    asked = (subject.scheme, subject.progress, subject.entropy or None)
    if {"ids", "regions", "weights"} <= record.keys() and all(each is None for each in asked):
        try:
            regions = [Region[name.upper()] for name in record["regions"]]
            return told(inspect_recorded(response, regions, record["weights"]))
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(f"the recorded tokens do not fit together ({error})") from error
    progress = subject.progress
    if progress is None:
        progress = min(1.0, steps_before(record) / max(1, recipe.max_steps))
    region_entropy = _region_entropy(subject, run, record)
    if region_entropy is None and entropies is not None:
        labels, mask = response.label(scheme.scaffolding)
        region_entropy = RegionEntropy.measure(torch.tensor([entropies]), labels, mask)
    if scheme.statistic is not None and region_entropy is None:
        raise InputError(
            f"the scheme {recipe.weighting.scheme} starts from region entropies: give them, as in "
            "--entropy format=0.1 --entropy reasoning=0.8, or a --prompt to measure them"
        )
    try:
        return told(inspect_response(response, scheme, region_entropy, progress))
    except ValueError as error:
        raise InputError(str(error)) from error


def _run_of(source: Path) -> RunFolder | None:
    """The run that a folder is, or that a file of rollouts lies in; None: it is of none."""
    run = RunFolder(source)
    if source.is_file():
        run = RunFolder(source.resolve().parent.parent)
        if source.resolve().parent != run.rollouts:
            return None
    return run if run.recipe.is_file() else None


def _conversation(subject: Subject, record: dict[str, Any], note: str | None) -> Conversation:
    """An episode as it was recorded."""
    for name in _OF_RESPONSES:
        if getattr(subject, name) not in (None, ()):
            raise InputError(
                f"--{name}: row {subject.row} is an episode, which is shown as it was recorded, "
                "with what its environment earned it; leave it out"
            )
    try:
        return replace(read_conversation(record), note=note)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{subject.source}, row {subject.row}: no episode ({error})") from error


def _trained(record: dict[str, Any], recipe: Recipe) -> str | None:
    """The reward that training counted; None where it is by constant ranges too, or not known."""
    reward, schedule = record.get("reward"), recipe.reward.schedule
    total = reward.get("total") if isinstance(reward, dict) else None
    if schedule == "constant" or not isinstance(total, int | float) or isinstance(total, bool):
        return None
    return f"{total:.2f}, by reward.schedule={schedule} at its step"


def _unended(record: dict[str, Any], speech: Speech) -> bool:
    """Whether a run's sampled tokens have no end of the turn."""
    ids = record.get("ids")
    return bool(ids) and speech.vocabulary.end_ids.isdisjoint(ids[-1:])


def _with(recipe: Recipe, subject: Subject, run: RunFolder | None) -> Recipe:
    """The recipe with what the options say."""
    changed: dict[str, Any] = {}
    if subject.policy is not None:
        changed["policy"] = subject.policy
    elif run is not None and (last := run.last_checkpoint()) is not None:
        changed["policy"] = str(last)
    elif run is not None:
        recipe = kept_recipe(recipe, run.recipe)
        if files := changed_files(recipe, read_origins(run.data)):
            raise InputError(
                f"{run.path}: since the run began, {short_list(files)}; put back what was there, "
                "or name the tokenizer by --policy"
            )
    if subject.dialect is not None:
        changed["dialect"] = subject.dialect
    if subject.scheme is not None:
        weighting = {"scheme": subject.scheme, "options": {}}
        changed["weighting"] = recipe.weighting.model_copy(update=weighting)
    return recipe.model_copy(update=changed)


def _record(
    subject: Subject, run: RunFolder | None, each: int
) -> tuple[dict[str, Any], str | None]:
    """(the response with what was written with it, what is to be said of which it is)."""
    if subject.text is not None:
        return {"response": subject.text}, None
    assert subject.source is not None
    path, note = subject.source, None
    if run is not None and not path.is_file():
        path, note = rollouts_of(run, subject.step, each)
    if path.is_dir():
        raise InputError(f"{path}: neither a run nor a file: {no_run(path)}")
    if not path.exists():
        raise InputError(f"{path}: neither a run nor a file: {no_run(path)}")
    if path.suffix != ".jsonl":
        return {"response": _text(path)}, None
    rows = [line for line in split_lines(_text(path)) if line.strip()]
    if not 0 <= subject.row < len(rows):
        raise InputError(f"--row {subject.row}: {path} has {len(rows)} responses")
    try:
        record = json.loads(rows[subject.row])
        _check_record(record)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}, row {subject.row}: not a rollout ({error})") from error
    if "prompt" not in record:
        record |= _prompt_of(rows[: subject.row], record)
    return record, note


def _prompt_of(rows: Sequence[str], record: dict[str, Any]) -> dict[str, Any]:
    """The prompt of a record's group, which its first record has; nothing where none does."""
    for text in reversed(rows):
        try:
            other = json.loads(text)
            if other["identity"] != record["identity"]:
                return {}
            if "prompt" in other:
                return {"prompt": other["prompt"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            return {}
    return {}


def _check_record(record: dict[str, Any]) -> None:
    """Refuse a rollout whose parts are of other kinds.

    Raises:
        TypeError: a part is.
    """
    if not isinstance(record["response"], str):
        raise TypeError("its response is no text")
    record["response"] = record["response"].encode("utf-8", "replace").decode()
    if not isinstance(record.get("ground_truth"), str | None):
        raise TypeError("its ground truth is no text")
    if not isinstance(record.get("opening", ""), str):
        raise TypeError("its opening is no text")
    kinds: dict[str, type | tuple[type, ...]] = {
        "ids": int,
        "regions": str,
        "weights": (int, float),
    }
    for name, kind in kinds.items():
        values = record.get(name, [])
        if not isinstance(values, list) or not all(
            isinstance(value, kind) and not isinstance(value, bool) for value in values
        ):
            raise TypeError(f"its {name} are of another kind")
    if not all(abs(value) < _MOST_ID for value in record.get("ids", [])):
        raise TypeError("its ids are none of a vocabulary")


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _region_entropy(
    subject: Subject, run: RunFolder | None, record: dict[str, Any]
) -> RegionEntropy | None:
    """By the options, else by the run's metrics at that step, a token each."""
    found = _given(subject.entropy)
    if not found and run is not None and run.metrics.is_file():
        for step, metrics in logged_steps(run):
            if step > steps_before(record):
                shares = {r: metrics.get(f"share/{r.name.lower()}", 0.0) for r in Region}
                means = {r: metrics.get(f"entropy/{r.name.lower()}") for r in Region}
                found = {r: (m, shares[r]) for r, m in means.items() if m is not None}
                break
    if not found:
        return None
    total, count = torch.zeros(len(Region)).double(), torch.zeros(len(Region)).double()
    for region, (mean, share) in found.items():
        total[region], count[region] = mean * share, share
    return RegionEntropy(total, count)


def _given(written: tuple[str, ...]) -> dict[Region, tuple[float, float]]:
    names = {region.name.lower(): region for region in Region}
    found = {}
    for text in written:
        name, _, value = text.partition("=")
        if name not in names:
            raise InputError(unknown_name("region", name, names))
        try:
            mean = float(value)
        except ValueError:
            mean = -1.0
        if not 0 <= mean < float("inf"):
            raise InputError(f"--entropy {text}: give nats, as in {name}=0.8")
        found[names[name]] = (mean, 1.0)
    return found


def _measured(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, prompt: str, ids: list[int]
) -> list[float]:
    """The entropies of the policy's distributions over the response, nats."""
    model = load_policy(recipe).eval()
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    if not before:
        raise InputError("the prompt is empty")
    return token_entropies(model, before, ids, recipe.rollout.temperature)


def token_entropies(
    model: PreTrainedModel, before: Sequence[int], ids: Sequence[int], temperature: float
) -> list[float]:
    """The entropies of a policy's distributions over a response, nats.

    Args:
        before: the prompt's tokens, at least one.
        ids: the response's.
    """
    row = torch.tensor([[*before, *ids]], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=row).logits[0, len(before) - 1 : -1].float()
    logps = torch.log_softmax(logits / temperature, dim=-1)
    return [float(each) for each in -(logps.exp() * logps).sum(-1)]

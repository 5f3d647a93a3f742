"""The whole training job: data, evaluation before, training, evaluation after, summary."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from toolrest.core.weights import get_scheme
from toolrest.data.prompts import fit_prompts, hold_out
from toolrest.data.sample import Sample
from toolrest.data.sources import iterate_samples
from toolrest.engines.common.monitor import Watch
from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.errors import InputError, short_list
from toolrest.io.files import append_json, read_json, whole_lines, write_json, write_whole
from toolrest.policy.adapters import has_adapters
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.folder import policy_folder
from toolrest.policy.sizing import count_tokens, is_sized, refuse_memory, say_time, size_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe, dump_recipe
from toolrest.recipe.sources import recipe_rendering, recipe_sources
from toolrest.rollout.sampler import check_vllm
from toolrest.runs.folder import RunFolder, begin_run
from toolrest.runs.origins import accepted_changes, differences, origins, read_origins
from toolrest.runs.reproducibility import record_machine

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WORLD_TRAIN_SAMPLES = 4096


class View(Protocol):
    """Who watches the job."""

    def stage(self, text: str, total: int | None = None) -> None:
        """A new part of the job begins; `total`: how much there is to do in it."""
        ...

    def advance(self, done: int) -> None:
        """So much of the part is done."""
        ...

    def step(self, step: int, metrics: dict[str, Any]) -> None:
        """An optimiser step is done."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know."""
        ...

    def warn(self, text: str) -> None:
        """Something that the user should look at."""
        ...


class Interrupted(Exception):
    """The user asked to stop; what is done is kept."""


@dataclass(frozen=True)
class Samples:
    """The data of a run."""

    train: list[Sample]
    """What the policy is trained on."""
    heldout: list[Sample]
    """What it can be evaluated on; disjoint from the former."""
    dropped: list[tuple[str, int]]
    """(row, prompt tokens) of those whose prompts are too long."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(row, reason) of those that the chat template refuses."""

    @property
    def left_out(self) -> int:
        """Rows that are not used."""
        return len(self.dropped) + len(self.refused)

    @property
    def rows(self) -> int:
        """All of them, those left out included."""
        return len(self.train) + len(self.heldout) + self.left_out


def load_samples(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Samples:
    """The samples of a recipe that fit its policy.

    Raises:
        InputError: the data cannot be used; see `iterate_samples` and `fit_prompts`.
    """
    count = recipe.evaluation.samples
    if recipe.data.path is None and not recipe.data.sources:
        from toolrest.world.demonstrations import demonstrated_samples
        from toolrest.world.tasks import Split, make_samples

        return Samples(
            demonstrated_samples(Split.TRAIN, _WORLD_TRAIN_SAMPLES, recipe.seed),
            make_samples(Split.HELDOUT, count),
            [],
        )
    rows = [
        sample
        for source in recipe_sources(recipe)
        for sample in iterate_samples(source, recipe_rendering(recipe), recipe.seed)
    ]
    fit = fit_prompts(rows, tokenizer, recipe.data.max_prompt_tokens)
    fraction = recipe.data.heldout_fraction if count else 0.0
    train, heldout = hold_out(fit.kept, fraction, recipe.seed)
    if len(train) < recipe.rollout.prompts_per_step:
        raise InputError(
            f"data: {len(train)} rows are left to train on, fewer than "
            f"rollout.prompts_per_step={recipe.rollout.prompts_per_step}; lower it, or raise "
            "data.max_prompt_tokens"
        )
    return Samples(train, heldout, fit.dropped, fit.refused)


def run_training(
    recipe: Recipe,
    run: RunFolder,
    view: View,
    *,
    resume: bool,
    ranks: Ranks = ALONE,
    accept_changed_data: bool = False,
) -> dict[str, Any]:
    """Do the job of a recipe in a run's folder.

    Args:
        resume: go on from the run's last checkpoint.
        accept_changed_data: go on also where data, policy or reward are not what the run began
            with; the run keeps that.
        ranks: the processes that do it together; each of them calls this.

    Returns:
        What summary.json holds.

    Raises:
        InputError: something given cannot be used.
        Interrupted: the user asked to stop.
    """
    started = time.monotonic()
    get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    check_vllm(recipe)
    tokenizer = load_tokenizer(recipe)
    recipe, notes = fit_recipe(recipe, tokenizer)
    recipe, settings = ranks.first(partial(size_recipe, recipe, tokenizer))
    samples = load_samples(recipe, tokenizer)
    origin = ranks.first(
        lambda: check_origins(recipe, tokenizer, samples, run, accept_changed_data)
    )
    for note in (*notes, *map(str, settings)) if ranks.main else ():
        view.note(note)
    if not resume or settings:
        ranks.first(partial(_look_ahead, recipe, samples, tokenizer, view))
    if ranks.main:
        written = dump_recipe(recipe, {each.key: each.why for each in settings})
        begin_run(run, written, recipe.seed)
        if not resume or dump_recipe(recipe, said=True) != dump_recipe(recipe):
            write_whole(run.recipe, written)  # a starter of processes wrote what was said alone
        changed = record_machine(run, recipe.seed, ranks.count)
        if changed:
            view.note(f"the rest may differ from an undisturbed run: {'; '.join(changed)}")
    heldout = samples.heldout[: recipe.evaluation.samples]
    if ranks.main:
        report_data(samples, len(heldout), run, view, origin)
    view.stage("loading the policy and the training engine")
    model = load_policy(recipe)
    from toolrest.engines.trl.launch import train_with_trl

    before = _evaluated(model, tokenizer, heldout, recipe, run, "before", view, ranks)
    if recipe.method != "rl":
        return _supervised(
            model, tokenizer, samples.train, heldout, recipe, run, view, before, ranks, origin
        )
    start = before
    if recipe.warm_start.method != "none":
        model = _warm_started(model, tokenizer, samples.train, recipe, run, view, ranks)
        start = _evaluated(model, tokenizer, heldout, recipe, run, "warm_start", view, ranks)
    elif recipe.lora.rank and has_adapters(policy_folder(recipe)):
        model = _based(model, tokenizer, recipe, run, ranks)
    checkpoint = ranks.first(run.last_checkpoint) if resume else None
    first = int(checkpoint.name.split("-")[1]) if checkpoint else 0
    if resume and ranks.main:
        run.rewind(first)
        view.note(f"going on from step {first} of {recipe.max_steps}")
    watch = Watch(recipe, run, view.warn if ranks.main else lambda text: None)
    if ranks.main:
        watch.dropped(len(samples.dropped), samples.rows)
        watch.changed(first, origin.changed)
    view.stage("training", recipe.max_steps)
    view.advance(first)

    def evaluate(step: int) -> None:
        _evaluate_on_the_way(model, tokenizer, heldout, recipe, run, step, ranks)

    if ranks.main and heldout and recipe.evaluation.every and first == 0:
        _add_to_curve(run, 0, start)
    steps = first
    if checkpoint is None or first < recipe.max_steps:
        steps = train_with_trl(
            recipe,
            run,
            model,
            tokenizer,
            samples.train,
            view.step,
            evaluate,
            checkpoint,
            ranks,
            watch,
        )
    if steps < recipe.max_steps:
        raise Interrupted
    ranks.wait()
    if first == steps or (ranks.count > 1 and recipe.engine.sharding != "ddp"):
        model = load_policy(recipe, run.last_checkpoint())
    after = _evaluated(model, tokenizer, heldout, recipe, run, "after", view, ranks)
    if ranks.main and heldout and recipe.evaluation.every:
        _add_to_curve(run, steps, after)
    summary = {
        "before": before,
        "after": after,
        "steps": steps,
        "seconds": round(time.monotonic() - started, 1),
        "scheme": recipe.weighting.scheme,
        "seed": recipe.seed,
    } | origin.summary
    if ranks.main:
        write_json(run.summary, summary)
    return summary


def _look_ahead(
    recipe: Recipe, samples: Samples, tokenizer: PreTrainedTokenizerBase, view: View
) -> None:
    """Refuse what memory is not there for, and say how long the run will take."""
    if is_sized(recipe):
        lengths = count_tokens(samples.train, tokenizer, recipe)
        refuse_memory(recipe, max(lengths.prompts, default=None))
        if (line := say_time(recipe, lengths)) is not None:
            view.note(line)


def _supervised(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Sample],
    heldout: Sequence[Sample],
    recipe: Recipe,
    run: RunFolder,
    view: View,
    before: dict[str, Any] | None,
    ranks: Ranks,
    origin: Origin,
) -> dict[str, Any]:
    """The rest of a run that is supervised alone; its policy is in the warm start's folder."""
    started = time.monotonic()
    warm = recipe.warm_start.model_copy(update={"method": recipe.method})
    recipe = recipe.model_copy(update={"warm_start": warm})
    model = _warm_started(model, tokenizer, train, recipe, run, view, ranks)
    summary = {
        "before": before,
        "after": _evaluated(model, tokenizer, heldout, recipe, run, "after", view, ranks),
        "steps": warm.steps,
        "seconds": round(time.monotonic() - started, 1),
        "scheme": recipe.method,
        "seed": recipe.seed,
    } | origin.summary
    if ranks.main:
        write_json(run.summary, summary)
    return summary


@dataclass(frozen=True)
class Origin:
    """What a run's rows, policy and reward are by their hashes, and whether that was so before."""

    hashes: dict[str, str]
    """See `toolrest.runs.origins.origins`."""
    changed: list[str]
    """What has changed since the run began or was resumed last, and was accepted."""
    history: list[dict[str, Any]]
    """All changes that were accepted, as data.json keeps them."""
    unknown: bool
    """Whether the run began without keeping hashes."""

    @property
    def summary(self) -> dict[str, Any]:
        """What summary.json has of it: nothing where nothing changed."""
        return {"changed_data": [each["what"] for each in self.history]} if self.history else {}


def check_origins(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    samples: Samples,
    run: RunFolder,
    accept: bool,
) -> Origin:
    """Compare the data, policy and reward with those that the run began with, by its data.json.

    Raises:
        InputError: they differ and that is not accepted.
    """
    now = origins(recipe, tokenizer, (*samples.train, *samples.heldout))
    before = read_origins(run.data)
    changed = differences(before, now) if before else []
    if changed and not accept:
        raise InputError(
            f"{run.path}: since the run began, {short_list(changed)}; put back what was there, or "
            "go on with it by --accept-changed-data, which the run's data.json keeps"
        )
    history = accepted_changes(run.data)
    if changed:
        history.append(
            {
                "what": changed,
                "before": {name: value for name, value in before.items() if now.get(name) != value},
            }
        )
    return Origin(now, changed, history, not before and run.data.is_file())


def report_data(
    samples: Samples, evaluated: int, run: RunFolder, view: View, origin: Origin
) -> None:
    """Write data.json, and say which rows are left out and what has changed."""
    rows = samples.rows
    write_json(
        run.data,
        {
            "rows": rows,
            "train": len(samples.train),
            "heldout": len(samples.heldout),
            "evaluated": evaluated,
            "too_long": [{"row": row, "prompt_tokens": n} for row, n in samples.dropped],
            "refused": [{"row": row, "reason": reason} for row, reason in samples.refused],
            "origins": origin.hashes,
        }
        | ({"changed": origin.history} if origin.history else {}),
    )
    if origin.unknown:
        view.note(
            "the run began without keeping hashes of its data and policy, so whether they are "
            "still the same is not known"
        )
    if origin.changed:
        view.note(f"going on, as was asked for, although {short_list(origin.changed)}")
    if samples.refused:
        row, reason = samples.refused[0]
        view.note(
            f"{len(samples.refused)} of {rows} rows are left out, since the chat template refuses "
            f"them: row {row}: {reason} (all in {run.data})"
        )
    if samples.dropped:
        named = ", ".join(row for row, _ in samples.dropped[:10])
        more = ", ..." if len(samples.dropped) > 10 else ""
        view.note(
            f"{len(samples.dropped)} of {rows} rows have prompts over data.max_prompt_tokens and "
            f"are left out: rows {named}{more} (all in {run.data})"
        )


def _warm_started(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    recipe: Recipe,
    run: RunFolder,
    view: View,
    ranks: Ranks,
) -> PreTrainedModel:
    """The policy after the warm start; one that was finished before the run was stopped is read."""
    from toolrest.engines.trl.warm_start import warm_start_with_trl

    if not ranks.first(run.warm_start.is_dir):
        shown = [sample for sample in samples if sample.demonstration is not None]
        if not shown:
            raise InputError(
                f"{recipe.warm_start.method}: no row has a demonstration; sources with thoughts "
                "have them (an RLLA .json file, messages with reasoning_content), and any source "
                "with data.think=false"
            )
        view.stage(f"warm start ({recipe.warm_start.method})", recipe.warm_start.steps)
        metrics = run.metrics if recipe.method != "rl" else run.warm_metrics
        warm_start_with_trl(
            recipe, model, tokenizer, shown, run.warm_start, view.step, ranks, metrics
        )
    return load_policy(recipe, run.warm_start)


def _based(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    run: RunFolder,
    ranks: Ranks,
) -> PreTrainedModel:
    """The policy whole in the run's folder, for new adapters to be trained on and to name: the
    recipe's is one of adapters, and adapters of adapters are read by nobody.
    """

    def write() -> None:
        part = run.base.with_name(run.base.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        part.replace(run.base)

    if not ranks.first(run.base.is_dir):
        ranks.first(write)
    return load_policy(recipe, run.base)


def _evaluate_on_the_way(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    heldout: Sequence[Sample],
    recipe: Recipe,
    run: RunFolder,
    step: int,
    ranks: Ranks,
) -> None:
    from toolrest.evaluate.heldout import evaluate_heldout

    if heldout:
        result, _ = evaluate_heldout(model, tokenizer, heldout, recipe, lambda done: None, ranks)
        if ranks.main:
            _add_to_curve(run, step, asdict(result))


def _add_to_curve(run: RunFolder, step: int, result: dict[str, Any] | None) -> None:
    """One more point of the curve; one that a stopped run wrote already stays as it is."""
    run.evaluation.mkdir(exist_ok=True)
    written = whole_lines(run.curve) if run.curve.is_file() else []
    if all(json.loads(line)["step"] != step for line in written):
        append_json(run.curve, {"step": step, **(result or {})})


def _read_result(path: Path) -> dict[str, Any]:
    """The result of an evaluation that was finished before."""
    try:
        found = read_json(path)
        if not isinstance(found["n"], int):
            raise TypeError("its n is no number")
        return found
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); take it out, and it is evaluated again"
        ) from error


def _evaluated(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    heldout: Sequence[Sample],
    recipe: Recipe,
    run: RunFolder,
    when: str,
    view: View,
    ranks: Ranks,
) -> dict[str, Any] | None:
    """The result of an evaluation; one that was finished before the run was stopped is read."""
    from toolrest.evaluate.heldout import evaluate_heldout

    if not heldout:
        return None
    path = run.evaluation / f"{when}.json"
    if ranks.first(path.is_file):
        return _read_result(path)
    view.stage(f"evaluating {when} training on {len(heldout)} held-out samples", 2 * len(heldout))
    result, rows = evaluate_heldout(model, tokenizer, heldout, recipe, view.advance, ranks)
    if ranks.main:
        run.evaluation.mkdir(exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_whole(run.evaluation / f"{when}.jsonl", "".join(lines))
        write_json(path, asdict(result))
    return asdict(result)

"""One evaluation: a policy on a benchmark, from its settings to its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolrest.core.dialects import get_dialect
from toolrest.errors import InputError
from toolrest.evaluate import environment
from toolrest.evaluate.answers import AnswerStore
from toolrest.evaluate.asked import ask
from toolrest.evaluate.backends.findings import Findings
from toolrest.evaluate.bfcl import episodes as bfcl
from toolrest.evaluate.bfcl.result_files import write_result_files
from toolrest.evaluate.episode import Answer, Backend, Episode, Outcome
from toolrest.evaluate.options import Options, check_options
from toolrest.evaluate.results import summarise, write_results
from toolrest.evaluate.run_episodes import run_episodes
from toolrest.evaluate.settings import (
    evaluation_folder,
    prompt_tokenizer,
    with_template_options,
)
from toolrest.evaluate.target import Target
from toolrest.io.files import write_whole
from toolrest.policy.weights import load_generation_config
from toolrest.runs.environment import describe_environment
from toolrest.runs.origins import UNKNOWN
from toolrest.runs.reproducibility import record_environment


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation."""

    folder: Path
    """Folder that was written."""
    result: dict[str, Any]
    """The content of result.json."""
    outcomes: list[Outcome]
    """One an item, in the benchmark's order."""
    result_files: Path | None = None
    """Folder of BFCL's own result files, where they were asked for."""


class Progress:
    """Receives an evaluation's events. This one ignores them; subclasses show them."""

    def begin(self, items: int, folder: Path) -> None:
        """The evaluation starts: the number of its items and its folder."""

    def note(self, text: str) -> None:
        """A note for the user."""

    def answered(self, answer: Answer) -> None:
        """A new answer came in."""

    def done(self, outcome: Outcome) -> None:
        """An item was scored."""

    def played(self, count: int) -> None:
        """So many episodes of an environment were played."""


def evaluate(target: Target, options: Options, progress: Progress | None = None) -> Evaluation:
    """Run a benchmark on a policy, write the result files, and return the results.

    Raises:
        InputError: options that do not fit, a policy or an endpoint that cannot be used, or a
            folder that cannot be written.
    """
    progress = progress or Progress()
    check_options(options)
    if options.benchmark == "environment":
        return _evaluate_environment(target, options, progress)
    target = with_template_options(target, options)
    with ExitStack() as closing:
        asked = ask(target, options, closing)
        settings, episodes = asked.settings, asked.episodes
        folder = options.out or evaluation_folder(target, options, settings)
        findings = Findings(progress.note)
        backend = _backend(target, options, asked.dialect, settings, findings)
        store = closing.enter_context(AnswerStore(folder, settings))
        with _writing(folder):
            changed = record_environment(folder / "environment.json", 0, 1)
        findings.load(folder)
        progress.begin(len(episodes), folder)
        _note_reuse(store, settings, changed, progress)
        with _writing(folder):
            first = episodes[0].request()
            assert first is not None
            write_whole(folder / "prompt.txt", backend.show(first))

        def answered(answer: Answer) -> None:
            with _writing(folder):
                findings.save(folder)
            progress.answered(answer)

        outcomes = run_episodes(episodes, backend, store, progress.done, answered)
        limits = {"limit": options.limit, "categories": list(options.categories)}
        scored = describe_environment(0)
        by = {"versions": scored["versions"], "commit": scored["commit"]}
        result = {"settings": settings, "asked": limits, "scored_by": by}
        if found := findings.record():
            result["server"] = found
        result["max_tokens"] = {"value": settings["max_tokens"], "from": asked.limited_by}
        result |= summarise(outcomes, asked.whole, asked.release)
        with _writing(folder):
            write_results(folder, result, outcomes)
            files = _result_files(folder, asked.release, episodes) if options.result_files else None
    return Evaluation(folder, result, outcomes, files)


def _evaluate_environment(target: Target, options: Options, progress: Progress) -> Evaluation:
    """Play a run's held-out episodes."""
    recipe = target.recipe
    environment.check_environment(recipe)
    rows = environment.heldout_rows(recipe, options.samples)
    settings = environment.episode_settings(recipe, options, len(rows))
    folder = options.out or evaluation_folder(target, options, settings)
    with _writing(folder):
        environment.prepare_folder(folder, settings)
    progress.begin((settings["trials"] + 1) * len(rows), folder)
    tasks, greedy = environment.play(recipe, settings, rows, folder, progress.played)
    result = environment.summarise_episodes(settings, tasks, greedy)
    with _writing(folder):
        outcomes = environment.write_episodes(folder, result, rows, tasks, greedy)
    return Evaluation(folder, result, outcomes)


def _note_reuse(
    store: AnswerStore, settings: dict[str, Any], changed: list[str], progress: Progress
) -> None:
    """Tell the user what is not known of answers from an earlier run of the command.

    Raises:
        InputError: it is not known which policy gave them.
    """
    if not store.count:
        return
    if UNKNOWN in (settings.get("weights"), settings.get("tokenizer")):  # of a hub's policy
        raise InputError(
            f"{store.path.parent}: holds answers of {settings['policy']}, whose commit on the hub "
            "is not known, so whether they are this policy's is not either; choose another --out"
        )
    if changed:
        progress.note(
            f"the {store.count} answers that are there were given elsewhere or otherwise, and "
            f"numbers may differ by rounding: {'; '.join(changed)}"
        )
    if settings["backend"] == "openai":
        progress.note(
            f"{store.count} answers are there already; whether the server still has the same "
            "weights is not known from here"
        )


def _backend(
    target: Target,
    options: Options,
    dialect: str,
    settings: Mapping[str, Any],
    findings: Findings,
) -> Backend:
    max_tokens = settings["max_tokens"]
    reader = get_dialect(dialect)
    if options.backend == "openai":
        from toolrest.evaluate.backends.hf import PromptCodec
        from toolrest.evaluate.backends.openai import OpenAIBackend, Served

        assert options.base_url is not None
        codec = None
        if options.api == "completions":
            recipe = target.recipe.model_copy(update={"policy": options.tokenizer})
            codec = PromptCodec(
                prompt_tokenizer(target, options), reader, load_generation_config(recipe)
            )
        served = Served(
            target.recipe.policy,
            options.base_url,
            options.api_key,
            target.recipe.data.template_options,
        )
        return OpenAIBackend(served, max_tokens, options.batch_size, codec, findings)
    if options.backend == "vllm":
        from toolrest.evaluate.backends.vllm import VLLMBackend

        return VLLMBackend(
            target.recipe, reader, max_tokens, options.max_prompt_tokens, settings["dtype"]
        )
    from toolrest.evaluate.backends.hf import HFBackend

    return HFBackend(
        target.recipe,
        reader,
        max_tokens,
        options.batch_size,
        options.max_prompt_tokens,
        settings["dtype"],
    )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written: {error.strerror or error}; answers are kept, and the "
            "same command goes on"
        ) from error


def _result_files(folder: Path, release: str | None, episodes: Sequence[Episode]) -> Path | None:
    if release is None:
        return None
    played = [e for e in episodes if isinstance(e, bfcl.SingleTurn | bfcl.MultiTurn)]
    return write_result_files(folder / "official", release, played)

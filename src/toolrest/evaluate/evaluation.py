"""One evaluation: a policy on a benchmark, from its settings to its files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from toolrest.core.dialects import AUTO, detect_dialect, get_dialect
from toolrest.data.wording import style_names
from toolrest.errors import InputError, unknown_name
from toolrest.evaluate import apibank, world
from toolrest.evaluate.answer_limit import answer_limit
from toolrest.evaluate.answers import KEYED, AnswerStore
from toolrest.evaluate.backends.findings import Findings
from toolrest.evaluate.backends.served import served_model
from toolrest.evaluate.bfcl import categories as bfcl_categories
from toolrest.evaluate.bfcl import episodes as bfcl
from toolrest.evaluate.bfcl.official import INSTALL, VERSIONS, OfficialBFCL
from toolrest.evaluate.bfcl.result_files import write_result_files
from toolrest.evaluate.episode import Answer, Backend, Episode, Outcome
from toolrest.evaluate.play import play
from toolrest.evaluate.precision import chosen_dtype
from toolrest.evaluate.results import summarise, write_results
from toolrest.evaluate.target import Target
from toolrest.io.files import sha256_of
from toolrest.io.redaction import redacted
from toolrest.policy.fitting import usual_style
from toolrest.policy.weights import load_config, load_generation_config
from toolrest.recipe import Recipe
from toolrest.runs.folder import describe_environment, write_whole
from toolrest.runs.origins import UNKNOWN, policy_fingerprint
from toolrest.runs.reproducibility import device, record_environment

EVALUATIONS = Path("evaluations")
"""Where evaluations go that are of no run."""
BENCHMARKS = ("bfcl", "apibank", "world")


@dataclass(frozen=True)
class Options:
    """What is asked for, as on the command line."""

    benchmark: str
    """bfcl, apibank or world."""
    version: str | None = None
    """Of BFCL: v3 or v4; None: what is installed."""
    categories: Sequence[str] = ()
    """Names or groups; none: all."""
    dialect: str | None = None
    """None: the run's, or what the chat template shows."""
    prompt: str | None = None
    """Wording; None: the dialect's."""
    think: bool | None = None
    """Whether a prompt in plain words asks for a thought; None: as the run's did."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    """What the chat template is told, besides what the run has told it."""
    backend: Literal["hf", "vllm", "openai"] = "hf"
    dtype: Literal["float32", "bfloat16"] | None = None
    """Of weights and arithmetic; None: bfloat16 on a GPU that has it, else float32."""
    base_url: str | None = None
    """Of an OpenAI-compatible endpoint."""
    api_key: str | None = field(default=None, repr=False)
    """The endpoint's key; in no file and no message."""
    api: Literal["chat", "completions"] = "chat"
    """Which of its interfaces."""
    tokenizer: str | None = None
    """That writes prompts for the completions interface."""
    limit: int | None = None
    """Items of each category at most."""
    out: Path | None = None
    data: Path | None = None
    """Folder with API-Bank's files."""
    batch_size: int = 16
    """Prompts at once, or requests in flight."""
    max_tokens: int | None = None
    max_prompt_tokens: int | None = None
    result_files: bool = False
    """Whether to write BFCL's own result files too."""
    official_folder: Path | None = field(default=None)
    """Where bfcl-eval is, if not beside toolrest."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    folder: Path
    result: dict[str, Any]
    outcomes: list[Outcome]
    result_files: Path | None = None


class Progress:
    """What an evaluation tells while it runs; does nothing itself."""

    def begin(self, items: int, folder: Path) -> None:
        """So many items are to be played."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def answered(self, answer: Answer) -> None:
        """A new answer is there."""

    def done(self, outcome: Outcome) -> None:
        """An item is done."""


def evaluate(target: Target, options: Options, progress: Progress | None = None) -> Evaluation:
    """Play a benchmark, write its files, and give its figures.

    Raises:
        InputError: options that do not fit, a policy or an endpoint that cannot be used, or a
            folder that cannot be written.
    """
    progress = progress or Progress()
    _check(options)
    target = _told(target, options)
    dialect, style = _speech(target, options)
    with ExitStack() as closing:
        official = None
        if options.benchmark == "bfcl":
            official = closing.enter_context(_official(options))
        think = _think(target, options, style)
        settings = _settings(target, options, dialect, style, official)
        settings["max_tokens"], limited_by = _limit(target, options)
        if think:
            settings["think"] = True
        folder = options.out or _folder(target, options, settings)
        groups = _episodes(options, dialect, style, official, think)
        episodes = [episode for found in groups.values() for episode in found[: options.limit]]
        played = Counter(episode.category for episode in episodes)
        every = Counter(episode.category for found in groups.values() for episode in found)
        whole = [name for name, count in every.items() if played[name] == count]
        if not episodes:
            raise InputError(f"--on {options.benchmark}: there is no item to evaluate")
        findings = Findings(progress.note)
        backend = _backend(target, options, dialect, settings, findings)
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

        outcomes = play(episodes, backend, store, progress.done, answered)
        release = official.release if official is not None else None
        asked = {"limit": options.limit, "categories": list(options.categories)}
        scored = describe_environment(0)
        by = {"versions": scored["versions"], "commit": scored["commit"]}
        result = {"settings": settings, "asked": asked, "scored_by": by}
        if found := findings.record():
            result["server"] = found
        result["max_tokens"] = {"value": settings["max_tokens"], "from": limited_by}
        result |= summarise(outcomes, whole, release)
        with _writing(folder):
            write_results(folder, result, outcomes)
            files = _result_files(folder, release, episodes) if options.result_files else None
    return Evaluation(folder, result, outcomes, files)


def _note_reuse(
    store: AnswerStore, settings: dict[str, Any], changed: list[str], progress: Progress
) -> None:
    """Say what is not known of answers that are there already.

    Raises:
        InputError: which policy gave them is not known.
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


def _check(options: Options) -> None:
    if options.benchmark not in BENCHMARKS:
        raise InputError(unknown_name("benchmark", options.benchmark, BENCHMARKS))
    for value, name in ((options.limit, "--limit"), (options.max_tokens, "--max-tokens")):
        if value is not None and value < 1:
            raise InputError(f"{name} {value}: must be at least 1")
    if options.batch_size < 1:
        raise InputError(f"--batch-size {options.batch_size}: must be at least 1")
    if options.benchmark == "apibank" and options.data is None:
        raise InputError(
            "--on apibank needs --data FOLDER with the three processed files "
            f"({', '.join(apibank.LEVELS.values())}), which ResT's repository has"
        )
    if options.max_prompt_tokens is not None and options.max_prompt_tokens < 1:
        raise InputError(f"--max-prompt-tokens {options.max_prompt_tokens}: must be at least 1")
    if options.backend == "openai" and options.max_prompt_tokens is not None:
        raise InputError("--max-prompt-tokens: with --backend openai the server decides what fits")
    if options.backend == "openai" and options.dtype is not None:
        raise InputError("--dtype: with --backend openai the server computes as it was started to")
    if options.backend == "openai" and options.base_url is None:
        raise InputError("--backend openai needs --base-url, as in http://localhost:8000/v1")
    if options.version is not None and options.version not in VERSIONS:
        raise InputError(unknown_name("BFCL version", options.version, VERSIONS))
    if options.api == "completions" and options.tokenizer is None:
        raise InputError(
            "--api completions sends the prompt as one text, so it needs --tokenizer: the policy's "
            "folder or hub name"
        )


def _told(target: Target, options: Options) -> Target:
    """The target with what the command tells the chat template."""
    if not options.template_options:
        return target
    data = target.recipe.data
    told = {**data.template_options, **options.template_options}
    data = data.model_copy(update={"template_options": told})
    return replace(target, recipe=target.recipe.model_copy(update={"data": data}))


def _speech(target: Target, options: Options) -> tuple[str, str]:
    """(dialect, wording): the run's, the user's, or what the chat template shows."""
    tokenizer: Any = None
    template: str | None = None
    if options.backend != "openai" or options.api == "completions":
        tokenizer = _tokenizer(target, options)
        found = tokenizer.chat_template
        template = found if isinstance(found, str) else None
    named = options.dialect or (target.run is not None and target.recipe.dialect) or None
    named = None if named == AUTO else named
    if named is None and target.recipe.policy == "embedded":
        named = "rlla"
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
    if style is None and tokenizer is not None:
        style = usual_style(get_dialect(named), tokenizer)[0]
    elif style is None:  # a server's template is not seen from here
        style = "rlla" if named == "rlla" else "template"
    if style not in style_names():
        raise InputError(unknown_name("prompt", style, style_names()))
    return named, style


def _think(target: Target, options: Options, style: str) -> bool:
    """Whether prompts ask for a thought in plain words."""
    if options.think is None:
        return style == "plain" and target.run is not None and bool(target.recipe.data.think)
    if style != "plain":
        raise InputError(
            f"--think, --no-think: prompts in the wording {style} ask for a thought in their own "
            "way; leave it out, or use --prompt plain"
        )
    return options.think


def _tokenizer(target: Target, options: Options) -> Any:
    from toolrest.policy.tokenizer import load_tokenizer

    recipe = target.recipe
    if options.tokenizer is not None:
        recipe = recipe.model_copy(update={"policy": options.tokenizer})
    return load_tokenizer(recipe)


def _official(options: Options) -> OfficialBFCL:
    official = OfficialBFCL(folder=options.official_folder)
    if options.version not in (None, official.release):
        official.close()
        raise InputError(
            f"--version {options.version}: bfcl-eval {official.version} is installed, which holds "
            f"BFCL {official.release}; for {options.version}: "
            f"{INSTALL.format(version=VERSIONS[options.version or ''])}"
        )
    return official


def _settings(
    target: Target, options: Options, dialect: str, style: str, official: OfficialBFCL | None
) -> dict[str, Any]:
    """All that the answers depend on. Which items are asked is not among it."""
    settings: dict[str, Any] = {
        "policy": target.recipe.policy,
        "benchmark": options.benchmark,
        "version": None if official is None else f"{official.release} ({official.version})",
        "dialect": dialect,
        "prompt": "as it is" if options.benchmark == "world" else style,
        "backend": options.backend,
        "decoding": "greedy",
        **KEYED,
        "data": _data(options, official),
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
        settings["weights"] = policy_fingerprint(target.recipe)
        if options.backend == "hf":
            # A batch is padded to its longest prompt, which changes sums by rounding.
            settings["batch_size"] = options.batch_size
        settings["dtype"] = chosen_dtype(options.dtype)
        settings["device"] = device()
        settings["max_prompt_tokens"] = options.max_prompt_tokens
    return settings


def _data(options: Options, official: OfficialBFCL | None) -> Any:
    """The hash of the questions and right answers, of all categories and levels."""
    if official is not None:
        return official.data
    if options.benchmark == "apibank":
        assert options.data is not None
        files = {name: options.data / file for name, file in apibank.LEVELS.items()}
        try:
            return {name: sha256_of(path) for name, path in files.items() if path.is_file()}
        except OSError as error:
            raise InputError(f"--data {options.data}: cannot be read ({error})") from error
    return world.data_hash()


def _limit(target: Target, options: Options) -> tuple[int, str]:
    """See `answer_limit`."""
    here = options.backend != "openai"
    return answer_limit(
        options.max_tokens,
        options.benchmark,
        target,
        _positions(target) if here else None,
        partial(_tokenizer, target, options) if here or options.tokenizer else None,
    )


def _positions(target: Target) -> int | None:
    positions = getattr(load_config(target.recipe), "max_position_embeddings", None)
    return positions if isinstance(positions, int) else None


def _folder(target: Target, options: Options, settings: dict[str, Any]) -> Path:
    text = json.dumps(settings, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"{options.benchmark}-{key}"
    if target.run is not None:
        target.run.check_links(target.run.evaluation)
        return target.run.evaluation / f"{Path(target.recipe.policy).name}-{name}"
    return EVALUATIONS / target.label / name


def _episodes(
    options: Options, dialect: str, style: str, official: OfficialBFCL | None, think: bool
) -> dict[str, list[Episode]]:
    """The episodes by category."""
    wanted = options.categories
    if official is not None:
        speech = bfcl.Speech(style, get_dialect(dialect), think)
        names = bfcl_categories.choose(wanted, official.release)
        return {name: bfcl.episodes(official, name, speech) for name in names}
    if options.benchmark == "apibank":
        assert options.data is not None
        for name in wanted:
            if name not in apibank.LEVELS:
                raise InputError(unknown_name("level of API-Bank", name, apibank.LEVELS))
        levels = [name for name in apibank.LEVELS if not wanted or name in wanted]
        reader = get_dialect(dialect)
        return {
            name: apibank.episodes(options.data, name, reader, style, think=think)
            for name in levels
        }
    if wanted:
        raise InputError("--categories: the embedded world's tasks have none to choose from")
    return {"tasks": world.episodes(max(options.limit or 0, world.COUNT))}


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
        from toolrest.evaluate.backends.hf import Rendering
        from toolrest.evaluate.backends.openai import OpenAIBackend

        assert options.base_url is not None
        rendering = None
        if options.api == "completions":
            recipe = target.recipe.model_copy(update={"policy": options.tokenizer})
            rendering = Rendering(
                _tokenizer(target, options), reader, load_generation_config(recipe)
            )
        return OpenAIBackend(
            target.recipe.policy,
            options.base_url,
            max_tokens,
            options.batch_size,
            rendering,
            options.api_key,
            target.recipe.data.template_options,
            findings,
        )
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

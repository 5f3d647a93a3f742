"""The options of an evaluation and their checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from toolrest.errors import InputError, check_name, unknown_name
from toolrest.evaluate import apibank
from toolrest.evaluate.bfcl.official import VERSIONS

BENCHMARKS = ("bfcl", "apibank", "world", "environment")
_NOT_OF_EPISODES = {
    "version": "it has no version",
    "categories": "its tasks have none to choose from",
    "dialect": "episodes are worded as in training",
    "prompt": "episodes are worded as in training",
    "template_options": "episodes are worded as in training",
    "base_url": "the policy is sampled here",
    "tokenizer": "the policy's own is used",
    "limit": "take --samples",
    "data": "its rows are those of the run's recipe",
    "max_tokens": "the limit is the recipe's rollout.max_response_tokens",
    "max_prompt_tokens": "the limit is the recipe's data.max_prompt_tokens",
    "result_files": "these are BFCL's",
}
"""Options that an environment refuses, and why."""


@dataclass(frozen=True)
class Options:
    """The options of `toolrest evaluate`."""

    benchmark: str
    """bfcl, apibank, world, or environment, which is the run's own."""
    version: str | None = None
    """BFCL's version, v3 or v4; None: the one that is installed."""
    categories: Sequence[str] = ()
    """Names of categories or of groups of them; empty: all."""
    dialect: str | None = None
    """Format of the calls; None: the run's, or what the chat template shows."""
    prompt: str | None = None
    """Style of the prompt: rlla, template or plain; None: the usual one of the dialect."""
    think: bool | None = None
    """Whether a plain prompt asks for a thought; None: as the run's prompts did."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the chat template, added to those of the run."""
    backend: Literal["hf", "vllm", "openai"] = "hf"
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type of weights and arithmetic; None: bfloat16 on a GPU that has it, else float32."""
    base_url: str | None = None
    """Address of an OpenAI-compatible endpoint."""
    api_key: str | None = field(default=None, repr=False)
    """The endpoint's key; never written to a file or a message."""
    api: Literal["chat", "completions"] = "chat"
    """The endpoint's interface."""
    tokenizer: str | None = None
    """Folder or hub name of the tokenizer that writes prompts for the completions interface."""
    limit: int | None = None
    """Most items of each category; None: all."""
    out: Path | None = None
    """Folder of the results; None: see `settings.evaluation_folder`."""
    samples: int | None = None
    """Held-out episodes of an environment; None: as many as its run was evaluated on."""
    trials: int | None = None
    """Times that each of them is sampled; None: once."""
    data: Path | None = None
    """Folder with API-Bank's files."""
    batch_size: int = 16
    """Prompts in a batch, or requests in flight."""
    max_tokens: int | None = None
    """Most new tokens of an answer; None: see `answer_limit`."""
    max_prompt_tokens: int | None = None
    """Longer prompts are not asked and count as wrong; None: as long as the policy takes."""
    result_files: bool = False
    """Whether to write BFCL's own result files as well."""
    official_folder: Path | None = None
    """Folder of bfcl-eval; None: it is installed beside toolrest."""


def check_options(options: Options) -> None:
    """Refuse options that do not fit together.

    Raises:
        InputError: naming the option and what it needs.
    """
    check_name("benchmark", options.benchmark, BENCHMARKS)
    for value, name in (
        (options.limit, "--limit"),
        (options.max_tokens, "--max-tokens"),
        (options.samples, "--samples"),
        (options.trials, "--trials"),
        (options.batch_size, "--batch-size"),
        (options.max_prompt_tokens, "--max-prompt-tokens"),
    ):
        if value is not None and value < 1:
            raise InputError(f"{name} {value}: must be at least 1")
    _check_episodes(options)
    if options.benchmark == "apibank" and options.data is None:
        raise InputError(
            "--on apibank needs --data FOLDER with the three processed files "
            f"({', '.join(apibank.LEVELS.values())}), which ResT's repository has"
        )
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


def _check_episodes(options: Options) -> None:
    """Options of an environment alone, and those that it has no use for."""
    if options.benchmark != "environment":
        for value, name in ((options.samples, "--samples"), (options.trials, "--trials")):
            if value is not None:
                raise InputError(
                    f"{name}: is of --on environment; {options.benchmark} has --limit, and greedy "
                    "answers alone"
                )
        return
    if options.backend != "hf" or options.api != "chat":
        raise InputError("--on environment: the policy is sampled here; leave out --backend, --api")
    for name, why in _NOT_OF_EPISODES.items():
        if getattr(options, name) not in (None, [], (), {}, False):
            option = "template-option" if name == "template_options" else name.replace("_", "-")
            raise InputError(f"--{option}: with --on environment {why}; leave it out")
    if options.think is not None:
        raise InputError(
            "--think, --no-think: with --on environment episodes are worded as in training; leave "
            "it out"
        )

"""The options of an evaluation and their checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from toolrest.errors import InputError, check_name, unknown_name
from toolrest.evaluate import apibank
from toolrest.evaluate.bfcl.official import VERSIONS

BENCHMARKS = ("bfcl", "apibank", "world")


@dataclass(frozen=True)
class Options:
    """The options of `toolrest evaluate`."""

    benchmark: str
    """bfcl, apibank or world."""
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
    official_folder: Path | None = field(default=None)
    """Folder of bfcl-eval; None: it is installed beside toolrest."""


def check_options(options: Options) -> None:
    """Refuse options that do not fit together.

    Raises:
        InputError: naming the option and what it needs.
    """
    check_name("benchmark", options.benchmark, BENCHMARKS)
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

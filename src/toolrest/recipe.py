"""What a run is: one recipe, the same for every engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from toolrest.errors import InputError
from toolrest.files import read_text, split_lines
from toolrest.naming import short, unknown_name
from toolrest.plain_yaml import plain_values
from toolrest.recipe_checks import check_recipe
from toolrest.recipe_paths import with_whole_paths
from toolrest.redaction import holds_key, key_in

EMBEDDED = "embedded"
RESUMABLE = (
    "guards",
    "optimizer.micro_batch",
    "optimizer.gradient_checkpointing",
    "rollout.vllm.memory",
    "rollout.saved_groups",
    "evaluation.batch_size",
    "reward.timeout",
    "report_to",
)
"""What a resumed run may change: how it is computed, not what."""

SHIPPED_SHARDING = ("ddp", "fsdp", "zero2", "zero3")
"""Ways of sharing a policy that come with the package."""
_KEYLESS = (
    "looks like a key or a password, which a recipe must not hold; give it in the environment "
    "(OPENAI_API_KEY, HF_TOKEN, WANDB_API_KEY) or in ~/.netrc"
)
_DEEPEST_KEY = 20
"""Dots of an override's key."""
_WORKED_OUT = "# worked out: "
_OWN_KEY = re.compile(r"  [a-z_]+: ")
"""A line of YAML with a section's own key and a plain value."""


def _takes_bool(annotation: Any) -> bool:
    """Whether a field's type has a truth value in it."""
    return annotation in (bool, Any) or any(map(_takes_bool, get_args(annotation)))


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and not _takes_bool(field.annotation):
            raise ValueError("neither a number nor a text")
        return value


class DataSource(_Section):
    """One part of a mixture."""

    path: str
    """A file of any format, or a data set on the hub."""
    format: str | None = None
    """rlla, rlla_json, apibank, xlam, bfcl, prompt, messages, toolace or sharegpt. None: seen from
    each row."""
    take: int | None = Field(default=None, ge=1)
    """Samples at most, drawn at random. None: all."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the rows, drawn at random before `take`."""
    mask: float = Field(default=0.0, ge=0, le=1)
    """Share of the rows whose tools and parameters get random names (Hammer)."""
    drawn_by: str | None = None
    """What seeds the draws of `share`, `take` and `mask`, so that they stay the same wherever the
    file lies. None: the path as it was written."""


class Data(_Section):
    """Prompts and ground truths."""

    path: str | None = None
    """A file of any format, or a data set on the hub. None: `sources`, or the embedded world."""
    sources: list[DataSource] = Field(default_factory=list)
    """A mixture, in place of `path`."""
    prompt: Literal["rlla", "template", "plain"] | None = None
    """How dialogues are worded. None: rlla for the dialect rlla, else the chat template's way; in
    plain words where the template lists no tools or writes another dialect."""
    thoughts: Literal["none", "placeholder", "all"] = "placeholder"
    """What prompts keep of the thoughts of earlier actions."""
    think: bool | None = None
    """Whether a right reply has a thought. None: in the dialect rlla, and where the chat template
    begins one."""
    thought_sentences: int | None = Field(default=None, ge=1)
    """How many sentences of a demonstration's thought are taught, from its start. None: all. Short
    thoughts suit small policies and short responses."""
    template_options: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """What the chat template is told, such as `enable_thinking: false`; in training, evaluation and
    the checkpoints' own templates alike."""
    heldout_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows that is kept for evaluation."""
    max_prompt_tokens: int = Field(default=1024, ge=1)
    """Rows with longer prompts are left out, counted and named. Unsaid: see `Recipe`."""


class Vllm(_Section):
    """vLLM as the sampler; the old policy's log-probabilities correct for what it rounds."""

    mode: Literal["colocate", "server"] = "colocate"
    """colocate: in the training processes, on their GPUs. server: TRL's `trl vllm-serve`."""
    memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of each GPU's memory that a colocated vLLM takes."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that one copy of the policy is spread over."""
    server: str = "http://localhost:8000"
    """Where the server of mode `server` listens."""
    correction: bool = True
    """Whether gradients are corrected by the ratio of the policy's probabilities to vLLM's."""


class Rollout(_Section):
    """How responses are sampled."""

    prompts_per_step: int = Field(default=16, ge=1)
    """Prompts of one generation, and of one optimiser step unless `optimizer.mini_batch` splits
    them. Unsaid: see `Recipe`."""
    group_size: int = Field(default=8, ge=2)
    """Responses to each prompt (G)."""
    max_response_tokens: int = Field(default=192, ge=1)
    """A response that has not ended by then is truncated. Unsaid: see `Recipe`."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature; entropies are those at this temperature."""
    sampler: Literal["auto", "shared_prefix", "generate", "vllm"] = "auto"
    """shared_prefix: groups share their prompt, for small policies; generate: transformers'; vllm:
    see `vllm`. auto: shared_prefix on a CPU where the policy's attention allows it, else generate;
    vllm with the engine verl."""
    vllm: Vllm = Vllm()
    saved_entropies: bool = False
    """Whether the rollouts that are written have every token's entropy, which costs one more
    forward a generation; schemes that read it anyway have it at no cost."""
    saved_groups: int = Field(default=2, ge=0)
    """Groups a step that are written to the run's rollouts folder."""


class Weighting(_Section):
    """Token weights."""

    scheme: str = "rest"
    """rest, official, uniform (GRPO), another scheme of docs/method.md, or a product such as
    `rest*stare`."""
    entropy_source: Literal["online", "static", "exact"] = "online"
    """Moving average of the training forwards; the first rollouts; or one extra forward a step."""
    entropy_decay: float = Field(default=0.9, ge=0, lt=1)
    """Weight of the past in the moving average."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the scheme, such as `curriculum: false`."""


class Reward(_Section):
    """Rule rewards."""

    correctness: dict[str, float] = Field(default_factory=lambda: {"partial": 1.0})
    """Weights of the kinds of correctness: `partial` (the paper's), `exact` and `ast`."""
    normalise_strings: bool = False
    """Whether strings are compared without case and punctuation, as BFCL does."""
    lenient_types: bool = False
    """Whether "5" equals 5."""
    schedule: str = "rest"
    """rest, constant or official: how the ranges of format and correctness move."""
    punish_over_calls: bool = True
    """Whether a call where none is due earns the least correctness."""
    function: str | None = None
    """FILE.py:NAME of a reward function as TRL takes it, whose rewards are added. The file is
    run."""
    timeout: float = Field(default=600.0, gt=0, le=86_400)
    """Seconds after which a call of `function` has failed."""


class Advantage(_Section):
    """What a response, or a part of it, is credited with."""

    scale: Literal["group", "batch", "none"] = "group"
    """By which standard deviation advantages are divided (TRL's scale_rewards)."""
    credit: Literal["response", "spans"] = "response"
    """response: every token gets the whole advantage (GRPO). spans: a token gets what was still
    undecided when it was sampled; see docs/method.md."""
    discount: float = Field(default=1.0, ge=0, le=1)
    """With spans: how much a decision counts for tokens before an earlier one. 1: unbiased."""


class Guards(_Section):
    """What follows when something fails or a number cannot be trusted."""

    non_finite: Literal["stop", "skip"] = "stop"
    """After a reward, weight, loss or gradient of NaN or infinity: stop; or leave out the response
    or the step and go on, unless a parameter is. What led to it is in the run's incidents."""
    reward_error: Literal["stop", "skip"] = "stop"
    """After a fault of `reward.function`: stop; or count it as 0 for the generation and go on."""
    warn: bool = True
    """Whether signs of trouble in the metrics are said."""


class Optimizer(_Section):
    """The policy's updates."""

    learning_rate: float = Field(default=2e-4, gt=0)
    """AdamW's, constant. Unsaid: see `Recipe`."""
    loss: str = "grpo"
    """TRL's loss_type; `grpo` is the paper's mean over each sequence."""
    clip_epsilon: float = Field(default=0.2, gt=0)
    """Clipping range of the probability ratio."""
    clip_epsilon_high: float | None = Field(default=None, gt=0)
    """Upper clipping range where it differs (DAPO's clip-higher; CISPO's cap)."""
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=True)
    """Gradients are clipped to this norm."""
    mini_batch: int | None = Field(default=None, ge=1)
    """Prompts of one optimiser step; None: all of a generation."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Responses, or demonstrations, in one forward and backward of one process; None: all of its
    part of a step. Unsaid: see `Recipe`."""
    iterations: int = Field(default=1, ge=1)
    """Optimiser passes over each batch of rollouts (mu)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""


class WarmStart(_Section):
    """Supervised learning on demonstrations before reinforcement learning."""

    method: Literal["none", "sft", "tsft", "rsft"] = "none"
    """sft: every token's loss counts alike; tsft, rsft: that of calls, of reasoning is scaled."""
    steps: int = Field(default=50, ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=32, ge=1)
    """Demonstrations a step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """AdamW's, constant. Unsaid: see `Recipe`."""
    scale: float = Field(default=2.0, gt=0)
    """Of the scaled regions' loss."""


class Evaluation(_Section):
    """Held-out evaluation before and after training, and on the way."""

    every: int = Field(default=0, ge=0)
    """Steps between evaluations on the way, into evaluation/curve.jsonl; 0: none."""
    samples: int = Field(default=256, ge=0)
    """Held-out prompts at most; 0: none."""
    batch_size: int = Field(default=128, ge=1)
    """Responses that are sampled at once. Unsaid: see `Recipe`."""


class Lora(_Section):
    """Low-rank adapters (arXiv 2106.09685) in place of all parameters."""

    rank: int = Field(default=0, ge=0)
    """Rank of the adapters; 0: none, all parameters are trained."""
    alpha: float = Field(default=32.0, gt=0)
    """Adapters are scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    target_modules: str | list[str] = "all-linear"
    """Which modules get them: all linear layers but the head (all-linear), or modules' names."""

    @property
    def names(self) -> list[str] | None:
        """The modules' names, whole or from a dot on; None: all linear layers."""
        modules = self.target_modules
        if isinstance(modules, str):
            return None if modules == "all-linear" else [modules]
        return modules


class Engine(_Section):
    """Who runs the training loop, and on what. `engine=verl` is short for `engine.name=verl`."""

    name: Literal["trl", "verl"] = "trl"
    """trl: one machine. verl: one machine of several GPUs, or a cluster."""
    processes: int = Field(default=1, ge=1)
    """Processes on each machine: one a GPU, or any number on a CPU."""
    nodes: int = Field(default=1, ge=1)
    """Machines. With TRL, processes are started on each of them by hand (docs/scaling.md)."""
    sharding: str = "ddp"
    """How TRL's processes share the policy: ddp (a copy each), fsdp, zero2, zero3, or a
    configuration file of accelerate."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of forwards and backwards; parameters of the optimiser are float32. auto:
    bfloat16 on a GPU that computes in it. Unsaid: see `Recipe`."""
    mode: Literal["sync", "colocate_async", "separate_async"] = "sync"
    """verl's trainer: sync samples and trains in turn; the others overlap the two."""
    options: dict[str, Any] = Field(default_factory=dict)
    """verl's own settings by their dotted names, passed on as they are."""


class Recipe(_Section):
    """A run. Every field has a default; together they are the embedded default run.

    For another policy, TRL's engine works out what a recipe leaves unsaid of learning rates,
    responses a step and a forward, limits of tokens and precision: from the policy's size, the
    memory that is free and the data (`toolrest.estimate.settings`). The run's recipe.yaml has the
    values, with where they came from.
    """

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The run's folder below `runs`; None: scheme, policy and seed, and a number if taken."""
    seed: int = Field(default=0, ge=0)
    """Seeds the data order and the sampling."""
    method: Literal["rl", "sft", "tsft", "rsft"] = "rl"
    """rl: reinforcement learning, after the warm start if there is one. sft, tsft, rsft: supervised
    learning alone, with the steps, batch size and learning rate of `warm_start`."""
    policy: str = EMBEDDED
    """`embedded`, a folder with a Hugging Face checkpoint, or a hub name."""
    trust_remote_code: bool = False
    """Whether code that comes with a checkpoint may run."""
    dialect: str = "rlla"
    """How the policy writes thoughts, calls and responses. auto: as its chat template does."""
    max_steps: int = Field(default=25, ge=1)
    """Optimiser steps."""
    save_steps: int = Field(default=10, ge=1)
    """Steps between checkpoints."""
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(default_factory=list)
    """Where TRL sends metrics besides the run's own files; each needs its package."""
    data: Data = Data()
    warm_start: WarmStart = WarmStart()
    rollout: Rollout = Rollout()
    weighting: Weighting = Weighting()
    reward: Reward = Reward()
    advantage: Advantage = Advantage()
    optimizer: Optimizer = Optimizer()
    evaluation: Evaluation = Evaluation()
    guards: Guards = Guards()
    lora: Lora = Lora()
    engine: Engine = Engine()

    @property
    def responses_per_generation(self) -> int:
        """Responses that are sampled at once."""
        return self.rollout.prompts_per_step * self.rollout.group_size

    @property
    def updates_per_generation(self) -> int:
        """Optimiser steps that one generation is split into, in one pass over it."""
        return self.rollout.prompts_per_step // self._mini_batch

    @property
    def responses_per_update(self) -> int:
        """Responses of one optimiser step."""
        return self._mini_batch * self.rollout.group_size

    @property
    def responses_per_forward(self) -> int:
        """Responses in one forward and backward of one process."""
        share = self.responses_per_update // self.engine.processes // self.engine.nodes
        return self.optimizer.micro_batch or share

    @property
    def steps_per_generation(self) -> int:
        """Optimiser steps from one generation to the next."""
        return self.updates_per_generation * self.optimizer.iterations

    @property
    def _mini_batch(self) -> int:
        return self.optimizer.mini_batch or self.rollout.prompts_per_step


def load_recipe(path: Path | None, overrides: list[str]) -> Recipe:
    """Read a recipe and apply `key=value` overrides, such as `rollout.group_size=4`.

    Raises:
        InputError: no such file, not YAML, an unknown key (with the nearest known one), or a value
            that does not fit.
    """
    values: dict[str, Any] = {}
    if path is not None:
        values = _read(path)
    for text in overrides:
        override(values, text)
    source = str(path) if path is not None else "the recipe"
    return parse_recipe(values, source)


def load_run_recipe(path: Path, overrides: list[str], *, trusted: bool) -> Recipe:
    """The recipe that lies in a run's folder, whoever made it.

    Its own `trust_remote_code` counts for nothing.

    Args:
        overrides: `key=value` settings of the command.
        trusted: whether the command says that code which comes with the policy may run.

    Raises:
        InputError: see `load_recipe`.
    """
    values = _read(path) | {"trust_remote_code": trusted}
    for text in overrides:
        override(values, text)
    return parse_recipe(values, str(path))


def names_code(recipe: Recipe) -> dict[str, Any]:
    """The keys by which a recipe has code run when it is trained with, and their values."""
    found: dict[str, Any] = {}
    if recipe.trust_remote_code:
        found["trust_remote_code"] = True
    if recipe.reward.function is not None:
        found["reward.function"] = recipe.reward.function
    if recipe.engine.options:
        found["engine.options"] = recipe.engine.options
    if recipe.engine.sharding not in SHIPPED_SHARDING:
        found["engine.sharding"] = recipe.engine.sharding
    return found


def check_trusted(recipe: Recipe, path: Path) -> None:
    """Refuse to train with a recipe that names code and that the user has not named.

    Args:
        path: where it lies, named in errors.

    Raises:
        InputError: it does, and the command has to say that it may.
    """
    for key, value in names_code(recipe).items():
        raise InputError(
            f"{path}: {key}={short(value)} runs code; read it, and if you trust it, give "
            "--trust-remote-code"
        )


def parse_recipe(values: dict[str, Any], source: str) -> Recipe:
    """The recipe of plain values, its paths made whole; `source` is named in errors."""
    if isinstance(values.get("engine"), str):
        values = values | {"engine": {"name": values["engine"]}}
    _check_keys(values, Recipe, "")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(f"{source}: {key[:200]}={short(first['input'])}: {said}") from error
    recipe = with_whole_paths(recipe)
    check_recipe(recipe)
    _check_keyless(recipe.model_dump(mode="json"), "")
    return recipe


def _check_keyless(value: Any, key: str) -> None:
    """A recipe is kept and shown, so it holds no keys."""
    if isinstance(value, dict):
        for name, each in value.items():
            if holds_key("", str(name)):
                raise InputError(f"{key}: one of its names {_KEYLESS}")
            _check_keyless(each, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for each in value:
            _check_keyless(each, key)
    elif isinstance(value, str) and (variable := key_in(value)) is not None:
        raise InputError(
            f"{key}: it holds the value of the variable {variable}, which is taken for a key, and "
            f"which a recipe must not hold; take it out, or unset {variable} if it is none"
        )
    elif isinstance(value, str) and holds_key(key, value):
        raise InputError(f"{key}: it {_KEYLESS}")


def may_change(key: str) -> bool:
    """Whether a resumed run may change a key."""
    return any(key == known or key.startswith(known + ".") for known in RESUMABLE)


def check_resumable(overrides: list[str]) -> None:
    """Refuse overrides that would make of a resumed run another one.

    Raises:
        InputError: naming what may be changed.
    """
    for written in overrides:
        key = written.partition("=")[0]
        if not may_change(key):
            raise InputError(
                f"--resume {written}: a run goes on with its own recipe; only "
                f"{', '.join(RESUMABLE)} may be changed"
            )


def dump_recipe(
    recipe: Recipe, reasons: Mapping[str, str] | None = None, *, said: bool = False
) -> str:
    """The resolved recipe as YAML.

    Args:
        reasons: where values come from, by keys such as `rollout.group_size`; written as comments.
        said: only the keys that the recipe says, for processes that work out the rest.
    """
    text = yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=said), sort_keys=False)
    if not reasons:
        return text
    lines, section = [], ""
    for line in split_lines(text):
        name = line.strip().partition(":")[0]
        if not line.startswith((" ", "-")):
            section = name
        known = reasons.get(f"{section}.{name}") if _OWN_KEY.match(line) else None
        lines.append(f"{line}  {_WORKED_OUT}{known}" if known else line)
    return "\n".join(lines) + "\n"


def read_reasons(text: str) -> dict[str, str]:
    """The reasons that `dump_recipe` wrote, by key."""
    found, section = {}, ""
    for line in split_lines(text):
        if line and not line.startswith((" ", "-")):
            section = line.partition(":")[0]
        before, mark, why = line.partition(_WORKED_OUT)
        if mark and _OWN_KEY.match(before):
            found[f"{section}.{before.strip().partition(':')[0]}"] = why.strip()
    return found


def says(recipe: Recipe, key: str) -> bool:
    """Whether a recipe says a key of a section, such as `rollout.group_size`, rather than leaving
    it to the schema; one that was dumped whole says all of them.
    """
    section, _, name = key.partition(".")
    return name in getattr(recipe, section).model_fields_set


def value_of(recipe: Recipe, key: str) -> Any:
    """The value of a key of a section, such as `rollout.group_size`."""
    section, _, name = key.partition(".")
    return getattr(getattr(recipe, section), name)


def changed(recipe: Recipe, values: dict[str, Any]) -> Recipe:
    """The recipe with other values of keys such as `rollout.group_size`, which are not checked."""
    sections: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    made = {
        section: getattr(recipe, section).model_copy(update=each)
        for section, each in sections.items()
    }
    return recipe.model_copy(update=made)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such recipe") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the recipe cannot be read ({error})") from error
    values = plain_values(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: a recipe is a mapping of keys, not a {type(values).__name__}")
    return values


def override(values: dict[str, Any], written: str) -> None:
    """Set one `key=value` in plain values.

    Raises:
        InputError: it is not written so.
    """
    key, equals, text = written.partition("=")
    if not equals or not key or key.count(".") > _DEEPEST_KEY:
        raise InputError(f"{short(written)}: an override is written key=value, as in max_steps=5")
    value = plain_values(text, f"{short(written)}: the value")
    if " #" in text and text.strip()[:1] not in ("'", '"', "[", "{"):
        raise InputError(f"{short(written)}: what follows # would be left out; quote the value")
    if isinstance(value, str):
        value = _number(value)
    if key == "engine" and isinstance(value, str):
        key = "engine.name"
    *parents, last = key.split(".")
    for parent in parents:
        if parent == "engine" and isinstance(values.get(parent), str):
            values[parent] = {"name": values[parent]}
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise InputError(f"{short(written)}: {short(parent)} is a value, not a section")
        values = child
    values[last] = value


def _number(text: str) -> str | float:
    """YAML 1.1 reads 1e-6 as text; a recipe's user means the number."""
    try:
        return float(text) if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


def _check_keys(values: dict[str, Any], model: type[BaseModel], prefix: str) -> None:
    for key, value in values.items():
        if key not in model.model_fields:
            known = [prefix + name for name in model.model_fields]
            raise InputError(unknown_name("recipe key", f"{prefix}{key}", known))
        section = model.model_fields[key].annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            if not isinstance(value, dict):
                raise InputError(
                    f"recipe key {prefix}{key} is a section with keys, not {short(value)}"
                )
            _check_keys(value, section, f"{prefix}{key}.")

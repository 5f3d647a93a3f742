"""Fits a recipe to the policy's size, the device and the data; refuses what cannot fit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from toolrest.data.prompts import TemplateRefusal, render_prompt
from toolrest.data.sample import Sample
from toolrest.data.sources import Skipped, iterate_samples
from toolrest.errors import InputError
from toolrest.estimate.duration import Speed, describe, duration, evaluated_on
from toolrest.estimate.needs import Device, needed
from toolrest.estimate.settings import Lengths, Setting, fitting_changes, work_out
from toolrest.estimate.shape import PUBLISHED, ModelShape
from toolrest.io.objects import given_object
from toolrest.policy.folder import policy_path, whole_policy
from toolrest.policy.weights import load_config
from toolrest.recipe import EMBEDDED, Recipe
from toolrest.recipe.checks import check_recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_T = TypeVar("_T")
_READ, _COUNTED = 20_000, 256
"""Samples of a source that are read, and of all that are counted, evenly spread."""
_CGROUP = Path("/sys/fs/cgroup")
_PROBE_SECONDS = 0.2


def is_sized(recipe: Recipe) -> bool:
    """Whether settings that the recipe leaves out are computed from its policy."""
    return recipe.policy != EMBEDDED and recipe.engine.name == "trl"


def size_recipe(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    device: Device | None = None,
    sources: Sequence[Sequence[Sample]] | None = None,
) -> tuple[Recipe, tuple[Setting, ...]]:
    """The recipe with missing settings computed; see `toolrest.estimate.settings`.

    Args:
        recipe: fitted to the chat template (`fit_recipe`). One that says everything, such as a
            run's own, comes back as it is.
        device: what the run is computed on; None: this machine's.
        sources: all samples of each of the recipe's sources; None: some of them are read.

    Raises:
        InputError: the data cannot be read, or what was worked out does not fit what the recipe
            says.
    """
    if not is_sized(recipe):
        return recipe, ()
    lengths = count_recipe(recipe, tokenizer, sources)
    shape, positions = _shape(recipe, _config(recipe)), find_positions(recipe)
    found, made = work_out(recipe, shape, device or look_at_device(), lengths, positions)
    check_recipe(found)
    return found, made


def refuse_memory(recipe: Recipe, longest_prompt: int | None = None) -> None:
    """Refuse a recipe that does not fit into the free memory, before anything is loaded.

    Args:
        longest_prompt: tokens of the longest prompt that there is; None: the recipe's limit.

    Raises:
        InputError: it does not, with what does.
    """
    if not is_sized(recipe):
        return
    shape = _shape(recipe, _config(recipe))
    if shape is None:
        return
    device = look_at_device()
    peak = needed(recipe, shape, device, longest_prompt).peak * device.sharers(recipe)
    if peak > device.memory:
        mend = memory_mend(recipe, shape, device, longest_prompt)
        raise InputError(
            f"memory: the run needs {peak / 1e9:,.1f} GB, calculated, and {device.name} has "
            f"{device.memory / 1e9:,.1f} GB free; {mend}"
        )


def memory_mend(
    recipe: Recipe, shape: ModelShape, device: Device, longest_prompt: int | None = None
) -> str:
    """Advice on what to change so that a recipe fits into memory."""
    changes = fitting_changes(recipe, shape, device, longest_prompt)
    if changes:
        written = " ".join(
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in changes.items()
        )
        return f"what fits: {written}"
    if device.gpu:
        return (
            "take a smaller policy, or engine.sharding=fsdp with more GPUs (engine.processes); "
            "evaluation.samples=0 where the policy does not fit whole"
        )
    return "take a smaller policy, or a machine with more memory or a GPU"


def say_time(recipe: Recipe, lengths: Lengths, heldout: int | None = None) -> str | None:
    """The run's estimated time in one line; None if the policy's shape is not known.

    Args:
        heldout: samples that are held out; None: as many as the recipe asks for.
    """
    shape = _shape(recipe, _config(recipe)) if is_sized(recipe) else None
    if shape is None or not lengths.prompts:
        return None
    device = look_at_device()
    speed = measure_speed(device)
    if heldout is not None:
        recipe = evaluated_on(recipe, heldout)
    found = duration(recipe, shape, device, speed, *_means(lengths))
    return describe(found, recipe, speed)


def _means(lengths: Lengths) -> tuple[float, float]:
    return (
        sum(lengths.prompts) / len(lengths.prompts),
        sum(lengths.replies) / max(1, len(lengths.replies)),
    )


def count_recipe(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[Sequence[Sample]] | None = None,
) -> Lengths:
    """Lengths in tokens of some prompts and replies of the recipe's data; see `size_recipe`.

    Raises:
        InputError: the data cannot be read.
    """
    if recipe.acts:
        return Lengths()  # known once episodes begin
    if not sources:
        return count_tokens(_some_samples(recipe), tokenizer, recipe)
    places = [(source, at) for source in sources for at in range(min(len(source), _READ))]
    some = [source[at] for source, at in _spread(places)]
    return count_tokens(some, tokenizer, recipe)


def _spread(places: Sequence[_T]) -> Sequence[_T]:
    """At most `_COUNTED` of them, evenly spread."""
    return places[:: max(1, len(places) // _COUNTED)][:_COUNTED]


def count_tokens(
    samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> Lengths:
    """Lengths in tokens of the prompts and replies of some samples, evenly spread."""
    chosen = list(_spread(samples))
    prompts, replies = [], []
    for sample in chosen:
        try:
            prompts.append(len(render_prompt(sample, tokenizer)))
        except TemplateRefusal:
            continue
        reply = sample.demonstration or sample.ground_truth
        replies.append(len(tokenizer(reply, add_special_tokens=False)["input_ids"]) + 1)
    demonstrated = any(sample.demonstration is not None for sample in chosen)
    think = recipe.dialect == "rlla" if recipe.data.think is None else recipe.data.think
    return Lengths(tuple(prompts), tuple(replies), demonstrated or not think)


def _some_samples(recipe: Recipe) -> list[Sample]:
    """The first samples of the recipe's data without bad rows, which training reports; without
    data, some of what is made.
    """
    sources = recipe.sources
    if not sources and recipe.environment.source is not None:
        # single steps that nobody gave: those of the embedded chains
        from toolrest.world.chain_steps import chain_steps
        from toolrest.world.chains import chain_rows
        from toolrest.world.tasks import Split

        chains = chain_rows(Split.TRAIN, recipe.environment.rows, recipe.seed)
        return chain_steps(_spread(chains), recipe.rendering)
    if not sources:
        from toolrest.world.sets import demonstrated_world
        from toolrest.world.tasks import Split

        return demonstrated_world(Split.TRAIN, _COUNTED, recipe.seed, recipe.data.world.knobs)
    rendering = recipe.rendering
    return [
        sample
        for source in sources
        for sample in islice(iterate_samples(source, rendering, recipe.seed, Skipped()), _READ)
    ]


def find_shape(recipe: Recipe) -> ModelShape:
    """The policy's shape, from its config.json or by its name.

    Raises:
        InputError: it is not known, of another build, or its file cannot be read.
    """
    base = _base(recipe)
    if base in PUBLISHED:
        return PUBLISHED[base]
    return ModelShape.from_config(_read_config(base))


def _shape(recipe: Recipe, config: Mapping[str, Any] | None) -> ModelShape | None:
    """The policy's shape as far as it is known here, its download in the hub's cache included."""
    try:
        base = _base(recipe)
        return PUBLISHED[base] if base in PUBLISHED else ModelShape.from_config(config or {})
    except InputError:
        return None


def _base(recipe: Recipe) -> str:
    path = policy_path(recipe)
    return whole_policy(path) if recipe.policy != EMBEDDED else path


def _config(recipe: Recipe) -> Mapping[str, Any] | None:
    """What transformers makes of the policy's config.json, or the file itself; None without one."""
    try:
        return load_config(recipe).get_text_config().to_dict()
    except Exception:  # what broken files end in has no common class; loading says what is wrong
        return None


def _read_config(base: str) -> Mapping[str, Any]:
    file = Path(base) / "config.json"
    if not file.is_file():
        raise InputError(
            f"the size of {base} is not known before it is downloaded; known are "
            f"{', '.join(PUBLISHED)} and folders"
        )
    return given_object(file)


def find_positions(recipe: Recipe) -> int | None:
    """The longest sequence that the recipe's policy takes; None: its config does not say."""
    found = (_config(recipe) or {}).get("max_position_embeddings")
    return found if isinstance(found, int) and found > 1 else None


def look_at_device() -> Device:
    """The device of a run on this machine, and its free memory."""
    import torch

    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        whole = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device(name, float(free), gpu=True, bfloat16=whole)
    return Device("this machine's CPU", free_memory())


def free_memory() -> float:
    """Free bytes of the machine's memory, or of its container."""
    import psutil

    free = float(psutil.virtual_memory().available)
    try:
        limit, used = (
            (_CGROUP / name).read_text(encoding="utf-8").strip()
            for name in ("memory.max", "memory.current")
        )
        return min(free, float(int(limit) - int(used))) if limit != "max" else free
    except (OSError, ValueError):
        return free


def measure_speed(device: Device) -> Speed:
    """The device's speed in operations and bytes a second, measured within a second.

    No random number is drawn: a run's sampling stays as it is.
    """
    import torch

    place = "cuda" if device.gpu else "cpu"
    side = 8192 if device.gpu else 1024
    kind = torch.bfloat16 if device.bfloat16 else torch.float32
    left = torch.ones((side, side), dtype=kind, device=place)
    out = torch.empty_like(left)
    product = _rate(lambda: torch.mm(left, left, out=out), device)
    data = torch.ones(1 << (28 if device.gpu else 24), device=place)
    copy = torch.empty_like(data)
    copied = _rate(lambda: copy.copy_(data), device)
    return Speed(2.0 * side**3 * product, 2.0 * 4 * data.numel() * copied)


def _rate(work: Callable[[], Any], device: Device) -> float:
    """How often a second `work` can run, without the first time."""
    import torch

    def wait() -> None:
        if device.gpu:
            torch.cuda.synchronize()

    work()
    wait()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < _PROBE_SECONDS:
        work()
        wait()
        count += 1
    return count / (time.perf_counter() - started)

"""The policy's files and tokenizer, and whether they fit the recipe's dialect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolrest.core.dialects import Dialect, get_dialect
from toolrest.doctor.check import Check, Status
from toolrest.errors import InputError
from toolrest.estimate import get_gpu
from toolrest.estimate.needs import Device
from toolrest.io.hub import is_cached, is_hub_name, why_absent, why_unreachable
from toolrest.io.objects import given_object
from toolrest.policy.adapters import has_adapters
from toolrest.policy.finite import check_finite_files
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.folder import policy_folder, policy_path, whole_folder
from toolrest.policy.sizing import is_sized, size_recipe
from toolrest.policy.template import PROBE, usual_opening
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_files(recipe: Recipe) -> list[Check]:
    """Whether a policy in a folder is whole; one on the hub is only named.

    All weights are read once, a tensor at a time, for a number that is not finite.

    Raises:
        InputError: the folder is not there, lacks a file or holds what is not read; see
            `policy_folder`.
    """
    path = Path(policy_path(recipe))
    if not path.is_dir():
        return [_check_hub(recipe.policy)]
    torn = _torn_weights(path)
    if torn:
        return [
            Check("policy", Status.PROBLEM, f"{recipe.policy}: {torn}", "copy the files once more")
        ]
    for folder in {path, whole_folder(policy_folder(recipe), recipe)}:
        check_finite_files(folder)
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    kind = "adapters, " if has_adapters(path) else ""
    return [Check("policy", Status.OK, f"{recipe.policy}, {kind}{size / 1e6:,.1f} MB of weights")]


def _check_hub(policy: str) -> Check:
    if is_cached(policy):
        return Check("policy", Status.OK, f"{policy}, in the hub's cache")
    absent = why_absent(policy)
    if absent is None:
        return Check("policy", Status.OK, f"{policy}, on the hub; not downloaded yet")
    return Check("policy", Status.PROBLEM, *absent)


def _torn_weights(folder: Path) -> str | None:
    """What is wrong with the files of weights, or None."""
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    listed = given_object(index).get("weight_map", {}).values() if index.is_file() else ()
    missing = sorted({name for name in listed if not (folder / name).is_file()})
    if missing:
        return f"{', '.join(missing)} of {index.name} missing"
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="np"):
                pass
        except (OSError, SafetensorError) as error:
            return f"{file.name} is torn ({error})"
    return None


def check_tokenizer(recipe: Recipe) -> tuple[PreTrainedTokenizerBase, list[Check]]:
    """The policy's tokenizer, and that it could be loaded.

    Raises:
        InputError: it cannot be; see `load_tokenizer`.
    """
    tokenizer = load_tokenizer(recipe)
    found = f"{type(tokenizer).__name__}, {len(tokenizer):,} tokens"
    return tokenizer, [Check("tokenizer", Status.OK, found)]


def fit(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> tuple[Recipe, list[Check]]:
    """The recipe as training fits it to the chat template, and what the template does.

    The template is had to write a call with a value of every kind, which is read back in the
    dialect; see `toolrest.policy.template.read_back`.

    Returns:
        Problems are what training refuses. A note where prompts say in plain words what the
        template does not, and where the template begins the reply.
    """
    try:
        fitted, notes = fit_recipe(recipe, tokenizer)
    except InputError as error:
        said, _, mend = str(error).partition("; use ")
        return recipe, [Check("dialect", Status.PROBLEM, said, mend or "name the dialect")]
    dialect = get_dialect(fitted.dialect)
    checks = [Check("dialect", Status.NOTE, note) for note in notes]
    style = fitted.data.prompt
    if style == "template":
        found = (
            f"{dialect.name}, as the chat template writes it: a call of {len(PROBE.parameters)} "
            "kinds of values comes back equal"
        )
        checks.append(Check("dialect", Status.OK, found))
    elif not checks:
        found = f"{dialect.name}, asked for by the prompt ({style})"
        checks.append(Check("dialect", Status.OK, found))
    return fitted, [*checks, _opening(fitted, dialect, tokenizer)]


def size(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, gpu: str | None
) -> tuple[Recipe, list[Check]]:
    """The recipe as training fits it to the policy's size, the device and the data; a note of each
    setting that was worked out.

    Args:
        gpu: the GPU to work it out for, by its short name; None: this machine.

    Raises:
        InputError: the data cannot be read, or what was worked out does not fit.
    """
    if not is_sized(recipe):
        return recipe, []
    for source in recipe.sources:
        if is_hub_name(source.path) and why_unreachable() is not None:
            return recipe, []
    device = None
    if gpu is not None:
        wanted = get_gpu(gpu)
        device = Device(wanted.name, wanted.memory, gpu=True, bfloat16=True)
    recipe, settings = size_recipe(recipe, tokenizer, device)
    return recipe, [Check("settings", Status.NOTE, str(each)) for each in settings]


def _opening(recipe: Recipe, dialect: Dialect, tokenizer: PreTrainedTokenizerBase) -> Check:
    """Where the reply begins, and whether right replies have a thought."""
    asked = "a right reply has a thought" if recipe.data.think else "a right reply has no thought"
    opening = usual_opening(tokenizer, dialect)
    if not opening:
        return Check("thought", Status.OK, f"{asked} (data.think); the prompt begins none")
    closed = dialect.thought_marks[1] in opening
    if recipe.data.think and closed:
        return Check(
            "thought",
            Status.WARNING,
            f"the prompt ends with {opening!r}, an empty thought, but data.think=true",
            "data.think=false, or data.template_options.enable_thinking=true",
        )
    kind = "an empty thought that is over" if closed else "a thought that the policy goes on with"
    return Check("thought", Status.OK, f"the prompt ends with {opening!r}: {kind}")

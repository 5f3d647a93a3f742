"""Writes a run's policy into a folder that transformers, vLLM and others load."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.core.dialects import get_dialect
from toolrest.errors import InputError, reason
from toolrest.export.find import Taken
from toolrest.export.results import run_results
from toolrest.io.files import write_whole
from toolrest.io.folders import check_new_folder, new_folder
from toolrest.io.objects import object_or_none, read_object
from toolrest.policy.adapters import CONFIG, WEIGHTS, has_adapters, read_adapters
from toolrest.policy.folder import whole_policy
from toolrest.policy.own_code import leave_what_is_there, needs_own_code
from toolrest.policy.speech import Speech, read_speech
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import (
    load_config,
    load_generation_config,
    load_policy,
    plain_generation,
)
from toolrest.policy.wording import wording_of, write_wording
from toolrest.recipe import Recipe
from toolrest.runs.card_of_run import base_licence, run_card
from toolrest.runs.folder import RunFolder
from toolrest.runs.model_card import CARD, render_card
from toolrest.runs.origins import read_origins

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def export_policy(
    taken: Taken, target: Path, *, adapter: bool, dtype: str, repository: str | None = None
) -> None:
    """Write weights (safetensors), configuration, tokenizer, chat template, generation
    configuration, the policy's own code where it needs some, and model card into a new folder,
    whole or not at all.

    Args:
        target: nothing, or an empty folder.
        adapter: low-rank adapters as they are, instead of merged into their base.
        dtype: of the weights, but for adapters'.
        repository: on the hub, which the card's code then loads.

    Raises:
        InputError: the place is taken, the policy or the run's data.json cannot be read, or it is
            none of adapters.
    """
    check_new_folder(target, "--to")
    if adapter:
        _check_adapter(taken, shared=repository is not None)
    _counts(taken.run)
    recipe = _of_folder(taken)
    tokenizer = load_tokenizer(recipe)
    dialect = get_dialect(recipe.dialect)
    with new_folder(target) as folder:
        if adapter:
            config: Any = load_generation_config(recipe)
            speech = read_speech(tokenizer, dialect, config)
            for name in (CONFIG, WEIGHTS):
                shutil.copyfile(taken.folder / name, folder / name)
        else:
            model = load_policy(recipe, dtype=dtype)
            config = model.generation_config
            speech = read_speech(tokenizer, dialect, config)
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        leave_what_is_there(folder)
        _generation_config(config, speech, tokenizer).save_pretrained(folder)
        write_wording(folder, wording_of(taken.recipe))
        text = _card(taken, tokenizer, speech, target.name, adapter, repository)
        write_whole(folder / CARD, text)


def _of_folder(taken: Taken) -> Recipe:
    """The run's recipe with the checkpoint as the policy, whose template has the options in it."""
    data = taken.recipe.data.model_copy(update={"template_options": {}})
    changed = {"policy": str(taken.folder), "data": data}
    return taken.recipe.model_copy(update=changed)


def _check_adapter(taken: Taken, *, shared: bool) -> None:
    """Refuse adapters that are none, or whose base the others do not have.

    Raises:
        InputError: naming what to take instead.
    """
    if not has_adapters(taken.folder):
        raise InputError(f"--adapter: {taken.folder} is a whole policy; leave it out")
    read_adapters(taken.folder)
    base = Path(whole_policy(str(taken.folder)))
    if base.resolve().is_relative_to(taken.run.path.resolve()):
        raise InputError(
            f"--adapter: these adapters belong on {base}, which lies in the run; use --merged"
        )
    if shared and base.is_dir():
        raise InputError(
            f"--adapter --push: these adapters belong on {base}, a folder of this machine; use "
            "--merged"
        )


def _counts(run: RunFolder) -> Mapping[str, Any]:
    """What the run's data.json holds; nothing where there is none.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read_object(run.data) if run.data.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{run.data}: cannot be read ({reason(error)}); put it back, or take it out, and the "
            "model card says nothing of the rows"
        ) from error


def _generation_config(config: Any, speech: Speech, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The policy's numbers of sampling, with the tokens that ended a reply in the run; without a
    repetition penalty, which no reply of the run was drawn with.
    """
    made = plain_generation(config)
    made.repetition_penalty = None
    made.eos_token_id = list(speech.stop_ids)
    made.pad_token_id = tokenizer.pad_token_id
    return made


def _card(
    taken: Taken,
    tokenizer: PreTrainedTokenizerBase,
    speech: Speech,
    name: str,
    adapter: bool,
    repository: str | None,
) -> str:
    run, recipe = taken.run, taken.recipe
    steps = (
        f"{recipe.warm_start.steps}, supervised"
        if taken.step is None
        else f"{taken.step} of {recipe.max_steps}"
    )
    versions = (object_or_none(run.environment) or {}).get("versions")
    return render_card(
        run_card(
            recipe,
            read_origins(run.data),
            tokenizer,
            speech,
            name=name if repository is None else repository.split("/")[-1],
            steps=steps,
            folder=repository or f"./{name}",
            results=run_results(run, taken.folder, taken.when, taken.step),
            rows=_counts(run),
            licence=base_licence(recipe),
            versions=versions if isinstance(versions, dict) else {},
            adapter=adapter,
            own_code=needs_own_code(
                load_config(_of_folder(taken)), tokenizer, trusted=recipe.trust_remote_code
            ),
        )
    )

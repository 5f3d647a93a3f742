"""The model card of a `ResTTrainer` that belongs to no run: what the trainer itself knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml
from trl.trainer.utils import get_config_model_id

from toolrest.core.weights import Official, Product, Rest, Scheme, Uniform
from toolrest.data.wording import Prompt
from toolrest.runs.example_prompt import prompting
from toolrest.runs.model_card import (
    ModelCard,
    Results,
    citations_of,
    code,
    method_words,
    plain,
    versions_words,
)

if TYPE_CHECKING:
    from toolrest.engines.trl.scoring import ScoringTrainer

_SETTINGS = (
    *("weighting", "weighting_options", "dialect", "credit", "entropy_source", "entropy_decay"),
    *("loss_type", "scale_rewards", "beta", "num_generations", "num_iterations", "temperature"),
    *("max_completion_length", "learning_rate", "lr_scheduler_type", "max_grad_norm"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation"),
    *("max_steps", "num_train_epochs", "seed"),
)
_WORDS = "As the rows that it was trained on: messages, through its chat template."
_EXAMPLE = Prompt([{"role": "user", "content": "Your request, worded as in training."}])


def _name(weighting: str | Scheme) -> str:
    """A built-in scheme's name; the class name of any other."""
    if isinstance(weighting, str):
        return weighting
    if isinstance(weighting, Product):
        return "*".join(map(_name, weighting.schemes))
    name = type(weighting).__name__
    return name.lower() if isinstance(weighting, Rest | Official | Uniform) else name


def trainer_card(trainer: ScoringTrainer, name: str, dataset: str | None) -> ModelCard:
    """The card of a trainer's policy as it is now.

    Args:
        name: of the policy.
        dataset: the data set's, where the caller names one.
    """
    args = trainer.config
    base = get_config_model_id(cast(Any, trainer.model).config) or ""
    local = not base or Path(base).is_dir()
    known = args.to_dict()
    settings = {key: known[key] for key in _SETTINGS}
    scheme = _name(args.weighting)
    steps = f"{trainer.state.global_step} of {trainer.state.max_steps or args.max_steps}"
    limit = args.max_completion_length or 256
    said = code(Path(base).name) if base else "not known"
    folder = f"./{Path(args.output_dir or name).resolve().name}"
    rewards = ", ".join(code(each) for each in trainer.reward_func_names)
    return ModelCard(
        name=name,
        kind=f"in the dialect `{trainer.dialect.name}`",
        base=f"a checkpoint in a folder, {said}"
        if local
        else f"[{plain(base)}](https://huggingface.co/{base})",
        method=f"{method_words(scheme)}; rewards {rewards}",
        steps=steps if trainer.state.max_steps else str(trainer.state.global_step),
        settings=yaml.safe_dump(settings, sort_keys=False),
        results=Results("Not evaluated by toolrest."),
        data=[code(dataset) if dataset else "Not recorded: the script gave its rows itself"],
        citations=citations_of(scheme),
        versions=versions_words(),
        dialect=trainer.dialect.name,
        prompt=prompting(_EXAMPLE, _WORDS, limit, trainer._tokenizer, trainer.speech, folder),
        base_on_hub=None if local else base,
        datasets=[],
    )

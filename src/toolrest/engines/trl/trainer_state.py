"""Checks the training state that transformers reads from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from toolrest.io.files import read_json

_NAME = "trainer_state.json"
_KINDS: dict[str, tuple[type, ...]] = {
    "global_step": (int,),
    "max_steps": (int,),
    "epoch": (int, float, type(None)),
    "train_batch_size": (int,),
    "num_train_epochs": (int, float),
    "num_input_tokens_seen": (int,),
    "total_flos": (int, float),
    "log_history": (list,),
    "stateful_callbacks": (dict,),
    "best_model_checkpoint": (str, type(None)),
}


def check_trainer_state(checkpoint: Path) -> None:
    """Read the state as transformers will.

    Raises:
        ValueError, KeyError, TypeError, OSError: it cannot be read, a part of it is of another
            kind, or it is of another step than the checkpoint's name says.
    """
    values: Any = read_json(checkpoint / _NAME)
    if not isinstance(values, dict):
        raise TypeError(f"{_NAME} is no object")
    for name, kinds in _KINDS.items():
        if not isinstance(values[name], kinds) or isinstance(values[name], bool):
            raise TypeError(f"{_NAME}: {name} is {type(values[name]).__name__}")
    if not all(isinstance(entry, dict) for entry in values["log_history"]):
        raise TypeError(f"{_NAME}: log_history is not a list of objects")
    TrainerState.load_from_json(str(checkpoint / _NAME))
    named = checkpoint.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
    if named.isdigit() and values["global_step"] != int(named):
        raise ValueError(f"{_NAME} is of step {values['global_step']}")

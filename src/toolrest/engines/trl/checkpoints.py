"""TRL's checkpoints: written whole or not at all, and checked before they are loaded."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import is_peft_model
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.trainer.grpo_trainer import GRPOTrainer

from toolrest.engines.trl.trainer_state import check_trainer_state
from toolrest.errors import InputError
from toolrest.io.files import read_json, sync_tree, write_json, write_whole
from toolrest.io.redaction import first_line
from toolrest.policy.adapters import check_weights, has_adapters, read_adapters, read_weights
from toolrest.policy.finite import check_finite_files, tensor_names
from toolrest.policy.safe_folder import check_policy_folder, refuse_inner_adapters
from toolrest.runs.checkpoints import CHECKPOINT_STATE, checkpoint_step
from toolrest.runs.model_card import CARD, ModelCard, render_card


class CheckpointTrainer(GRPOTrainer):
    """`GRPOTrainer` whose checkpoints end with a file that lists the sizes of all others."""

    best_checkpoint: Callable[[], int | None] | None = None
    """Gives the step of a checkpoint that is kept whatever its age, or None: there is none."""

    def extra_state(self) -> dict[str, Any]:
        """The subclass's own state for a checkpoint, as plain values; called in every process."""
        return {}

    def take_state(self, state: dict[str, Any]) -> None:
        """Restore what `extra_state` returned."""

    def model_card(self, name: str, dataset: str | None) -> ModelCard:
        """The card of the policy as it is now.

        Args:
            name: of the policy.
            dataset: the data set's, where the caller names one.
        """
        raise NotImplementedError

    def create_model_card(self, model_name=None, dataset_name=None, tags=None):
        """See TRL's; the card is `model_card`'s, in the output folder."""
        if not self.is_world_process_zero():
            return
        folder = Path(cast(str, self.args.output_dir))
        card = self.model_card(model_name or folder.name, dataset_name)
        more = [tags] if isinstance(tags, str) else tags or []
        every = dict.fromkeys([*card.tags, *self._tag_names, *more])
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CARD, render_card(replace(card, tags=list(every))))

    def _save_checkpoint(self, model, trial):
        """Save as the parent, write the file of sizes, and only then delete older checkpoints."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        own = self.extra_state()
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial))
            folder /= f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            (folder / CHECKPOINT_STATE).unlink(missing_ok=True)
            shutil.copyfile(Path(cast(str, self.args.output_dir)) / CARD, folder / CARD)
            sizes = sync_tree(folder)
            del sizes[CARD]  # a user may well write in it, and the checkpoint stays whole
            write_json(folder / CHECKPOINT_STATE, own | {"files": sizes})
            self._prune(folder, limit)

    def _prune(self, newest: Path, limit: int | None) -> None:
        """Keep the newest `limit` checkpoints, by their steps, and the best one if there is one."""
        if limit is None or limit <= 0:
            return
        found = [
            folder
            for folder in newest.parent.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
            if folder.name.split("-")[1].isdigit()
        ]
        found.sort(key=checkpoint_step)
        best = self.state.best_model_checkpoint
        ours = None if self.best_checkpoint is None else self.best_checkpoint()
        for folder in found[: -max(1, limit)]:
            theirs = best is not None and os.path.realpath(best) == os.path.realpath(folder)
            if not theirs and checkpoint_step(folder) != ours:
                shutil.rmtree(folder)

    @contextmanager
    def _reading(self, checkpoint: object) -> Iterator[None]:
        """In the `with` block, an error of reading the checkpoint becomes an `InputError`."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="torch")
                yield
        except (InputError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # what broken files end in has no common class
            text = first_line(error, 1000)
            if "weights_only" in text:
                text = "damaged, or it holds what runs code when it is read"
            raise InputError(
                f"{checkpoint}: the checkpoint cannot be read ({text}); remove that folder to go "
                "on from the one before"
            ) from error

    def train(self, resume_from_checkpoint=None, *positional, **keywords):
        """The parent's; a checkpoint whose state cannot be read is an `InputError`."""
        if isinstance(resume_from_checkpoint, str):
            with self._reading(resume_from_checkpoint):
                check_trainer_state(Path(resume_from_checkpoint))
        return super().train(resume_from_checkpoint, *positional, **keywords)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        folder = Path(resume_from_checkpoint)
        check_policy_folder(folder)
        refuse_inner_adapters(folder)
        check_finite_files(folder)
        with self._reading(resume_from_checkpoint):
            self._check_adapters(folder)
            if self._is_converted(folder):
                self._load_converted(folder)
            else:
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _is_converted(self, folder: Path) -> bool:
        """Whether the weights were saved by other names than the policy has: transformers holds a
        mixture's experts as one tensor and saves one for each.
        """
        if is_peft_model(self.model) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return False
        own = cast(torch.nn.Module, self.model).state_dict()
        return any(name not in own for names in tensor_names(folder).values() for name in names)

    def _load_converted(self, folder: Path) -> None:
        """Load the weights by the policy's class, which converts their names."""
        model: Any = self.model
        trust_remote_code = False  # the class is here already
        read, loaded = type(model).from_pretrained(
            folder,
            config=model.config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
        )
        if lost := sorted(loaded["missing_keys"]):
            raise ValueError(f"{len(lost)} of the policy's weights are missing, such as {lost[0]}")
        model.load_state_dict(read.state_dict())

    def _check_adapters(self, folder: Path) -> None:
        """Refuse adapters whose names or shapes are not those of this policy's adapters."""
        if not is_peft_model(self.model):
            if has_adapters(folder):
                raise InputError(f"{folder}: adapters, but the recipe trains all parameters")
            return
        from peft import get_peft_model_state_dict

        adapters = read_adapters(folder)
        own = get_peft_model_state_dict(cast(Any, self.model))
        shapes = {name: tuple(value.shape) for name, value in own.items()}
        check_weights(adapters, read_weights(adapters), shapes)

    def _issue_warnings_after_load(self, load_result):
        super()._issue_warnings_after_load(load_result)
        values = cast(torch.nn.Module, self.model).state_dict()
        missing = [name for name in load_result.missing_keys if name in values]
        there = {value.data_ptr() for name, value in values.items() if name not in missing}
        lost = [name for name in missing if values[name].data_ptr() not in there]  # others are tied
        if lost:
            raise ValueError(f"{len(lost)} of the policy's weights are missing, such as {lost[0]}")

    def _load_rng_state(self, checkpoint):
        with self._reading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_scaler(self, checkpoint):
        with self._reading(checkpoint):
            super()._load_scaler(checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        path = Path(checkpoint) / CHECKPOINT_STATE
        if not path.is_file():
            raise InputError(
                f"{checkpoint}: no {CHECKPOINT_STATE}, so the region entropies of that run are "
                "unknown; resume from a checkpoint that ResTTrainer wrote whole"
            )
        with self._reading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            self.take_state(read_json(path))

"""A recipe's warm start, run by TRL's supervised trainer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
)
from trl.trainer.sft_config import SFTConfig

from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.dialects import get_dialect
from toolrest.engines.trl_settings import lora_config, uses_bfloat16
from toolrest.engines.trl_sft import RegionSFTTrainer, region_scales
from toolrest.errors import InputError
from toolrest.ranks import ALONE, Ranks
from toolrest.recipe import Recipe
from toolrest.rollout.speech import Speech, read_speech


class _Progress(TrainerCallback):
    def __init__(self, on_step: Callable[[int], None]) -> None:
        self.on_step = on_step

    def on_step_end(self, args, state, control, **rest):
        self.on_step(state.global_step)


def _row(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, speech: Speech
) -> dict[str, list[int]]:
    """The prompt and what of the demonstration is left to write after it, which alone counts."""
    prompt = render_prompt(sample, tokenizer)
    assert sample.demonstration is not None
    written = speech.dialect.continued(
        sample.demonstration, speech.opening(prompt), sample.declared
    )
    encoded = cast("list[int]", tokenizer(written, add_special_tokens=False)["input_ids"])
    calls = bool(speech.dialect.parse(sample.demonstration, sample.declared).calls)
    answer = speech.ended(encoded, calls=calls)
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


def warm_start_with_trl(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    out: Path,
    on_step: Callable[[int], None],
    ranks: Ranks = ALONE,
) -> None:
    """Teach the model the samples' demonstrations and save it, whole or not at all, in `out`.

    Args:
        samples: each with a demonstration.
        on_step: called after each optimiser step with its number.
        ranks: the processes that train together. Adapters are merged before the model is saved.

    Raises:
        InputError: the processes do not divide the batch.
    """
    warm = recipe.warm_start
    if warm.batch_size % ranks.count:
        raise InputError(
            f"warm_start.batch_size={warm.batch_size} is not a multiple of the {ranks.count} "
            "processes"
        )
    speech = read_speech(tokenizer, get_dialect(recipe.dialect), model.generation_config)
    rows = [_row(sample, tokenizer, speech) for sample in samples]
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = RegionSFTTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            peft_config=lora_config(recipe),
            scales=region_scales(warm.method, warm.scale),
            speech=speech,
            args=SFTConfig(
                output_dir=scratch,
                max_steps=warm.steps,
                per_device_train_batch_size=warm.batch_size // ranks.count,
                learning_rate=warm.learning_rate,
                lr_scheduler_type="constant",
                weight_decay=0.0,
                max_grad_norm=recipe.optimizer.max_grad_norm,
                max_length=None,
                gradient_checkpointing=recipe.optimizer.gradient_checkpointing,
                seed=recipe.seed,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not gpu,
                bf16=uses_bfloat16(recipe),
            ),
            callbacks=[_Progress(on_step)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        part = out.with_name(out.name + ".part")
        if ranks.main:
            shutil.rmtree(part, ignore_errors=True)
        ranks.wait()
        if recipe.lora.rank:
            if ranks.main:
                adapted: Any = trainer.accelerator.unwrap_model(cast(Any, trainer.model))
                adapted.merge_and_unload().save_pretrained(part)
        else:
            trainer.save_model(str(part))
        if ranks.main:
            tokenizer.save_pretrained(part)
            part.replace(out)
        ranks.wait()

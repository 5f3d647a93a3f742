"""A recipe's warm start, run by TRL's supervised trainer."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
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

from toolrest.core.dialects import get_dialect
from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.engines.common.ranks import ALONE, Ranks
from toolrest.engines.trl.settings import lora_config, uses_bfloat16
from toolrest.engines.trl.sft import RegionSFTTrainer, region_scales
from toolrest.errors import InputError
from toolrest.io.files import append_json
from toolrest.policy.speech import Speech, read_speech
from toolrest.policy.weights import leave_router
from toolrest.recipe import Recipe

OnStep = Callable[[int, dict[str, Any]], None]


class _Progress(TrainerCallback):
    """Writes each step's metrics, a line each, and tells the view."""

    def __init__(self, on_step: OnStep, metrics: Path | None, ranks: Ranks) -> None:
        self.on_step = on_step
        self.metrics = metrics
        self.ranks = ranks
        self.started = time.monotonic()

    def on_log(self, args, state, control, logs=None, **rest):
        if not logs or "grad_norm" not in logs or not self.ranks.main:
            return
        record = {"step": state.global_step, "seconds": time.monotonic() - self.started, **logs}
        if self.metrics is not None:
            append_json(self.metrics, record)
        self.on_step(state.global_step, record)


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
    on_step: OnStep,
    ranks: Ranks = ALONE,
    metrics: Path | None = None,
) -> None:
    """Teach the model the samples' demonstrations and save it, whole or not at all, in `out`.

    Args:
        samples: each with a demonstration.
        on_step: called after each optimiser step with its number and its metrics: loss, tokens so
            far, learning rate, gradient norm, and TRL's others.
        ranks: the processes that train together. Adapters are merged before the model is saved.
        metrics: a file that gets the metrics, a line a step; what it has is dropped.

    Raises:
        InputError: the processes do not divide the batch.
    """
    warm = recipe.warm_start
    if warm.batch_size % ranks.count:
        raise InputError(
            f"warm_start.batch_size={warm.batch_size} is not a multiple of the {ranks.count} "
            "processes"
        )
    if metrics is not None and ranks.main:
        metrics.unlink(missing_ok=True)
    share = warm.batch_size // ranks.count
    micro = math.gcd(share, recipe.optimizer.micro_batch or share)
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
                per_device_train_batch_size=micro,
                gradient_accumulation_steps=share // micro,
                learning_rate=warm.learning_rate,
                lr_scheduler_type="constant",
                weight_decay=0.0,
                max_grad_norm=recipe.optimizer.max_grad_norm,
                max_length=None,
                gradient_checkpointing=recipe.optimizer.gradient_checkpointing,
                seed=recipe.seed,
                save_strategy="no",
                logging_steps=1,
                report_to="none",
                disable_tqdm=True,
                use_cpu=not gpu,
                bf16=uses_bfloat16(recipe),
            ),
            callbacks=[_Progress(on_step, metrics, ranks)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        part = out.with_name(out.name + ".part")
        if ranks.main:
            shutil.rmtree(part, ignore_errors=True)
        ranks.wait()
        leave_router(model.config)
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

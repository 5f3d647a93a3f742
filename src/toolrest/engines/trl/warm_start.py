"""A recipe's warm start, run by TRL's supervised trainer."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl.trainer.sft_config import SFTConfig

from toolrest.core.dialects import get_dialect
from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.engines.common.job import Job
from toolrest.engines.trl.parted import loaded
from toolrest.engines.trl.progress import Progress
from toolrest.engines.trl.reporting import PROJECT, reporting
from toolrest.engines.trl.settings import check_precision, lora_config, uses_bfloat16
from toolrest.engines.trl.sft import RegionSFTTrainer, region_scales
from toolrest.errors import InputError
from toolrest.io.files import append_json
from toolrest.policy.speech import Speech, read_speech
from toolrest.policy.weights import leave_router

if TYPE_CHECKING:
    from toolrest.engines.trl.parted import Policy


def _row(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, speech: Speech
) -> dict[str, list[int]]:
    """The prompt, and the rest of the demonstration, on which alone the loss is computed."""
    prompt = render_prompt(sample, tokenizer)
    assert sample.demonstration is not None
    written = speech.dialect.continued(
        sample.demonstration, speech.opening(prompt), sample.declared
    )
    encoded = cast("list[int]", tokenizer(written, add_special_tokens=False)["input_ids"])
    calls = bool(speech.dialect.parse(sample.demonstration, sample.declared).calls)
    answer = speech.ended(encoded, calls=calls)
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


def warm_start_with_trl(job: Job, policy: Policy, samples: Sequence[Sample]) -> None:
    """Train the policy on the samples' demonstrations, and save it to the run's folder of the warm
    start, whole or not at all. Adapters are merged before.

    Each step's metrics are shown and written anew: loss, tokens so far, learning rate, gradient
    norm, and TRL's others. Where no reinforcement learning follows, whose steps would be counted
    from 1 again, they also go where `report_to` says.

    Args:
        policy: a model, or what loads it in parts.
        samples: each with a demonstration.

    Raises:
        InputError: the processes do not divide the batch.
    """
    recipe, ranks, tokenizer = job.recipe, job.ranks, job.tokenizer
    out = job.run.warm_start
    alone = recipe.method != "rl"
    metrics = job.run.metrics if alone else job.run.warm_metrics
    warm = recipe.warm_start
    if warm.batch_size % ranks.count:
        raise InputError(
            f"warm_start.batch_size={warm.batch_size} is not a multiple of the {ranks.count} "
            "processes"
        )
    if ranks.main:
        metrics.unlink(missing_ok=True)
        if len(samples) < warm.batch_size:
            job.view.note(
                f"warm_start.batch_size={warm.batch_size}, and there are {len(samples)} "
                "demonstrations: each step learns from all of them"
            )

    def record(step: int, found: dict[str, Any]) -> None:
        row = {"step": step, **found}
        append_json(metrics, row)
        job.view.step(step, row)

    share = warm.batch_size // ranks.count
    micro = math.gcd(share, recipe.responses_per_forward)
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as scratch, reporting(job.run):
        args = SFTConfig(
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
            report_to=(list(recipe.report_to) if alone else []) or "none",
            project=PROJECT,
            run_name=job.run.path.resolve().name,
            disable_tqdm=True,
            use_cpu=not gpu,
            bf16=uses_bfloat16(recipe),
        )
        check_precision(recipe, args)
        model = loaded(policy)
        speech = read_speech(tokenizer, get_dialect(recipe.dialect), model.generation_config)
        rows = [_row(sample, tokenizer, speech) for sample in samples]
        trainer = RegionSFTTrainer(
            model=model,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(rows),
            peft_config=lora_config(recipe),
            scales=region_scales(warm.method, warm.scale),
            speech=speech,
            packs=recipe.optimizer.prefix_sharing != "off",
            args=args,
            callbacks=[Progress(record)],
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

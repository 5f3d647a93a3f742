"""TRL: supervised learning on demonstrations, the loss scaled region by region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from trl.trainer.sft_trainer import SFTTrainer

from toolrest.core.regions import Region, label_tokens
from toolrest.engines.trl.gradients import CheckedGradients
from toolrest.engines.trl.prefix.attention import PackedForwards
from toolrest.engines.trl.prefix.packing import pack
from toolrest.engines.trl.prefix.support import why_not
from toolrest.errors import InputError
from toolrest.policy.speech import Speech

TOOL_CALL = (Region.FORMAT, Region.NAME, Region.PARAMETERS)
"""The regions of a tool call: what TSFT scales."""


def region_scales(method: str, scale: float) -> dict[Region, float]:
    """The scaled regions of a method: none of `sft`, the calls of `tsft`, the thought of `rsft`."""
    regions = {"sft": (), "tsft": TOOL_CALL, "rsft": (Region.REASONING,)}[method]
    return dict.fromkeys(regions, scale)


class RegionSFTTrainer(CheckedGradients, SFTTrainer):
    """`SFTTrainer` whose loss is sum_t c_t (-log p_t) / (number of tokens), c_t by region.

    Without scales it trains bitwise what `SFTTrainer` trains. The baselines TSFT and RSFT of ResT
    (arXiv 2509.21826, section 5) scale the tokens of calls or of the reasoning.

    Args:
        scales: c of a region; 1 where it has none.
        speech: how the demonstrations' tokens are read.
        packs: whether rows go through the policy in one sequence, without padding, where that is
            exact up to rounding.
    """

    def __init__(
        self,
        *positional: Any,
        scales: Mapping[Region, float],
        speech: Speech,
        packs: bool = False,
        **keywords: Any,
    ) -> None:
        super().__init__(*positional, **keywords)
        self.scales = torch.ones(len(Region))
        for region, scale in scales.items():
            self.scales[region] = scale
        self.speech = speech
        self.packs = packs and why_not(cast(Any, self)) is None
        self._forwards = PackedForwards()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The parent's loss over log-probabilities that are scaled by region."""
        ids = inputs["input_ids"]
        counted = inputs["labels"][:, 1:] != -100
        regions = label_tokens(
            ids[:, 1:],
            counted,
            self.speech.vocabulary,
            self.speech.dialect,
            openings=[
                self.speech.opening(row[: 1 + int(answer.int().argmax())].tolist())
                for row, answer in zip(ids, counted, strict=True)
            ],
        )
        scales = self.scales.to(regions.device)[regions]
        rows = _answers(inputs) if self.packs and cast(Any, self.model).training else None

        def scaled(**forwarded: Any) -> Any:
            if rows is None:
                outputs = model(**forwarded)
                if outputs.log_probs is not None:
                    outputs.log_probs = outputs.log_probs * scales
                return outputs
            prompts, answers = rows
            packed = pack(prompts, answers, max(map(len, answers)), self.accelerator.device)
            outputs = model(**self._forwards.use(self.accelerator.unwrap_model(model), packed))
            log_probs = packed.unpack(outputs.log_probs)
            for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
                own = scales[row, len(prompt) - 1 :][: len(answer)]
                log_probs[row, : len(answer)] *= own
            outputs.log_probs = log_probs
            return outputs

        return super().compute_loss(cast(Any, scaled), inputs, return_outputs, num_items_in_batch)

    def _gradient_not_finite(self, model: torch.nn.Module) -> None:
        raise InputError(
            f"supervised learning: the gradient of step {self.state.global_step + 1} is not finite "
            "(NaN or infinity); lower warm_start.learning_rate, or use "
            "engine.precision=float32"
        )

    def training_step(self, *positional: Any, **keywords: Any) -> torch.Tensor:
        try:
            return super().training_step(*positional, **keywords)
        finally:
            self._forwards.restore()


def _answers(inputs: dict[str, Any]) -> tuple[list[list[int]], list[list[int]]] | None:
    """The prompts and answers of the rows; None if a row's labels are not its whole end."""
    kept = inputs["attention_mask"].bool()
    labelled = inputs["labels"] != -100
    counts = labelled.sum(1).tolist()
    prompts, answers = [], []
    for ids, own, labels, count in zip(inputs["input_ids"], kept, labelled, counts, strict=True):
        row = ids[own].tolist()
        if not 0 < count < len(row) or not bool(labels[own][-count:].all()):
            return None
        prompts.append(row[:-count])
        answers.append(row[-count:])
    return prompts, answers

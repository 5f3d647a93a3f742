"""TRL: supervised learning on demonstrations, the loss scaled region by region."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from trl.trainer.sft_trainer import SFTTrainer

from toolrest.core.regions import Region, label_tokens
from toolrest.policy.speech import Speech

TOOL_CALL = (Region.FORMAT, Region.NAME, Region.PARAMETERS)
"""The regions of a tool call: what TSFT scales."""


def region_scales(method: str, scale: float) -> dict[Region, float]:
    """The scaled regions of a method: none of `sft`, the calls of `tsft`, the thought of `rsft`."""
    regions = {"sft": (), "tsft": TOOL_CALL, "rsft": (Region.REASONING,)}[method]
    return dict.fromkeys(regions, scale)


class RegionSFTTrainer(SFTTrainer):
    """`SFTTrainer` whose loss is sum_t c_t (-log p_t) / (number of tokens), c_t by region.

    Without scales it trains bitwise what `SFTTrainer` trains. The baselines TSFT and RSFT of ResT
    (arXiv 2509.21826, section 5) scale the tokens of calls or of the reasoning.

    Args:
        scales: c of a region; 1 where it has none.
        speech: how the demonstrations' tokens are read.
    """

    def __init__(
        self, *positional: Any, scales: Mapping[Region, float], speech: Speech, **keywords: Any
    ) -> None:
        super().__init__(*positional, **keywords)
        self.scales = torch.ones(len(Region))
        for region, scale in scales.items():
            self.scales[region] = scale
        self.speech = speech

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

        def scaled(**forwarded: Any) -> Any:
            outputs = model(**forwarded)
            if outputs.log_probs is not None:
                outputs.log_probs = outputs.log_probs * scales
            return outputs

        return super().compute_loss(cast(Any, scaled), inputs, return_outputs, num_items_in_batch)

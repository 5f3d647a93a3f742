"""Supervised lessons for the embedded policies: fresh rows, batches of similar lengths, AdamW."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from toolrest.core.dialects import get_dialect
from toolrest.core.regions import Region, label_tokens
from toolrest.core.vocabulary import Vocabulary

REASONING_WEIGHT = 0.3
NOT_LEARNED = -100
"""The label of a token that is given."""
_POOL = 8

Labelled = tuple[list[int], list[int]]
"""Ids of a row, and of each token its id again where it is learned, else `NOT_LEARNED`."""
Write = Callable[[PreTrainedTokenizerFast, int, int, random.Random], Labelled | None]
"""(tokenizer, seed, index, random numbers) -> a row; None: this one is not for the lesson."""


@dataclass(frozen=True)
class Lesson:
    """One part of a warm start."""

    name: str
    """For the report."""
    steps: int
    """Optimiser steps."""
    batch: int
    """Rows a step."""
    learning_rate: float
    """AdamW's, after the warm-up."""
    decays_to: float
    """The share of it that is left at the end; linear."""
    write: Write
    """Writes row number `index`."""
    reasoning_weight: float = REASONING_WEIGHT
    """What a token of the reasoning counts, others being 1."""
    dtype: torch.dtype = torch.bfloat16
    """Arithmetic of the forwards. Where the CPU has none of bfloat16, float32 is several times
    faster."""


def _batches(
    tokenizer: PreTrainedTokenizerFast, lesson: Lesson, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids, labels) [B, T]; fresh tasks in every batch, batches of similar lengths."""
    rng = random.Random(seed)
    index = made = 0
    while made < lesson.steps:
        rows = []
        while len(rows) < lesson.batch * _POOL:
            row = lesson.write(tokenizer, seed, index, rng)
            index += 1
            if row is not None:
                rows.append((torch.tensor(row[0]), torch.tensor(row[1])))
        rows.sort(key=lambda row: len(row[0]))
        pool = [rows[i : i + lesson.batch] for i in range(0, len(rows), lesson.batch)]
        rng.shuffle(pool)
        for batch in pool[: lesson.steps - made]:
            yield (
                pad_sequence([ids for ids, _ in batch], batch_first=True),
                pad_sequence(
                    [labels for _, labels in batch], batch_first=True, padding_value=NOT_LEARNED
                ),
            )
        made += len(pool)


def teach(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    lesson: Lesson,
    *,
    seed: int,
    report: Callable[[str], None],
) -> None:
    """Train on a lesson, the loss on the answers alone, reasoning at a weight of its own."""
    vocabulary, dialect = Vocabulary.from_tokenizer(tokenizer), get_dialect("rlla")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=lesson.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    warmup = min(100, max(1, lesson.steps // 4))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / warmup) * (1 - (1 - lesson.decays_to) * step / lesson.steps)
        ),
    )
    model.train()
    started = time.monotonic()
    for step, (ids, labels) in enumerate(_batches(tokenizer, lesson, seed)):
        ids, labels = ids.to(model.device), labels.to(model.device)
        targets = labels[:, 1:]
        counted = targets != NOT_LEARNED
        regions = label_tokens(ids[:, 1:], counted, vocabulary, dialect)[counted]
        weights = torch.where(regions == Region.REASONING, lesson.reasoning_weight, 1.0)
        half = lesson.dtype == torch.bfloat16
        with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=half):
            hidden = model.model(ids).last_hidden_state[:, :-1]
            logits = model.lm_head(hidden[counted])
        losses = cross_entropy(logits.float(), targets[counted], reduction="none")
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0 or step == lesson.steps - 1:
            elapsed = time.monotonic() - started
            report(f"{lesson.name}: step {step:5d}  loss {loss.item():.4f}  {elapsed:.0f} s")

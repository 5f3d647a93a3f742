"""Writes samples as the parquet file that verl reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from toolrest.core.dialects import Dialect
from toolrest.data.prompts import render_prompt, takes_system, without_system
from toolrest.data.sample import Sample
from toolrest.engines.verl.episodes import HELDOUT, ROW
from toolrest.engines.verl.overrides import DATA_SOURCE
from toolrest.errors import InputError
from toolrest.io.redaction import refuse_keys_of
from toolrest.policy.speech import read_speech

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def write_rows(
    samples: Sequence[Sample],
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    dialect: Dialect,
    *,
    written_out: bool,
) -> None:
    """Write samples in verl's columns: data_source, prompt, reward_model, extra_info. The last has
    what the rewards need besides: what the prompt has written of the reply, and the tools.

    Args:
        dialect: how the policy writes its replies.
        written_out: write each prompt as one text by the chat template, which lists tools; verl is
            then given a template that leaves it as it is.

    Raises:
        InputError: a prompt's text would be read as other tokens than the template gave.
    """
    speech = read_speech(tokenizer, dialect)
    system = takes_system(tokenizer)
    rows: list[dict[str, Any]] = []
    for index, sample in enumerate(samples):
        messages = sample.prompt if system else without_system(sample.prompt)
        prompt = [dict(message) for message in messages]
        if written_out:
            prompt = [{"role": "user", "content": _text(sample, tokenizer)}]
        rows.append(
            {
                "data_source": DATA_SOURCE,
                "prompt": prompt,
                "reward_model": {"style": "rule", "ground_truth": sample.ground_truth},
                "extra_info": {
                    "index": index,
                    "identity": sample.identity,
                    "opening": speech.opening(render_prompt(sample, tokenizer)),
                    "tools": json.dumps(sample.declared) if sample.declared else "",
                },
            }
        )
        refuse_keys_of(rows[-1], f"{path}, from {sample.source}, row {sample.row}")
    _write(rows, path)


def write_episode_rows(samples: Sequence[Sample], path: Path, *, heldout: bool) -> None:
    """Write the rows of episodes in the same columns: what their `reset` is given is in extra_info,
    as JSON; the prompt, which verl wants, is read by nobody.

    Args:
        heldout: whether their episodes begin alike in every evaluation.
    """
    rows: list[dict[str, Any]] = []
    for index, sample in enumerate(samples):
        given = json.dumps(sample.columns)
        rows.append(
            {
                "data_source": DATA_SOURCE,
                "prompt": [{"role": "user", "content": "episode"}],
                "reward_model": {"style": "rule", "ground_truth": ""},
                "extra_info": {
                    "index": index,
                    "identity": sample.identity,
                    ROW: given,
                    HELDOUT: heldout,
                },
            }
        )
        refuse_keys_of(rows[-1], f"{path}, from {sample.source}, row {sample.row}")
    _write(rows, path)


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def _text(sample: Sample, tokenizer: PreTrainedTokenizerBase) -> str:
    ids = render_prompt(sample, tokenizer)
    text = cast(str, tokenizer.decode(ids, clean_up_tokenization_spaces=False))
    if tokenizer.encode(text, add_special_tokens=False) != ids:
        raise InputError(
            f"{sample.source}, {sample.identity}: the prompt's text has other tokens than the chat "
            "template gave, so verl would show the policy another prompt; use data.prompt=plain"
        )
    return text

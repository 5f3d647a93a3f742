"""Credit by spans, from the sampled ids to the advantage of each token; worked out by hand."""

import pytest
import torch
from datasets import Dataset

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.core.vocabulary import Vocabulary
from toolrest.engines.common.potentials import batch_potentials
from toolrest.engines.common.reward import Asked, ToolReward
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

RLLA = get_dialect("rlla")
TOKENS = [
    b'<think> t </think>\n<tool_call>\n{"name": "',
    *(b"f", b'", "parameters": {"a": ', b"12", b', "b": "', b"x", b'"}}', b"\n</tool_call>"),
]
STAGES = [0, 0, 0, 1, 1, 2, 2, 3]
"""A token that holds the byte that decides, a quote or what follows a number, had its say."""


def test_stages_and_worth_by_hand():
    """Truth f(a=12, b="y"): 6 times 1/4, 2.5/4 and 3/4; masked tokens are at no stage."""
    truth = RLLA.render(thought="", calls=[ToolCall("f", {"a": 12, "b": "y"})], response=None)
    ids = torch.tensor([[*range(8), 0, 0], [*range(3), 7, 7, *range(3, 8)], [7] * 10])
    mask = torch.tensor([[1] * 8 + [0] * 2, [1] * 3 + [0] * 2 + [1] * 5, [1] * 10]).bool()
    found = batch_potentials(
        *(ids, mask, [Asked(truth)] * 3, ToolReward(schedule="constant")),
        *(Vocabulary.from_table(TOKENS), 0.0),
    )
    assert found.num_decided.tolist() == [
        [*STAGES, 0, 0],
        [*STAGES[:3], 0, 0, *STAGES[3:]],
        [0] * 10,
    ]
    assert found.num_decided.dtype == torch.int64
    assert found.potentials == [pytest.approx([1.5, 3.75, 4.5])] * 2 + [[]]
    assert found.no_call == [-2.0] * 3


HEAD = [(0, "<think>"), (0, " t "), (0, "</think>"), (0, "\n"), (0, "<tool_call>"), (0, "\n")]


def pieces(author):
    """(whether the piece's first byte decides, text); the first token of a piece holds it."""
    return [
        *HEAD,
        *((0, '{"name": "'), (0, "SaveParcel"), (1, '", "parameters": '), (0, '{"room": "')),
        *((0, "M4177"), (1, '", "author": "'), (0, author), (1, '"}'), (0, "}")),
        *((0, "\n"), (0, "</tool_call>"), (0, "<|im_end|>")),
    ]


@pytest.mark.stored_numbers
def test_the_engine_credits_tokens_with_what_was_undecided(tmp_path, embedded_tokenizer):
    """Two responses to one prompt, the right call and one with a wrong author.

    R is 4 and 2.5, what a plain reply earns -2. Locked in are 1.5, 3.75 and 6, or 4.5 in the end.
    G(3) = 0 of both; with a discount of 1/2 G(2) = 2.25 and 0.75, G(1) = 3.375 and 2.625,
    G(0) = 3.1875 and 2.8125. The advantages are plus and minus half of the difference.
    """
    credit = [0.1875, 0.375, 0.75, 0.0]
    rows, num_decided = [], []
    for author in ("Losros", "Pengur"):
        rows.append([])
        num_decided.append([])
        stage = 0
        for decides, text in pieces(author):
            for ids in embedded_tokenizer(text)["input_ids"]:
                rows[-1].append(ids)
                num_decided[-1].append(stage)
                stage, decides = stage + decides, 0
    truth = RLLA.render(
        thought="",
        calls=[ToolCall("SaveParcel", {"room": "M4177", "author": "Losros"})],
        response=None,
    )
    kept = []

    class Spy(ResTTrainer):
        def _compute_loss(self, model, inputs):
            kept.append(inputs)
            return super()._compute_loss(model, inputs)

    def rollout(prompts, trainer):
        prompt_ids = [embedded_tokenizer(prompt)["input_ids"] for prompt in prompts]
        return {"prompt_ids": prompt_ids, "completion_ids": rows, "logprobs": None}

    Spy(
        model=load_policy(Recipe()),
        processing_class=embedded_tokenizer,
        reward_funcs=[ToolReward(schedule="constant")],
        train_dataset=Dataset.from_list([{"prompt": "Save it.", "ground_truth": truth}] * 2),
        rollout_func=rollout,
        args=ResTConfig(
            output_dir=str(tmp_path),
            weighting="uniform",
            credit="spans",
            credit_discount=0.5,
            scale_rewards="none",
            per_device_train_batch_size=2,
            num_generations=2,
            max_completion_length=96,
            max_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
    ).train()
    [batch] = kept
    found = dict(
        zip(map(tuple, batch["completion_ids"].tolist()), batch["advantages"], strict=True)
    )
    assert set(num_decided[0]) == {0, 1, 2, 3}
    for sign, ids, at in zip((1, -1), rows, num_decided, strict=True):
        expected = torch.tensor([sign * credit[stage] for stage in at])
        kept_row = next(v for k, v in found.items() if list(k[: len(ids)]) == ids)
        torch.testing.assert_close(kept_row[: len(ids)], expected, rtol=1e-5, atol=1e-6)

"""What the trainer takes for the policy's reply: after what the prompt has begun, its own ids."""

import pytest
from datasets import Dataset
from trl_settings import settings

from toolrest.core.dialects import ParseStatus, get_dialect
from toolrest.core.regions import Region
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.weights import load_policy
from toolrest.recipe import Recipe

TRUTH = get_dialect("rlla").render(thought="", calls=(), response="Hello!")
THINKS = "{% if add_generation_prompt %}<think>\n{% endif %}"
"""Where a prompt's message says `think`, the template begins the thought."""


def train(folder, replies, prompts, template_end="", env_mask=None, **more):
    """One generation of two prompts with two given replies each; its `RolloutBatch`."""
    tokenizer = load_tokenizer(Recipe())
    tokenizer.chat_template = str(tokenizer.chat_template) + template_end
    rows = [
        {"prompt": [{"role": "user", "content": text}], "ground_truth": TRUTH} for text in prompts
    ]
    batches = []

    def rollout(messages, trainer):
        ids = [
            tokenizer.apply_chat_template(each, add_generation_prompt=True)["input_ids"]
            for each in messages
        ]
        said = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in replies]
        made = {"prompt_ids": ids, "completion_ids": said, "logprobs": None}
        if env_mask is not None:
            made["env_mask"] = [
                [1] * len(tokenizer(mine, add_special_tokens=False)["input_ids"])
                + [0] * len(tokenizer(others, add_special_tokens=False)["input_ids"])
                for mine, others in env_mask
            ]
        return made

    trainer = ResTTrainer(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        reward_funcs=[ToolReward("rlla", "constant")],
        train_dataset=Dataset.from_list(rows),
        args=ResTConfig(**settings(folder, max_steps=1, num_generations=2, **more)),
        rollout_func=rollout,
        on_rollouts=batches.append,
    )
    trainer.train()
    (batch,) = batches
    return batch


def regions(batch, row):
    return {Region(int(r)) for r in batch.regions[row][batch.mask[row]]}


@pytest.mark.parametrize("more", [{}, {"credit": "spans"}])
def test_each_row_is_read_after_its_own_prompt(tmp_path, more):
    """The template begins a thought for one of the prompts alone."""
    begins = (
        "{% if add_generation_prompt and messages[-1]['content'] == 'think' %}<think>\n{% endif %}"
    )
    goes_on = " so. </think>\n<response> Hello! </response>"
    replies = {"think": goes_on, "talk": "<think>" + goes_on}
    order = ["think", "talk"]
    batch = None
    for first in (order, order[::-1]):
        texts = [replies[name] for name in first for _ in range(2)]
        batch = train(tmp_path, texts, first, begins, per_device_train_batch_size=4, **more)
        openings = [row["prompt"][0]["content"] == "think" for row in batch.inputs]
        assert [bool(opening) for opening in batch.openings] == openings
        right = [
            (opening == "<think>\n") == (not text.startswith("<think>"))
            for opening, text in zip(batch.openings, texts, strict=True)
        ]
        for row, fits in enumerate(right):
            found = batch.breakdowns[row]
            assert (found.exact and found.total == 4.0) == fits
            if fits:
                assert Region.OTHER not in regions(batch, row)


def test_an_unclosed_thought_is_reasoning(tmp_path):
    batch = train(
        tmp_path, ["I should think"] * 4, ["a", "b"], THINKS, per_device_train_batch_size=4
    )
    assert batch.openings == ["<think>\n"] * 4
    assert {found.status for found in batch.breakdowns} == {ParseStatus.UNCLOSED}
    assert not any(found.exact for found in batch.breakdowns)
    assert all(regions(batch, row) == {Region.REASONING} for row in range(4))


def test_what_the_environment_writes_earns_nothing(tmp_path):
    """Of the same text, the rewards read what the mask says that the policy wrote."""
    mine = "<think> so. </think>\n<response> Bye! </response>"
    theirs = '<think> so. </think>\n<tool_call>\n{"name": "f", "parameters": {}}\n</tool_call>'
    alone = train(tmp_path, [mine] * 4, ["a", "b"], per_device_train_batch_size=4)
    parts = [(mine, theirs)] * 4
    both = train(
        tmp_path, [mine + theirs] * 4, ["a", "b"], env_mask=parts, per_device_train_batch_size=4
    )
    assert [b.total for b in both.breakdowns] == [b.total for b in alone.breakdowns]
    assert not any(b.over_called for b in both.breakdowns)


@pytest.mark.parametrize("own", [None, {"eos_token_id": 5}])
def test_the_policys_own_ends_end_its_responses(tmp_path, own, monkeypatch):
    """TRL's, and those that the template and the dialect name; who names one means that alone."""
    tokenizer = load_tokenizer(Recipe())
    end = next(t for t in tokenizer.all_special_tokens if t != tokenizer.eos_token)
    monkeypatch.setattr(type(get_dialect("rlla")), "stop_tokens", (end,))
    tokenizer.chat_template = str(tokenizer.chat_template).replace("<|im_end|>", "<think>")
    trainer = ResTTrainer(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        reward_funcs=[ToolReward()],
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": "a"}], "ground_truth": TRUTH}] * 2
        ),
        args=ResTConfig(**settings(tmp_path), generation_kwargs=own),
    )
    special = tokenizer.added_tokens_decoder
    assert all(special[end].special for end in trainer.speech.stop_ids)
    assert trainer.eos_token_ids == list(trainer.speech.stop_ids)
    ends = trainer.eos_token_ids if own is None else 5
    assert trainer.generation_config.eos_token_id == ends
    assert trainer.generation_kwargs["eos_token_id"] == ends

"""What the trainer takes for the policy's reply: after what the prompt has begun, its own ids."""

import numpy as np
import pytest
from datasets import Dataset
from trl_settings import settings

from toolrest.core.dialects import ParseStatus, get_dialect
from toolrest.core.regions import Region
from toolrest.data.prompts import render_prompt
from toolrest.data.sample import Sample
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.rollout import shared_prefix_rollout
from toolrest.engines.trl.rows import training_rows
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.errors import InputError
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


@pytest.mark.slow
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


@pytest.mark.slow
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


SPELT = ["<|im_start|>user\n  two spaces, <|im_end|> as text .", " do n't , is n't"]
"""Texts that a tokenizer reads otherwise than letter by letter."""


@pytest.mark.slow
@pytest.mark.parametrize("rollout", [None, shared_prefix_rollout])
@pytest.mark.parametrize("messages", [False, True])
def test_the_policy_goes_on_from_the_ids_that_the_data_set_has(tmp_path, rollout, messages):
    """Whatever the prompt is as a text, for the sampler that shares prompts and for TRL's."""
    tokenizer = load_tokenizer(Recipe())
    given = {}
    for text in SPELT:
        ids = [i for letter in text for i in tokenizer(letter, add_special_tokens=False).input_ids]
        assert tokenizer(tokenizer.decode(ids)).input_ids != ids
        given[text] = ids
    rows = [
        {
            "prompt": [{"role": "user", "content": text}] if messages else text,
            "prompt_ids": np.array(ids, dtype=np.int32),
            "ground_truth": TRUTH,
        }
        for text, ids in given.items()
    ]
    sampled_from = []

    class Spy(ResTTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            for row, ids, mask in zip(
                inputs, output["prompt_ids"], output["prompt_mask"].bool(), strict=True
            ):
                text = row["prompt"][0]["content"] if messages else row["prompt"]
                sampled_from.append((text, ids[mask].tolist()))
            return output

    Spy(
        model=load_policy(Recipe()),
        processing_class=tokenizer,
        reward_funcs=[ToolReward("rlla", "constant")],
        train_dataset=Dataset.from_list(rows),
        args=ResTConfig(
            **settings(tmp_path, max_steps=1, num_generations=2, per_device_train_batch_size=4)
        ),
        rollout_func=rollout,
    ).train()
    assert {text for text, _ in sampled_from} == set(SPELT)
    assert all(ids == given[text] for text, ids in sampled_from)


@pytest.mark.parametrize("style", ["template", "rlla"])
def test_a_run_samples_from_the_ids_that_its_prompts_are_rendered_to(tmp_path, style):
    """Also where the template lists the tools, with a token that the tokenizer adds itself."""
    tokenizer = load_tokenizer(Recipe())
    tokenizer.chat_template = "{{ bos_token }}" + (
        "{% for tool in tools or [] %}{{ tool.function.name }} <|im_end|>{% endfor %}"
        + str(tokenizer.chat_template)
    )
    tokenizer.bos_token = tokenizer.eos_token
    tool = {"type": "function", "function": {"name": " f ", "parameters": {}}}
    sample = Sample(
        prompt=({"role": "user", "content": "  <think> , ."},),
        ground_truth=TRUTH,
        source="s",
        identity="0",
        tools=(tool,) if style == "template" else None,
    )
    (row,) = training_rows([sample], tokenizer)
    assert row["prompt_ids"] == render_prompt(sample, tokenizer)


def test_an_environment_that_writes_prompts_refuses_ids(tmp_path):
    """It adds to the prompts' messages, which the ids would not have."""
    rows = [
        {"prompt": [{"role": "user", "content": "a"}], "prompt_ids": [1], "ground_truth": TRUTH}
    ]

    class Environment:
        def reset(self, **row):
            return "more"

    with pytest.raises(InputError, match=r"prompt_ids.*environment_factory"):
        ResTTrainer(
            model=load_policy(Recipe()),
            processing_class=load_tokenizer(Recipe()),
            reward_funcs=[ToolReward()],
            train_dataset=Dataset.from_list(rows * 2),
            args=ResTConfig(**settings(tmp_path)),
            environment_factory=Environment,
        )

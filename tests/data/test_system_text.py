"""A chat template that refuses a system message is given its text as the user's beginning."""

import pyarrow.parquet as pq
import pytest
from chat_templates import shipped
from tiny_policies import MISTRAL
from transformers import AutoTokenizer

from toolrest.core.dialects import get_dialect
from toolrest.data.prompts import render_prompt, takes_system, without_system
from toolrest.engines.trl.rows import training_rows
from toolrest.engines.verl.rows import write_rows
from toolrest.policy.folder import policy_path
from toolrest.recipe import Recipe
from toolrest.world.tasks import Split, make_samples

SYSTEM = {"role": "system", "content": "S"}
USER = {"role": "user", "content": "U"}
REPLY = {"role": "assistant", "content": "A"}


def test_the_text_is_the_beginning_of_the_user_s():
    joined = {"role": "user", "content": "S\n\nU"}
    assert without_system([SYSTEM, USER, REPLY]) == [joined, REPLY]
    for left in ([USER, REPLY], [SYSTEM], [SYSTEM, REPLY], []):
        assert without_system(left) == left


@pytest.mark.parametrize(
    ("template", "takes"),
    [
        (shipped("gemma"), False),
        (MISTRAL, False),
        (shipped("gemma3"), True),
        (shipped("qwen3"), True),
        (shipped("llama3"), True),
    ],
)
def test_what_is_trained_on_has_the_instructions_and_the_tools(template, takes, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(policy_path(Recipe()))
    tokenizer.bos_token = tokenizer.eos_token
    tokenizer.chat_template = template
    assert takes_system(tokenizer) == takes
    (sample,) = make_samples(Split.TRAIN, 1)
    assert sample.prompt[0]["role"] == "system"
    text = tokenizer.decode(render_prompt(sample, tokenizer))
    for message in sample.prompt:
        assert message["content"].strip() in text
    (row,) = training_rows([sample], tokenizer)
    assert row["prompt"] == list(sample.prompt)
    assert row["prompt_ids"] == render_prompt(sample, tokenizer)
    path = tmp_path / "verl.parquet"
    write_rows([sample], path, tokenizer, get_dialect("rlla"), written_out=False)
    (written,) = pq.read_table(path).to_pylist()
    ids = tokenizer.apply_chat_template(written["prompt"], add_generation_prompt=True)
    assert ids["input_ids"] == render_prompt(sample, tokenizer)

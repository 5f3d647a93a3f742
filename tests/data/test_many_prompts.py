"""Prompts that are rendered together are those that are rendered one by one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_policies import ARCHITECTURES, tokenizer_of

from toolrest.data import prompts
from toolrest.data.prompts import TemplateRefusal, fit_prompts, render_prompt, render_prompts
from toolrest.data.sample import Sample

TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {}}}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"where": "Rome"}}}
DIALOGUES = {
    "asked": [{"role": "user", "content": "How is Rome?"}],
    "told": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "How?"}],
    "called": [
        {"role": "user", "content": "How is Rome?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "warm"},
    ],
    "broken": [{"role": "assistant", "content": "I begin."}],
    "nothing": [{"role": "user", "content": ""}],
}


def sample(name, tools=None):
    return Sample(
        prompt=tuple(DIALOGUES[name]), ground_truth="", source="s", identity=name, tools=tools
    )


def one_by_one(samples, tokenizer):
    found = []
    for each in samples:
        try:
            found.append(render_prompt(each, tokenizer))
        except TemplateRefusal as refusal:
            found.append(str(refusal))
    return found


def together(samples, tokenizer):
    return [
        str(each) if isinstance(each, TemplateRefusal) else each
        for each in render_prompts(samples, tokenizer)
    ]


@pytest.mark.parametrize("batch", [1, 2, 512])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_template(name, batch, monkeypatch):
    monkeypatch.setattr(prompts, "_BATCH", batch)
    tokenizer = tokenizer_of(name)
    samples = [sample(each, tools) for each in DIALOGUES for tools in (None, (TOOL,))]
    assert together(samples, tokenizer) == one_by_one(samples, tokenizer)
    assert together([], tokenizer) == []


def test_a_template_that_writes_nothing_or_marks_of_its_own():
    tokenizer = tokenizer_of("qwen3")
    for template in ("", "{{ bos_token }}<|im_end|>{{ messages[0].content }}", "{{ nothing.at }}"):
        tokenizer.chat_template = template
        samples = [sample("nothing"), sample("asked"), sample("nothing")]
        assert together(samples, tokenizer) == one_by_one(samples, tokenizer), template


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(codec="utf-8")), max_size=6))
def test_any_text(texts):
    tokenizer = tokenizer_of("qwen3")
    samples = [
        Sample(
            prompt=({"role": "user", "content": text},), ground_truth="", source="s", identity="i"
        )
        for text in texts
    ]
    assert together(samples, tokenizer) == one_by_one(samples, tokenizer)


def test_rows_are_kept_dropped_and_refused_by_their_own_length():
    tokenizer = tokenizer_of("mistral")  # its roles alternate, from the user on
    samples = [sample("asked"), sample("broken"), sample("called"), sample("told")]
    lengths = [len(each) for each in one_by_one([samples[0], samples[3]], tokenizer)]
    fit = fit_prompts(samples, tokenizer, min(lengths))
    assert [name for name, _ in fit.refused][:1] == ["broken"]
    assert len(fit.kept) + len(fit.dropped) + len(fit.refused) == 4
    assert dict(fit.dropped).get("told", lengths[1]) == lengths[1]

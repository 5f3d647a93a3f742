"""Prompts that are rendered together are those that are rendered one by one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_policies import ARCHITECTURES, tokenizer_of

from toolrest.data import measuring, prompts
from toolrest.data.measuring import measure_prompts
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


def counted(samples, tokenizer):
    found = list(measure_prompts(iter(samples), tokenizer))
    assert [each for part, _ in found for each in part] == samples
    return [length for _, lengths in found for length in lengths]


@pytest.mark.parametrize("batch", [1, 2, 512])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_template(name, batch, monkeypatch):
    monkeypatch.setattr(prompts, "_BATCH", batch)
    tokenizer = tokenizer_of(name)
    samples = [sample(each, tools) for each in DIALOGUES for tools in (None, (TOOL,))]
    assert together(samples, tokenizer) == one_by_one(samples, tokenizer)
    assert together([], tokenizer) == []


@pytest.mark.parametrize("batch", [1, 2, 512])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_template_is_counted_as_it_is_rendered(name, batch, monkeypatch):
    """Also where few prompts are in each batch, so that several wait; and after a call that pads
    and cuts, which a tokenizer's backend remembers.
    """
    monkeypatch.setattr(measuring, "BATCH", batch)
    tokenizer = tokenizer_of(name)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    samples = [sample(each, tools) for each in DIALOGUES for tools in (None, (TOOL,))]
    expected = [n if isinstance(n, str) else len(n) for n in one_by_one(samples, tokenizer)]
    tokenizer(["a", "a b"], padding="max_length", max_length=3, truncation=True)
    assert counted(samples, tokenizer) == expected
    assert counted([], tokenizer) == []


def test_a_tokenizer_that_reads_in_its_own_way_is_asked_itself():
    tokenizer = tokenizer_of("qwen3")

    class Own(type(tokenizer)):
        def _encode_plus(self, *arguments, **options):
            found = super()._encode_plus(*arguments, **options)
            found["input_ids"] = [ids[:2] for ids in found["input_ids"]]
            return found

    tokenizer.__class__ = Own
    assert counted([sample("asked"), sample("told")], tokenizer) == [2, 2]


def test_a_template_that_writes_nothing_or_marks_of_its_own():
    tokenizer = tokenizer_of("qwen3")
    for template in ("", "{{ bos_token }}<|im_end|>{{ messages[0].content }}", "{{ nothing.at }}"):
        tokenizer.chat_template = template
        samples = [sample("nothing"), sample("asked"), sample("nothing")]
        expected = one_by_one(samples, tokenizer)
        assert together(samples, tokenizer) == expected, template
        lengths = [each if isinstance(each, str) else len(each) for each in expected]
        assert counted(samples, tokenizer) == lengths, template


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
    fit = fit_prompts(samples, counted(samples, tokenizer), min(lengths))
    assert [name for name, _ in fit.refused][:1] == ["broken"]
    assert len(fit.kept) + len(fit.dropped) + len(fit.refused) == 4
    assert dict(fit.dropped).get("told", lengths[1]) == lengths[1]

"""What stands between turns, by the chat templates that TRL ships."""

from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer

from toolrest.core.dialects import ToolCall, detect_dialect, dialect_names, get_dialect
from toolrest.environments.base import Start
from toolrest.errors import InputError
from toolrest.policy.folder import policy_path
from toolrest.policy.speech import read_speech
from toolrest.policy.template import PROBE, PROBE_TOOL, read_back
from toolrest.recipe import Recipe
from toolrest.rollout.seams import Seams, first_prompt

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
ENDS = (
    *("<|eot_id|>", "<|eom_id|>", "</s>", "<|end|>", "<|endoftext|>", "<end_of_turn>"),
    *("<|return|>", "<｜end▁of▁sentence｜>", "<eos>", "[e~["),
)


@pytest.fixture(scope="module")
def tokenizer():
    """The embedded policy's, with the tokens by which known models end their turns."""
    made = AutoTokenizer.from_pretrained(policy_path(Recipe()))
    dialects = map(get_dialect, dialect_names())
    known = {token for each in dialects for token in each.stop_tokens}
    made.add_special_tokens({"additional_special_tokens": sorted({*ENDS, *known})})
    return made


def seams_of(tokenizer, name, style, dialect=None, **options):
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
    dialect = get_dialect(dialect or detect_dialect(tokenizer.chat_template))
    return Seams(tokenizer, read_speech(tokenizer, dialect), style, **options)


def can_write_calls(name, tokenizer):
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
    trip = read_back(tokenizer, get_dialect("rlla"))
    return trip.written is not None and PROBE.name in trip.written


NAMES = sorted(p.stem for p in TEMPLATES.glob("*.jinja") if not p.stem.endswith("_training"))


@pytest.mark.parametrize("name", NAMES)
def test_results_follow_calls_in_every_template_that_writes_them(name, tokenizer):
    if not can_write_calls(name, tokenizer) or name == "deepseek_r1_distill":
        pytest.skip("the template writes no calls beside an empty content")
    seams = seams_of(tokenizer, name, "template")
    seams.check()
    calls = [ToolCall("find_one", {"city": "Oslo"}), ToolCall("find_two", {})]
    for texts in (["alpha7"], ["alpha7", "beta8"]):
        text = tokenizer.decode(seams.results(calls[: len(texts)], texts, 3))
        places = [text.find(each) for each in texts]
        assert -1 not in places and places == sorted(places)
        assert "Oslo" not in text  # the call is the policy's, and stands before
        assert text.count("alpha7") == 1
    assert "gamma9" in tokenizer.decode(seams.user("gamma9"))


@pytest.mark.parametrize("style", ["template", "plain"])
def test_the_whole_is_the_template_s_own_rendering(style, tokenizer):
    """Prompt, sampled turn and seam of Qwen 2.5 are, token by token, the dialogue rendered."""
    seams = seams_of(tokenizer, "qwen2_5", style, "hermes")
    call = ToolCall("plan_trip", {"city": "Oslo"})
    start = Start(({"role": "user", "content": "Plan."},), (PROBE_TOOL,))
    prompt = first_prompt(start, style, seams.speech)
    if style == "template":
        function = {"name": call.name, "arguments": call.parameters}
        said = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
        answer = {"role": "tool", "name": "plan_trip", "content": "done"}
        turn = '<tool_call>\n{"name": "plan_trip", "arguments": {"city": "Oslo"}}\n</tool_call>'
    else:
        turn = seams.speech.dialect.write(thought=None, calls=[call], response=None).strip()
        said = {"role": "assistant", "content": turn}
        answer = {
            "role": "user",
            "content": 'Tool results:\n{"name": "plan_trip", "result": "done"}',
        }

    def rendered(messages):
        return tokenizer.apply_chat_template(
            messages, tools=prompt.tools, add_generation_prompt=True, return_dict=True
        )["input_ids"]

    whole = rendered([*prompt.messages, said, answer])
    ids = rendered(prompt.messages) + tokenizer(turn + "<|im_end|>")["input_ids"]
    assert ids + seams.results([call], ["done"], 0) == whole


def test_a_long_result_is_cut_in_the_middle_with_a_mark(tokenizer):
    seams = seams_of(tokenizer, "qwen2_5", "plain", "hermes", max_result_tokens=20)
    short = "Book the hotel."
    assert seams.shortened(short) == short
    text = " ".join(f"hotel {number}" for number in range(200))
    cut = seams.shortened(text)
    assert cut.startswith("hotel 0") and cut.endswith("199")
    left_out = len(tokenizer(text)["input_ids"]) - 20
    assert f"[.. {left_out} tokens are left out ..]" in cut
    assert len(tokenizer(cut)["input_ids"]) < 60


def test_a_huge_result_is_cut_without_its_middle_being_tokenised(tokenizer, monkeypatch):
    seams = seams_of(tokenizer, "qwen2_5", "plain", "hermes", max_result_tokens=20)
    read = []
    ids_of = Seams._ids
    monkeypatch.setattr(Seams, "_ids", lambda s, text: read.append(len(text)) or ids_of(s, text))
    text = " ".join(f"hotel {number}" for number in range(700_000))
    cut = seams.shortened(text)
    assert sum(read) < 10_000 < len(text) // 100
    first, mark, last = cut.split("\n")
    assert text.startswith(first) and text.endswith(last)
    assert mark == f"[.. {len(text) - len(first) - len(last)} characters are left out ..]"
    assert len(tokenizer(cut)["input_ids"]) < 60


@pytest.mark.parametrize(
    "text", ["", "<|im_end|>", "日本語 😀", "a\n\nb", '{"a": "\\u0000"}', "x" * 3000]
)
def test_any_result_is_a_result(text, tokenizer):
    seams = seams_of(tokenizer, "qwen2_5", "template", "hermes")
    assert seams.results([ToolCall("find", {})], [text], 0)


def test_a_history_in_one_message_is_refused(tokenizer):
    seams = seams_of(tokenizer, "qwen2_5", "rlla", "rlla")
    with pytest.raises(InputError, match=r"use data\.prompt=plain or"):
        seams.check()


def test_messages_that_list_the_tools_stay(tokenizer):
    seams = seams_of(tokenizer, "qwen2_5", "plain", "rlla")
    messages = ({"role": "system", "content": "Tools: .."}, {"role": "user", "content": "Hi"})
    assert first_prompt(Start(messages), "plain", seams.speech).messages == list(messages)
    made = first_prompt(Start(messages, (PROBE_TOOL,)), "plain", seams.speech).messages
    assert "plan_trip" in made[0]["content"] and made[0]["content"].startswith("Tools: ..")
    assert made[1:] == [messages[1]]

"""What templates do to earlier tokens; TRL carries those of real models."""

from pathlib import Path

import pytest
import trl
from vocabularies import qwen

from toolrest.doctor import tokens
from toolrest.doctor.check import Status
from toolrest.doctor.policy import fit
from toolrest.doctor.template import check_prefix
from toolrest.doctor.tokens import check_end
from toolrest.errors import InputError
from toolrest.recipe import Recipe

TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def recipe(dialect="hermes", **data):
    return Recipe(dialect=dialect, data={"path": "rows.jsonl", **data})


def of_a_hub_policy(given):
    """The embedded policy is spoken to in its own dialect alone."""
    return given.model_copy(update={"policy": "a/policy"})


@pytest.fixture
def tokenizer(monkeypatch):
    """Qwen's vocabulary with a template of choice."""

    def with_template(name_or_text):
        file = TEMPLATES / f"{name_or_text}.jinja"
        text = name_or_text if "{" in name_or_text else file.read_text()
        fast = qwen()
        monkeypatch.setattr(fast, "chat_template", text)
        return fast

    return with_template


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3_instruct_2507", "qwen3_training"])
def test_templates_that_keep_the_tokens(tokenizer, template):
    (check,) = check_prefix(recipe(), tokenizer(template))
    assert (check.status, check.mend) == (Status.OK, "")


@pytest.mark.parametrize(
    ("template", "dialect"), [("qwen3", "hermes"), ("qwen3_5_think", "qwen_xml")]
)
def test_templates_that_drop_earlier_thoughts(tokenizer, template, dialect):
    (check,) = check_prefix(recipe(dialect), tokenizer(template))
    assert check.status is Status.NOTE
    assert "after a next message, 9 tokens are dropped ('<think>\\nI look it up." in check.found
    assert "single steps" in check.mend


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ CONTENT }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_one_that_is_asked_for_plain_words_and_cuts_old_replies(tokenizer):
    cut = CHATML.replace("CONTENT", "m.content if loop.last else m.content[:4]")
    (check,) = check_prefix(recipe(prompt="plain"), tokenizer(cut))
    assert check.status is Status.NOTE and "after a reply" in check.found


def test_one_that_refuses_a_tools_result(tokenizer):
    (check,) = check_prefix(recipe(), tokenizer("{{ raise_exception('no tools here') }}"))
    assert check.status is Status.WARNING
    assert "no tools here" in check.found and "data.prompt=plain" in check.mend


@pytest.mark.parametrize(
    ("template", "given", "status", "words"),
    [
        ("qwen3", recipe(), Status.NOTE, "lets the policy think"),
        ("qwen2_5", recipe(), Status.OK, "a call of 6 kinds of values comes back equal"),
        ("qwen3", recipe("mistral"), Status.NOTE, "writes calls in hermes, not in mistral"),
        ("qwen3", recipe("mistral", prompt="template"), Status.PROBLEM, "not in mistral"),
        ("qwen3", recipe("rlla", prompt="template"), Status.PROBLEM, "not in rlla"),
        ("qwen3", recipe("rlla"), Status.NOTE, "writes calls in hermes, which dialect=auto trains"),
        ("qwen3_5_think", recipe("auto"), Status.OK, "qwen_xml, as the chat template writes it"),
        ("gemma", recipe(), Status.NOTE, "lists no tools, so prompts list tools"),
        ("gemma", recipe(prompt="template"), Status.PROBLEM, "lists no tools"),
        ("gemma", recipe("auto"), Status.PROBLEM, "dialect=auto"),
        ("gemma", recipe(prompt="plain"), Status.OK, "asked for by the prompt (plain)"),
    ],
)
def test_the_templates_dialect_against_the_recipes(tokenizer, template, given, status, words):
    _, (check, *_) = fit(of_a_hub_policy(given), tokenizer(template))
    assert check.status is status and words in check.found
    assert bool(check.mend) == (status is Status.PROBLEM)


QWEN = (TEMPLATES / "qwen2_5.jinja").read_text()


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ('{"name": "', '{"tool": "', "is read as no call"),
        ('", "arguments": ', '", "arguments": [] + ', "is read as no call"),
        ("tool_call.arguments | tojson", "tool_call.arguments | string | tojson", "as no call"),
    ],
)
def test_a_broken_template_is_found(tokenizer, right, wrong, words):
    """Words that stand in it all the same, so that looking for them would find nothing wrong."""
    assert right in QWEN
    broken = tokenizer(QWEN.replace(right, wrong))
    _, (check, *_) = fit(recipe(prompt="template"), broken)
    assert check.status is Status.PROBLEM
    assert words in check.found and "data.prompt=plain" in check.mend
    fitted, (check, *_) = fit(recipe(), broken)
    assert check.status is Status.NOTE and fitted.data.prompt == "plain"


@pytest.mark.parametrize(
    ("template", "data", "status", "words"),
    [
        ("qwen3_5_think", {}, Status.OK, "'<think>\\n': a thought that the policy goes on with"),
        ("qwen3_5_nothink", {}, Status.OK, "an empty thought that is over"),
        ("qwen3_5_nothink", {"think": True}, Status.WARNING, "but data.think=true"),
        ("qwen3_instruct_2507", {}, Status.OK, "a right reply has no thought"),
    ],
)
def test_where_the_reply_begins_is_said(tokenizer, template, data, status, words):
    _, checks = fit(of_a_hub_policy(recipe("auto", **data)), tokenizer(template))
    assert checks[-1].name == "thought" and checks[-1].status is status
    assert words in checks[-1].found


def test_the_end_of_a_turn(tokenizer):
    fast = tokenizer(CHATML.replace("CONTENT", "m.content"))
    (check,) = check_end(recipe(), fast)
    assert check.status is Status.OK and check.found.startswith("<|im_end|>,")
    other = tokenizer("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}")
    (check,) = check_end(recipe(), other)
    assert check.status is Status.OK, "a special token that the template writes ends a response"
    assert check.found.startswith("<|im_end|>, ") and ", <|end|>," in check.found
    plain = tokenizer("{% for m in messages %}{{ m.content }}STOP{% endfor %}")
    (check,) = check_end(recipe(), plain)
    assert check.status is Status.WARNING and "'STOP'" in check.found
    none = tokenizer("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert check_end(recipe(), none)[0].status is Status.NOTE


def test_no_end_of_a_turn_at_all(tokenizer, monkeypatch):
    none = tokenizer("{% for m in messages %}{{ m.content }}{% endfor %}")

    def nothing(*arguments):
        raise InputError("nothing says which token ends a turn")

    monkeypatch.setattr(tokens, "stop_token_ids", nothing)
    (check,) = check_end(recipe(), none)
    assert check.status is Status.PROBLEM and "nothing says which token ends" in check.found

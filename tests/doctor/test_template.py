"""What templates do to earlier tokens; TRL carries those of real models."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import trl
from vocabularies import qwen

from toolrest.doctor.check import Status
from toolrest.doctor.policy import check_dialect
from toolrest.doctor.template import check_prefix
from toolrest.doctor.tokens import check_end
from toolrest.recipe import Recipe

TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def recipe(dialect="hermes", **data):
    return Recipe(dialect=dialect, data={"path": "rows.jsonl", **data})


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


UNKNOWN = "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}" + CHATML


@pytest.mark.parametrize(
    ("template", "given", "status", "words"),
    [
        ("qwen3", recipe(), Status.OK, "as the chat template writes it"),
        ("qwen3", recipe("mistral"), Status.WARNING, "the chat template writes hermes"),
        ("qwen3", recipe("rlla"), Status.OK, "asked for by the prompt"),
        ("glm4moe", recipe(), Status.WARNING, "the chat template writes glm"),
        (UNKNOWN, recipe(), Status.WARNING, "of none that toolrest knows"),
        ("gemma", recipe(), Status.WARNING, "lists no tools"),
        ("gemma", recipe(prompt="plain"), Status.OK, "asked for by the prompt (plain)"),
    ],
)
def test_the_templates_dialect_against_the_recipes(tokenizer, template, given, status, words):
    (check,) = check_dialect(given, tokenizer(template))
    assert check.status is status and words in check.found
    assert bool(check.mend) == (status is Status.WARNING)


def test_the_end_of_a_turn(tokenizer):
    fast = tokenizer(CHATML.replace("CONTENT", "m.content"))
    assert check_end(recipe(), fast)[0].status is Status.OK
    other = tokenizer("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}")
    (check,) = check_end(recipe(), other)
    assert check.status is Status.WARNING and "'<|end|>'" in check.found
    none = tokenizer("{% for m in messages %}{{ m.content }}{% endfor %}")
    assert check_end(recipe(), none)[0].status is Status.NOTE
    assert check_end(recipe(), SimpleNamespace(eos_token_id=None))[0].status is Status.PROBLEM

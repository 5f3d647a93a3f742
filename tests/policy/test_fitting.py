"""Recipes and policies' chat templates: which fit, which are worded plainly, which are refused."""

from pathlib import Path

import pytest
import trl
from transformers import AutoTokenizer

from toolrest.data.prompts import render_chat
from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.policy.fitting import cold_hint, fit_recipe
from toolrest.policy.folder import policy_path
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe, load_recipe

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    found = AutoTokenizer.from_pretrained(policy_path(Recipe()))

    def put(name):
        own = "{" in name
        found.chat_template = name if own else (TEMPLATES / f"{name}.jinja").read_text()
        return found

    return put


V11 = """{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}{% for m in messages %}
{%- if m.tool_calls %}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]
{{- c.function.arguments | tojson }}{% endfor %}{{ eos_token }}
{%- else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"""
"""Calls as Mistral's newer tokenizers write them."""


def recipe(dialect, **data):
    return Recipe(policy="a/policy", dialect=dialect, data={"path": "rows.jsonl", **data})


@pytest.mark.parametrize(
    ("template", "given", "dialect", "style", "think", "noted"),
    [
        ("qwen2_5", recipe("auto"), "hermes", "template", False, None),
        ("qwen2_5", recipe("hermes"), "hermes", "template", False, None),
        ("qwen3", recipe("auto"), "hermes", "template", False, "lets the policy think"),
        ("qwen3", recipe("auto", think=True), "hermes", "template", True, None),
        ("qwen3_5_think", recipe("auto"), "qwen_xml", "template", True, None),
        ("qwen3_5_nothink", recipe("auto"), "qwen_xml", "template", False, None),
        ("nemotron_3_nano", recipe("auto"), "qwen_xml", "template", True, None),
        ("qwen2_5", recipe("rlla"), "rlla", "rlla", True, "dialect=auto trains"),
        ("qwen2_5", recipe("mistral"), "mistral", "plain", False, "in hermes, not in mistral"),
        ("qwen2_5", recipe("mistral", prompt="plain"), "mistral", "plain", False, None),
        (V11, recipe("auto"), "mistral_v11", "template", False, None),
        (V11, recipe("mistral"), "mistral", "plain", False, "in mistral_v11, not in mistral"),
        ("deepseekv3", recipe("deepseek_v3_1"), "deepseek_v3_1", "plain", True, "lists no tools"),
        (CHATML, recipe("hermes"), "hermes", "plain", False, "lists no tools"),
        (CHATML, recipe("rlla"), "rlla", "rlla", True, None),
    ],
)
def test_what_training_makes_of_a_recipe(tokenizer, template, given, dialect, style, think, noted):
    fitted, notes = fit_recipe(given, tokenizer(template))
    assert (fitted.dialect, fitted.data.prompt, fitted.data.think) == (dialect, style, think)
    if noted is None:
        assert not notes
    else:
        (note,) = notes
        assert noted in note
    again, _ = fit_recipe(fitted, tokenizer(template))
    assert again == fitted


@pytest.mark.parametrize(
    ("template", "given", "words"),
    [
        (CHATML, recipe("hermes", prompt="template"), "lists no tools; use data.prompt=plain"),
        ("qwen2_5", recipe("rlla", prompt="template"), "use dialect=hermes or data.prompt=plain"),
        ("qwen2_5", recipe("llama3", prompt="template"), "in hermes, not in llama3"),
        (CHATML, recipe("auto"), "dialect=auto: "),
    ],
)
def test_what_would_train_blind_is_refused(tokenizer, template, given, words):
    with pytest.raises(InputError, match=words):
        fit_recipe(given, tokenizer(template))


def test_auto_is_the_embedded_worlds_own_dialect():
    fitted, notes = fit_recipe(Recipe(dialect="auto"), load_tokenizer(Recipe()))
    assert (fitted.dialect, notes) == ("rlla", [])
    assert load_recipe(None, ["dialect=auto", "data.path=rows.jsonl"]).dialect == "auto"


QUESTION = Prompt([{"role": "user", "content": "Oslo?"}])


@pytest.fixture
def policy(tmp_path):
    """The embedded policy's files with a template of choice."""

    def make(name):
        for file in Path(policy_path(Recipe())).iterdir():
            if file.name != "chat_template.jinja":
                (tmp_path / file.name).symlink_to(file)
        (tmp_path / "chat_template.jinja").write_text((TEMPLATES / f"{name}.jinja").read_text())
        return tmp_path

    return make


@pytest.mark.parametrize("value", ["false", "true"])
def test_template_options_are_what_the_template_gets(policy, value):
    folder = policy("qwen3")
    told = load_recipe(None, [f"policy={folder}", f"data.template_options.enable_thinking={value}"])
    tokenizer = load_tokenizer(told)
    text = tokenizer.decode(render_chat(QUESTION, tokenizer))
    assert text.endswith("<think>\n\n</think>\n\n") == (value == "false")
    by_hand = load_tokenizer(Recipe(policy=str(folder))).apply_chat_template(
        QUESTION.messages, add_generation_prompt=True, enable_thinking=value == "true"
    )
    assert render_chat(QUESTION, tokenizer) == by_hand["input_ids"]


def test_options_go_with_the_checkpoint_and_give_way_to_whoever_says_otherwise(policy, tmp_path):
    told = load_recipe(
        None, [f"policy={policy('qwen3')}", "data.template_options={enable_thinking: false}"]
    )
    load_tokenizer(told).save_pretrained(tmp_path / "saved")
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    closed = "<think>\n\n</think>\n\n"
    messages = QUESTION.messages
    given = {"tokenize": False, "add_generation_prompt": True}
    assert saved.apply_chat_template(messages, **given).endswith(closed)
    thinking = saved.apply_chat_template(messages, **given, enable_thinking=True)
    assert not thinking.endswith(closed)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("{enable_thinkin: false}", "never reads enable_thinkin"),
        ("{messages: 1}", "comes from the data"),
        ('{"a b": 1}', "no name of a template's variable"),
        ("{enable_thinking: [1]}", "template_options"),
    ],
)
def test_options_that_the_template_would_not_see_are_refused(policy, options, words):
    overrides = [f"policy={policy('qwen3')}", f"data.template_options={options}"]
    with pytest.raises(InputError, match=words):
        load_tokenizer(load_recipe(None, overrides))


def test_the_hint_of_a_policy_that_may_not_know_the_dialect_names_what_the_recipe_takes():
    """A warm start is refused with whole episodes, so it is none of the advice there."""
    own = ["policy=a/b", "dialect=hermes", "data.prompt=plain", "data.path=rows.jsonl"]
    acting = ["environment.source=bank.py:Bank"]
    hints = [
        cold_hint(load_recipe(None, own + more))
        for more in ([], acting, [*acting, "environment.train=steps"])
    ]
    advised = [hint.rpartition("(")[2].rstrip(")") for hint in hints]
    assert advised == [
        "warm_start.method=rsft",
        "method=rsft with environment.train=steps",
        "warm_start.method=rsft",
    ]
    load_recipe(None, [*own, *acting, *advised[1].split(" with ")])
    load_recipe(None, [*own, *acting, "environment.train=steps", advised[2]])

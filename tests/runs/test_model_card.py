"""Model cards: text of others stays text, methods are named for what they are."""

import pytest
import yaml

from toolrest.core.weights import Product, Rest, Scheme, Stare, get_scheme
from toolrest.engines.trl.card import _name
from toolrest.recipe import Recipe
from toolrest.runs.card_of_run import base_licence, settings_text
from toolrest.runs.example_prompt import example_prompt
from toolrest.runs.model_card import (
    ModelCard,
    Results,
    citations_of,
    code,
    fenced,
    is_rest,
    method_words,
    plain,
    render_card,
)
from toolrest.world.chain_tasks import make_chain
from toolrest.world.tasks import Split

HOSTILE = "a|b`c`\n## d <b> [e](f) ````"


def card(**changed):
    values = {
        "name": "mine",
        "kind": "k",
        "base": "b",
        "method": "m",
        "steps": "1",
        "settings": "a: 1",
        "results": Results("None."),
        "data": ["d"],
        "citations": ["c"],
        "versions": "v",
    }
    return render_card(ModelCard(**values | changed))


def test_text_of_others_is_no_markdown():
    text = card(name=HOSTILE, settings=HOSTILE, results=Results("r", [(HOSTILE, "1")], ["x"]))
    headings = [line for line in text.splitlines() if line.startswith("#")]
    inside = text.split("`````yaml\n")[1].split("\n`````")[0]
    assert inside == HOSTILE
    outside = text.replace(inside, "")
    assert "<b>" not in outside.replace("\\<b\\>", "") and "\n## d" not in outside
    assert len(headings) == 6
    assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "transformers"


@pytest.mark.parametrize("licence", ["mit", "a: b\nbase_model: x", '"'])
def test_a_licence_stays_one_value_of_the_head(licence):
    assert yaml.safe_load(card(licence=licence).split("---\n")[1])["license"] == licence


@pytest.mark.parametrize("text", ["x", "```", "a ````` b", "`x`"])
def test_no_text_closes_its_fence_or_word(text):
    fence = fenced(text, "").split("\n")[0]
    assert fence not in text
    assert code(text).strip("`").strip() == text.strip("`") or "`" in text
    assert "\n" not in code("a\nb") and "\n" not in plain("a\nb")


@pytest.mark.parametrize(
    ("scheme", "rest", "words"),
    [
        ("rest", True, "trained with ResT"),
        ("official", True, "trained with ResT"),
        ("rest*stare", True, "trained with ResT"),
        ("uniform", False, "weighted alike"),
        ("stare", False, "by the scheme `stare`"),
        ("MyRest", False, "by the scheme `MyRest`"),
    ],
)
def test_a_scheme_is_named_for_what_it_is(scheme, rest, words):
    assert is_rest(scheme) == rest
    assert words in method_words(scheme)
    assert ("2509.21826" in method_words(scheme)) == rest
    assert ("lin2026rest" in citations_of(scheme)[0]) == rest


def test_schemes_as_objects_have_their_names():
    class Rest2(Scheme):
        def weights(self, batch):
            raise AssertionError

    assert _name("rest*stare") == "rest*stare"
    assert _name(Rest()) == "rest"
    assert _name(Product((get_scheme("rest"), Stare()))) == "rest*Stare"
    assert not is_rest(_name(Rest2()))


def test_a_licence_is_a_word_of_the_base_s_card(tmp_path):
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    recipe = Recipe(policy=str(tmp_path))
    assert base_licence(Recipe()) == "apache-2.0"
    assert base_licence(recipe) is None
    for text, licence in (
        ("---\nlicense: mit\n---\n# x", "mit"),
        ("---\nlicense: [mit]\n---\n", None),
        ("---\nlicense: !!python/name:os.system\n---\n", None),
        ("---\n- license\n---\n", None),
        ("license: mit", None),
        ("---\n{\n---\n", None),
        ("---\nlicence: license\n---\n", None),
    ):
        (tmp_path / "README.md").write_text(text)
        assert base_licence(recipe) == licence


@pytest.mark.parametrize("known", ["mit", None, ["mit"]])
def test_of_a_policy_on_the_hub_the_hub_is_asked(monkeypatch, known):
    import huggingface_hub

    class Hub:
        def model_info(self, name, timeout):
            assert name == "owner/name"
            if known is None:
                raise OSError("no network")
            return type("Info", (), {"card_data": {"license": known}})

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert base_licence(Recipe(policy="owner/name")) == ("mit" if known == "mit" else None)


def test_settings_name_files_and_no_folders_of_the_machine():
    text = settings_text({"policy": "/home/me/x", "data": {"sources": [{"path": "/a/b.json"}]}})
    assert yaml.safe_load(text) == {"policy": "x", "data": {"sources": [{"path": "b.json"}]}}


OWN = {"environment": {"source": "play.py:Play"}, "data": {"prompt": "plain"}}
SHOWN = {
    "single tasks": ({}, "one request. It is a small policy", "You can use these tools"),
    "of another policy": ({"policy": "a/b"}, "and one request.", "You can use these tools"),
    "chains": ({"environment": {"source": "world"}}, "on chains of calls", "You can use these"),
    "an environment": (OWN, "in plain words", "You can call tools. Each is described"),
}


@pytest.mark.parametrize(("said", "words", "system"), SHOWN.values(), ids=SHOWN)
def test_the_example_is_worded_as_what_was_trained_on(said, words, system):
    prompt, told = example_prompt(Recipe.model_validate(said))
    assert words in told and prompt.messages[0]["content"].startswith(system)
    assert ("small policy" in told) == ("policy" not in said and said is not OWN)
    chain = list(make_chain(Split.HELDOUT, 0, 0).messages)
    assert (prompt.messages == chain) == ("chains" in told)

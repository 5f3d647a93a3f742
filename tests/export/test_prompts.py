"""An exported folder is prompted as its run was, by chat and by evaluations, token by token."""

import random
from itertools import product
from pathlib import Path

import pytest
from tiny_policies import write_policy

from toolrest.chat.policy import chat_wording, load_chat_policy
from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.decompose import steps, to_samples
from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, UserTurn
from toolrest.data.prompts import render_chat, render_prompt
from toolrest.data.record import Record
from toolrest.evaluate.bfcl.episodes import Speech
from toolrest.evaluate.options import Options
from toolrest.evaluate.settings import asks_for_thought, dialect_and_style, trained_wording
from toolrest.evaluate.target import find_target
from toolrest.export.find import Taken
from toolrest.export.write import export_policy
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.policy.wording import Wording, read_wording, wording_of, write_wording
from toolrest.recipe import Data, Recipe
from toolrest.runs.folder import RunFolder
from toolrest.world.chain_demonstrations import demonstrate_chain
from toolrest.world.chain_steps import chain_dialogue, chain_steps
from toolrest.world.chain_tasks import make_chain
from toolrest.world.chains import chain_rows
from toolrest.world.sets import world_samples
from toolrest.world.tasks import PARAMETERS, TYPES, Split, make_samples, make_task
from toolrest.world.thought_tasks import make_thought_task

CALL = ToolCall("get_news", {"city": "Oslo"})
DIALOGUE = Dialogue(
    (Tool("get_news", "News of a city.", {"type": "object", "properties": {"city": {}}}),),
    (
        UserTurn("What is new in Oslo?"),
        Action((CALL,), None, "I look it up."),
        Observation((("get_news", "Snow."),)),
        Action(response="It snows.", thought="I tell it."),
        UserTurn("And now?"),
        Action((CALL,), None, "Once more."),
    ),
    "You look up news.",
)
VARIED = {
    "prompt": ("rlla", "template", "plain"),
    "thoughts": ("none", "placeholder", "all"),
    "think": (True, False),
    "template_options": ({}, {"enable_thinking": False}),
}
"""Settings of `data` that change a prompt's text."""
NOT_IN_A_PROMPT = {
    *("path", "sources", "thought_sentences", "heldout_fraction", "max_prompt_tokens"),
    "world",
}
"""Which rows there are, which fit, and what is taught of them."""
SETTINGS = [
    {"dialect": dialect, **dict(zip(VARIED, values, strict=True))}
    for dialect in ("hermes", "rlla")
    for values in product(*VARIED.values())
    if (dialect, values[0]) != ("rlla", "template")  # refused: this template writes hermes
]
USUAL = {name: values[0] for name, values in VARIED.items()} | {"prompt": "plain"}
FEW = [
    settings
    for settings in SETTINGS
    if settings["dialect"] == "hermes"
    and sum(settings[name] != usual for name, usual in USUAL.items()) == 1
]
"""One setting after the other is another than the usual one."""


def test_every_setting_of_data_is_varied_or_known_to_leave_prompts_alone():
    assert set(Data.model_fields) == VARIED.keys() | NOT_IN_A_PROMPT


def known_tools(tools):
    """The world's tools as a user of chat gives them."""
    kinds = {"int": "integer"}
    return tuple(
        Tool(
            tool.name,
            tool.describe(),
            {
                "properties": {
                    p: {"type": kinds.get(TYPES[PARAMETERS[p]], TYPES[PARAMETERS[p]])}
                    for p in tool.parameters
                }
            },
        )
        for tool in tools
    )


def demonstrated(row):
    """The right trajectory of a chain that its steps are of."""
    rng = random.Random(f"chain demonstrations/{row['split']}/{row['seed']}/{row['index']}")
    return demonstrate_chain(row, rng)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return write_policy(tmp_path_factory.mktemp("policy") / "tiny", "qwen3")


def run_of(recipe, home):
    """(the run's recipe, its tokenizer, its policy as export takes it)."""
    fitted, _ = fit_recipe(recipe, load_tokenizer(recipe))
    tokenizer = load_tokenizer(fitted)
    checkpoint = home / "run" / "checkpoints" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    for path in Path(recipe.policy).iterdir():
        (checkpoint / path.name).write_bytes(path.read_bytes())
    tokenizer.save_pretrained(checkpoint)
    return fitted, tokenizer, Taken(RunFolder(home / "run"), fitted, checkpoint, None, 1)


def by_evaluation(target, known):
    options = Options(benchmark="bfcl")
    dialect, style = dialect_and_style(target, options)
    think = asks_for_thought(target, options, style)
    thoughts = trained_wording(target, options).thoughts
    return Speech(style, get_dialect(dialect), think, thoughts).prompt(known)


@pytest.mark.slow
@pytest.mark.parametrize("every", [FEW, pytest.param(SETTINGS, marks=pytest.mark.slow)], ids=len)
def test_prompts_of_an_exported_folder_are_those_of_the_run(policy, tmp_path, every):
    texts = set()
    for number, settings in enumerate(every):
        dialect, data = settings["dialect"], {k: v for k, v in settings.items() if k in VARIED}
        recipe = Recipe(policy=str(policy), dialect=dialect, data=Data(path="rows.jsonl", **data))
        home = tmp_path / str(number)
        fitted, tokenizer, taken = run_of(recipe, home)
        samples = to_samples(Record(DIALOGUE), fitted.rendering, "rows", "0")
        expected = [render_prompt(sample, tokenizer) for sample in samples]
        export_policy(taken, home / "out", adapter=False, dtype="float32")
        target = find_target(str(home / "out"))
        loaded = load_chat_policy(target, chat_wording(target))
        histories = [known for known, _ in steps(DIALOGUE)]
        chat = [render_chat(loaded.prompt(known), loaded.tokenizer) for known in histories]
        evaluated = [
            render_chat(by_evaluation(target, each), loaded.tokenizer) for each in histories
        ]
        assert chat == expected and evaluated == expected, settings
        texts.add(tuple(map(tuple, expected)))
    assert len(texts) > len(every) // 4  # settings do change the prompts


@pytest.mark.parametrize("policy_of_the_run", ["embedded", "another"])
def test_a_policy_of_the_embedded_tasks_is_prompted_as_they_are(
    policy, tmp_path, policy_of_the_run
):
    """Whichever policy it was that learned them."""
    from toolrest.policy.folder import policy_path

    name = policy_path(Recipe()) if policy_of_the_run == "embedded" else str(policy)
    _, tokenizer, taken = run_of(Recipe(policy=name), tmp_path)
    export_policy(taken, tmp_path / "out", adapter=False, dtype="float32")
    target = find_target(str(tmp_path / "out"))
    loaded = load_chat_policy(target, chat_wording(target))
    for number, sample in enumerate(make_samples(Split.HELDOUT, 3)):
        task = make_task(Split.HELDOUT, 0, number)
        made = loaded.prompt(Dialogue(known_tools(task.tools), (UserTurn(task.query),)))
        assert render_chat(made, loaded.tokenizer) == render_prompt(sample, tokenizer)


@pytest.mark.parametrize("sentences", [None, 0, 3])
def test_a_policy_of_tasks_with_a_thought_is_asked_for_its_idle_sentences(
    policy, tmp_path, sentences
):
    said = {"policy": str(policy)}
    said |= {"data": {"world": {"tasks": "thoughts", "idle_sentences": sentences}}}
    fitted, tokenizer, taken = run_of(Recipe.model_validate(said), tmp_path)
    export_policy(taken, tmp_path / "out", adapter=False, dtype="float32")
    target = find_target(str(tmp_path / "out"))
    assert read_wording(tmp_path / "out") == wording_of(fitted)
    loaded = load_chat_policy(target, chat_wording(target))
    knobs = fitted.data.world.knobs
    assert knobs is not None
    for number, sample in enumerate(world_samples(Split.HELDOUT, 3, 0, knobs)):
        task = make_thought_task(Split.HELDOUT, 0, number, knobs)
        made = loaded.prompt(Dialogue(known_tools(task.tools), (UserTurn(task.query),)))
        assert render_chat(made, loaded.tokenizer) == render_prompt(sample, tokenizer)


@pytest.mark.parametrize("train", ["steps", "trajectories"])
def test_a_policy_of_the_embedded_chains_is_prompted_as_they_are(policy, tmp_path, train):
    """Each turn after what was said, and benchmarks in the same plain words."""
    said = {"policy": str(policy), "environment": {"source": "world", "train": train}}
    recipe = Recipe.model_validate(said)
    fitted, tokenizer, taken = run_of(recipe, tmp_path)
    export_policy(taken, tmp_path / "out", adapter=False, dtype="float32")
    target = find_target(str(tmp_path / "out"))
    assert read_wording(tmp_path / "out") == wording_of(fitted)
    loaded = load_chat_policy(target, chat_wording(target))
    rows, found = chain_rows(Split.TRAIN, 3), 0
    samples = chain_steps(rows, fitted.rendering)
    for row in rows:
        chain = make_chain(Split.TRAIN, 0, row["index"])
        shown = chain_dialogue(demonstrated(row)).turns
        for at, turn in enumerate(shown):
            if not isinstance(turn, Action):
                continue
            turns = (UserTurn(chain.request), *shown[:at])
            made = loaded.prompt(Dialogue(known_tools(chain.tools), turns))
            expected = render_prompt(samples[found], tokenizer)
            assert render_chat(made, loaded.tokenizer) == expected
            found += 1
    assert found == len(samples) > len(rows) and not loaded.single
    options = Options(benchmark="bfcl")
    assert dialect_and_style(target, options) == ("rlla", "plain")
    assert asks_for_thought(target, options, "plain")


WORDED = {
    "single tasks": ({}, "world"),
    "chains": ({"environment": {"source": "world"}}, "chains"),
    "steps of dialogues beside chains": (
        {"environment": {"source": "world", "train": "steps"}, "data": {"path": "rows.jsonl"}},
        "plain",
    ),
    "an environment of one's own": ({"environment": {"source": "play.py:Play"}}, "plain"),
    "BFCL's dialogues": ({"environment": {"source": "bfcl"}}, "plain"),
    "rows of one's own": ({"data": {"path": "rows.jsonl"}}, "rlla"),
}


@pytest.mark.parametrize(("said", "style"), WORDED.values(), ids=WORDED)
def test_the_wording_is_that_of_what_is_trained_on(said, style):
    recipe = Recipe.model_validate(said)
    fitted, _ = fit_recipe(recipe, load_tokenizer(recipe))
    found = wording_of(fitted)
    assert (found.style, found.single) == (style, style == "world")
    known = fitted.rendering
    assert (found.dialect, found.think, found.thoughts) == ("rlla", known.think, known.thoughts)


@pytest.mark.parametrize("style", ["world", "chains", "template", "plain", "rlla"])
def test_a_wording_is_read_as_it_was_written(tmp_path, style):
    wording = Wording("hermes", style, True, 7, "all")
    write_wording(tmp_path, wording)
    assert read_wording(tmp_path) == wording

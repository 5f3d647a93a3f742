"""Prepared rows are read back, and refused where a run would have worded them otherwise."""

import pytest
from test_formats import XLAM
from test_prepare import HERMES, lines, samples
from tiny_policies import write_policy

from toolrest.data.decompose import Rendering
from toolrest.data.prepare import prepare
from toolrest.data.prepared import settings_of
from toolrest.data.rows import BadRow
from toolrest.data.sources import Read, Source, bad_row
from toolrest.engines.common.run_rows import load_samples
from toolrest.errors import InputError
from toolrest.policy.fitting import fit_recipe
from toolrest.policy.tokenizer import load_tokenizer
from toolrest.recipe import Recipe, changed, load_recipe

THOUGHTFUL = {
    "messages": [
        {"role": "user", "content": "Hi. Is it warm in Oslo?"},
        {"role": "assistant", "content": "Hello.", "reasoning_content": "A greeting."},
        {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": "No.", "reasoning_content": "It is March. So no."},
    ],
    "tools": [{"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}],
}
AS_IT_IS = {"prompt": [{"role": "user", "content": "1 + 1?"}], "ground_truth": "2"}


def prepared(tmp_path, row, rendering):
    output = tmp_path / "out.parquet"
    prepare([Source(lines(tmp_path / "x.jsonl", [row]))], rendering, output, seed=0)
    return output


def without_wording(output):
    """The file as it was written before wordings were kept."""
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(output).drop_columns(["wording"]), output)
    return output


@pytest.mark.parametrize(
    ("made", "wanted", "said", "again", "mend"),
    [
        (
            Rendering("hermes", "template", think=False),
            Rendering("hermes", "plain", think=False),
            *("data.prompt=template", "data.prompt=plain"),
            "or, where the policy's chat template lists tools, set data.prompt=template",
        ),
        (
            Rendering("hermes", "plain", think=False),
            Rendering("hermes", "template", think=True),
            *("data.think=false data.prompt=plain", "data.think=true data.prompt=template"),
            "or set data.think=false data.prompt=plain",
        ),
        (
            Rendering("hermes", "template", "all"),
            Rendering("hermes", "template"),
            *("data.thoughts=all", "data.thoughts=placeholder", "or set data.thoughts=all"),
        ),
        (
            Rendering("rlla", "rlla", "none"),
            Rendering("rlla", "rlla", "placeholder"),
            *("data.thoughts=none", "data.thoughts=placeholder", "or set data.thoughts=none"),
        ),
        (
            Rendering("hermes", "template"),
            Rendering("hermes", "template", thought_sentences=1),
            *("data.thought_sentences=null", "data.thought_sentences=1"),
            "or set data.thought_sentences=null",
        ),
    ],
)
def test_rows_that_were_worded_otherwise_are_refused(tmp_path, made, wanted, said, again, mend):
    output = prepared(tmp_path, THOUGHTFUL, made)
    kept = [sample.worded for sample in samples(output, made)]
    assert kept == [sample.worded for sample in samples(tmp_path / "x.jsonl", made)]
    with pytest.raises(InputError) as refused:
        samples(output, wanted)
    whole = " ".join(settings_of(wanted))
    assert set(again.split()) - {"data.thoughts=placeholder"} <= set(whole.split())
    assert str(refused.value) == (
        f"data out.parquet: prepared with {said}, and this run would word its rows with {again}; "
        "prepare the rows that it was made of again, with toolrest data prepare "
        f"{whole}, {mend}"
    )


STYLES = [("hermes", "template"), ("hermes", "plain"), ("rlla", "rlla"), ("rlla", "template")]
RENDERINGS = [
    Rendering(dialect, style, thoughts, think, sentences)
    for dialect, style in STYLES
    for thoughts in ("none", "placeholder", "all")
    for think in (False, True)
    for sentences in (None, 1)
]


def content(sample):
    return sample.prompt, sample.tools, sample.ground_truth, sample.demonstration


@pytest.mark.parametrize("row", [THOUGHTFUL, XLAM, AS_IT_IS])
def test_what_a_setting_changes_is_refused_and_what_it_does_not_is_read(tmp_path, row):
    """Every rendering against every other of its dialect: a row that is read is the row that would
    have been made.
    """
    source = lines(tmp_path / "s.jsonl", [row])
    for made in RENDERINGS[::5]:
        if row is AS_IT_IS and made.dialect == "rlla":
            continue  # its ground truth is in hermes
        output = prepared(tmp_path, row, made)
        for wanted in RENDERINGS:
            if wanted.dialect != made.dialect:
                continue
            fresh = samples(source, wanted)
            try:
                read = samples(output, wanted)
            except InputError:
                assert list(map(content, fresh)) != list(map(content, samples(source, made)))
                continue
            assert list(map(content, read)) == list(map(content, fresh))


def test_settings_that_change_nothing_of_a_row_are_not_held_against_it(tmp_path):
    """One alone: no earlier thoughts, no thought of its own, a prompt that stands as it is."""
    output = prepared(tmp_path, XLAM, Rendering("hermes", "template", "none", think=False))
    others = Rendering("hermes", "template", "all", think=False, thought_sentences=1)
    assert samples(output, others) == samples(tmp_path / "x.jsonl", others)
    placed = Rendering("hermes", "plain", "placeholder", think=False)
    output = prepared(tmp_path, THOUGHTFUL, placed)
    assert samples(output, Rendering("hermes", "plain", "none", think=False))
    output = prepared(tmp_path, AS_IT_IS, HERMES)
    assert samples(output, placed) == samples(tmp_path / "x.jsonl", placed)


def test_what_no_chat_template_has_settled_is_not_held_against_rows(tmp_path):
    """Nor lost: a file that is prepared of a prepared one keeps its wording."""
    plain = Rendering("hermes", "plain", think=True)
    output = prepared(tmp_path, THOUGHTFUL, plain)
    unsettled = Rendering("hermes", "template", think=False, open=("style", "think"))
    again = tmp_path / "again.parquet"
    manifest = prepare([Source(str(output))], unsettled, again, seed=0)
    assert "open" not in manifest["rendering"]
    assert samples(again, plain) == samples(output, plain)
    with pytest.raises(InputError, match=r"set data\.think=true data\.prompt=plain"):
        samples(again, HERMES)
    assert Recipe(dialect="hermes").rendering.open == ("style", "think")
    settled = changed(Recipe(), {"data.prompt": "plain", "data.think": False})
    assert settled.rendering.open == ()


def test_files_of_before_are_read_where_their_prompts_list_the_tools(tmp_path):
    """Those with tools for the chat template only where it lists them."""
    output = without_wording(prepared(tmp_path, THOUGHTFUL, HERMES))
    assert samples(output, HERMES) == samples(tmp_path / "x.jsonl", HERMES)
    with pytest.raises(InputError, match=r"prepared with data\.prompt=template"):
        samples(output, Rendering("hermes", "plain", think=False))
    plain = Rendering("hermes", "plain", think=False)
    output = without_wording(prepared(tmp_path, THOUGHTFUL, plain))
    assert samples(output, HERMES) == samples(tmp_path / "x.jsonl", plain)


def test_the_settings_of_a_wording_are_all_that_it_takes_to_prepare_it_again():
    for rendering in RENDERINGS:
        told = load_recipe(None, ["data.path=r.jsonl", *settings_of(rendering)])
        assert told.rendering == rendering
    unsettled = Rendering("hermes", "template", think=False, open=("style", "think"))
    assert settings_of(unsettled) == ["dialect=hermes"]
    read = Read(0, [], bad=BadRow("no"))
    assert "r.jsonl dialect=hermes --policy p --output" in bad_row("r.jsonl", read, unsettled, "p")
    assert "r.jsonl --policy p --output" in bad_row("r.jsonl", read, None, "p")
    assert "--policy" not in bad_row("r.jsonl", read, RENDERINGS[0], "p")


@pytest.mark.parametrize("wording", ["[]", "3", "{", '{"tone": "kind"}', '"plain"', "x" * 999])
def test_a_wording_that_is_none_makes_a_bad_row(tmp_path, wording):
    import pyarrow.parquet as pq

    rows = pq.read_table(prepared(tmp_path, XLAM, HERMES)).to_pylist()
    path = lines(tmp_path / "bad.jsonl", [rows[0] | {"wording": wording}])
    with pytest.raises(InputError, match="row 0: wording is ") as refused:
        samples(path, HERMES)
    assert len(str(refused.value)) < 600


def test_a_policy_whose_template_lists_no_tools_is_not_trained_on_prompts_without_them(tmp_path):
    """The fitted recipe words prompts in plain words, with the tools; rows that were prepared
    for a template that lists them have none for this policy.
    """
    policy = tmp_path / "policy"
    write_policy(policy, "smollm2")
    output = prepared(tmp_path, THOUGHTFUL, HERMES)

    def run(*more):
        asked = (f"policy={policy}", f"data.path={output}", "evaluation.samples=0", *more)
        recipe = load_recipe(None, ["dialect=hermes", "rollout.prompts_per_step=2", *asked])
        tokenizer = load_tokenizer(recipe)
        return load_samples(fit_recipe(recipe, tokenizer)[0], tokenizer)

    with pytest.raises(InputError, match=r"again, with toolrest .* data.prompt=plain"):
        run()
    without_wording(output)
    with pytest.raises(InputError, match=r"again, with toolrest .* data.prompt=plain"):
        run()
    prepared(tmp_path, THOUGHTFUL, Rendering("hermes", "plain", think=False))
    assert all('"name": "w"' in sample.prompt[0]["content"] for sample in run().train)

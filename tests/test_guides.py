"""What the guides say of code, keys and figures is so."""

import re
import runpy
from pathlib import Path

import pytest
from printed import blocks

from toolrest import Region
from toolrest.engines.common.guarded_reward import GuardedReward, load_reward_function
from toolrest.recipe import RESUMABLE

ROOT = Path(__file__).parents[1]


def read(page):
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_the_reward_of_the_guide_is_one(tmp_path):
    """By hand: 500 of 2,000 characters cost a quarter, 4,000 no more than 2,000."""
    code = next(b.text for b in blocks(ROOT / "docs" / "own_reward.md") if b.language == "python")
    path = tmp_path / "brevity.py"
    path.write_text(code)
    reward = GuardedReward(load_reward_function(f"{path}:brevity"))
    completions = [[{"role": "assistant", "content": "x" * count}] for count in (0, 500, 4000)]
    assert reward(completions=completions, ground_truth=["", "", ""]) == [0.0, -0.25, -1.0]


def test_the_guide_has_every_key_that_a_resumed_run_may_change():
    table = read("resume.md").split("## What may be changed")[1].split("All else")[0]
    assert sorted(re.findall(r"`([\w.]+)`", table)) == sorted(RESUMABLE)


@pytest.mark.parametrize(
    ("page", "example"),
    [
        ("own_scheme.md", "own_scheme.py"),
        ("own_reward.md", "own_reward.py"),
        ("dialects.md", "own_dialect.py"),
    ],
)
def test_a_guide_includes_the_example_that_is_tested(page, example):
    assert (ROOT / "examples" / example).is_file()
    assert f'```{{.python}}\n--8<-- "examples/{example}"\n```' in read(page)


@pytest.fixture(scope="module")
def figures():
    return runpy.run_path(str(ROOT / "scripts" / "concept_figures.py"))


@pytest.mark.slow
def test_the_figures_of_the_concepts_have_the_numbers_of_the_text(figures):
    one = figures["labelled"]((figures["RIGHT"],))
    count = {region: int((one.regions == region).sum()) for region in Region}
    assert (one.ids.numel(), count[Region.FORMAT] + count[Region.NAME]) == (32, 15)
    assert count[Region.REASONING] == 6
    assert "15 of 32 tokens are format and name, 6 are reasoning" in read("concepts.md")
    assert figures["weights_at"](one, 0.0)[0].mean() == pytest.approx(1.0)


@pytest.mark.slow
def test_credit_in_the_figure_is_as_worked_out_by_hand(figures):
    """Name, room and title decide 1.5, 2.25 and 2.25 of the 6 of correctness; a wrong title 0.75. A
    reply without a call earns -2. Before the title 2.25, 0.75 and 0 are left: 1.25, -0.25 and -1
    about their mean. The deviation is greatest at the start, of 6, 4.5 and 0: 3.1225.
    """
    seen = figures["labelled"]()
    earned, plain, spans = figures["advantages"](seen)
    assert earned == [4.0, 2.5, -2.0]
    value = seen.texts(1).index("Los")
    by_hand = [each / 3.1225 for each in (1.25, -0.25, -1.0)]
    assert spans[:, value].tolist() == pytest.approx(by_hand, abs=1e-4)
    assert plain[:, value].tolist() == pytest.approx(
        [2.5 / 3.1225, 1 / 3.1225, -3.5 / 3.1225], 1e-3
    )
    assert spans[:, 0].tolist() == pytest.approx(plain[:, 0].tolist())
    assert spans[:, -1].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.slow
def test_a_shared_prompt_is_seen_by_every_response_and_they_do_not_see_each_other(figures):
    places = figures["attended"](12, (5, 7, 4))
    assert places.shape == (27, 27)  # 11 of the prompt, then its last token before each response
    assert (places[11:, :11] == 1).all()
    assert (places[16:23, 11:16] == 0).all() and (places[23:, 11:23] == 0).all()
    assert places[22, 16:23].tolist() == [2] * 7


@pytest.mark.slow
def test_the_figures_are_drawn_the_same_each_time(figures, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a", "b"):
        figures["draw_all"](tmp_path / name)
    for name in figures["FIGURES"]:
        first = (tmp_path / "a" / f"{name}.svg").read_bytes()
        assert first == (tmp_path / "b" / f"{name}.svg").read_bytes()
        assert (ROOT / "docs" / "figures" / f"{name}.svg").is_file()

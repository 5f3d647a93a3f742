"""Which of BFCL's dialogues a recipe trains on, and which it is evaluated on as it trains."""

import re
from collections import Counter
from importlib.util import find_spec

import pytest

from toolrest.engines.common.episode_rows import episode_samples, made_rows
from toolrest.environments.adapters.bfcl_rows import bfcl_rows
from toolrest.errors import InputError
from toolrest.recipe import load_recipe

BFCL = "environment.source=bfcl"


def parts(row):
    """(category, number) of a dialogue."""
    return re.fullmatch(r"multi_turn_(\w+)_(\d+)", row["id"]).groups()


def test_no_number_is_in_both_parts_and_every_dialogue_is_in_one():
    train, heldout = bfcl_rows(heldout=False), bfcl_rows(heldout=True)
    assert (len(train), len(heldout)) == (640, 160)
    assert len({row["id"] for row in (*train, *heldout)}) == 800
    assert not {parts(row)[1] for row in train} & {parts(row)[1] for row in heldout}
    for rows in (train, heldout):
        assert set(Counter(parts(row)[0] for row in rows).values()) == {len(rows) // 4}
        first = Counter(parts(row)[0] for row in rows[:40])
        assert set(first.values()) == {10}  # a few of them are of all categories alike


@pytest.mark.skipif(find_spec("bfcl_eval") is None, reason="bfcl-eval is missing")
def test_the_package_has_every_row():
    from toolrest.environments.adapters.bfcl import Simulators

    official = Simulators(BFCL)
    rows = [*bfcl_rows(heldout=False), *bfcl_rows(heldout=True)]
    assert {official.item(row).identity for row in rows} == set(official._items)


def test_a_recipe_s_rows_are_dialogues_whatever_its_seed():
    samples = episode_samples(load_recipe(None, [BFCL, "evaluation.samples=40", "seed=5"]))
    assert [each.columns for each in samples.train] == bfcl_rows(heldout=False)
    assert [each.columns for each in samples.heldout] == bfcl_rows(heldout=True)[:40]
    assert [each.identity for each in samples.heldout] == [
        r["id"] for r in bfcl_rows(heldout=True)[:40]
    ]
    assert made_rows(load_recipe(None, [BFCL])) == 640
    few = load_recipe(None, [BFCL, "environment.rows=7", "evaluation.samples=0"])
    assert len(episode_samples(few).train) == made_rows(few) == 7


def test_more_dialogues_than_there_are_is_refused():
    with pytest.raises(InputError, match="rows=641: 640 of BFCL's dialogues are trained on"):
        episode_samples(load_recipe(None, [BFCL, "environment.rows=641"]))


def test_more_held_out_dialogues_than_there_are_is_refused():
    with pytest.raises(InputError, match="160 of BFCL's dialogues are held out; lower it"):
        episode_samples(load_recipe(None, [BFCL, "evaluation.samples=161"]))

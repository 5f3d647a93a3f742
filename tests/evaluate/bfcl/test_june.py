"""bfcl-eval 2025.6.14, whose data the paper names, beside 2025.8.5; both are BFCL v3."""

import json
from collections import Counter

import pytest
from gold import play_gold
from installed import V3, V3_JUNE
from test_official import NEVER, best

from toolrest.evaluate.bfcl.categories import choose
from toolrest.evaluate.bfcl.episodes import episodes
from toolrest.evaluate.bfcl.official import OfficialBFCL

DIFFER = {
    "irrelevance": 1,
    "live_relevance": 2,
    "parallel_multiple": 1,
    "multi_turn_base": 44,
    "multi_turn_long_context": 41,
    "multi_turn_miss_func": 41,
    "multi_turn_miss_param": 41,
}
"""Items that are not in both with the same question and answer; docs/evaluate.md has the table."""


@pytest.fixture(scope="module")
def june():
    if not V3_JUNE.is_dir():
        pytest.skip(f"bfcl-eval 2025.6.14 is not in {V3_JUNE} (scripts/add_tools.sh puts it there)")
    with OfficialBFCL(folder=V3_JUNE) as found:
        yield found


def test_it_is_the_same_release_with_other_data(june):
    assert (june.version, june.release) == ("2025.6.14", "v3")
    if V3.is_dir():
        with OfficialBFCL(folder=V3) as august:
            assert august.release == "v3" and august.data != june.data


def test_gold_passes_but_where_the_checker_refuses_it(june, speech):
    outcomes = [
        best(episode)
        for category in choose(["single_turn"], "v3")
        for episode in episodes(june, category, speech)
    ]
    assert {o.identity for o in outcomes if not o.correct} == NEVER["v3"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("category", choose(["multi_turn"], "v3"))
def test_gold_passes_every_dialogue_of(june, speech, category):
    found = [play_gold(episode) for episode in episodes(june, category, speech)]
    assert Counter(outcome.correct for outcome in found) == {True: 200}


def rows(folder, part):
    """Every item's line by category."""
    data = folder / "bfcl_eval" / "data" / part
    return {
        path.stem.removeprefix("BFCL_v3_"): {
            found["id"]: found for found in map(json.loads, path.read_text().splitlines())
        }
        for path in data.glob("BFCL_v3_*.json")
    }


def test_how_many_items_differ(june):
    if not V3.is_dir():
        pytest.skip(f"bfcl-eval 2025.8.5 is not in {V3}")
    differ = Counter()
    sides = [(rows(folder, "."), rows(folder, "possible_answer")) for folder in (V3_JUNE, V3)]
    for category in sides[0][0].keys() & sides[1][0].keys():
        items = [
            {
                key: (item, answers.get(category, {}).get(key))
                for key, item in asked[category].items()
            }
            for asked, answers in sides
        ]
        keys = items[0].keys() | items[1].keys()
        differ[category] = sum(items[0].get(key) != items[1].get(key) for key in keys)
    assert {name: count for name, count in differ.items() if count} == DIFFER

"""Rows packed behind their prompts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.engines.trl.prefix.packing import group_rows, pack, split_padded, split_rows

ROWS = st.lists(
    st.tuples(
        st.sampled_from([(7,), (7, 8), (7, 8, 9), (5, 6)]), st.lists(st.integers(0, 9), min_size=1)
    ),
    min_size=1,
    max_size=12,
)


def test_two_groups_by_hand():
    """Prompts [7 8 9] twice and [5], responses [1 2], [3], [4]."""
    packed = pack([[7, 8, 9], [5], [7, 8, 9]], [[1, 2], [4], [3]], 3)
    assert packed.ids.tolist() == [[7, 8, 9, 1, 9, 5]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 2, 0]]
    assert packed.scored.tolist() == [2, 3, 4, 5]
    assert packed.labels.tolist() == [[1, 2, 3, 4]]
    values = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    assert packed.unpack(values).tolist() == [[10, 20, 0], [40, 0, 0], [30, 0, 0]]
    first, second = packed.groups
    assert (first.start, first.prompt, first.lengths, first.end) == (0, 2, (2, 1), 5)
    assert (second.start, second.prompt, second.lengths, second.end) == (5, 0, (1,), 6)
    assert first.mask.tolist() == [[True, True, True, False], [True, True, True, True]]
    assert first.padded.tolist() == [[0, 1], [2, 0]]
    assert first.real.tolist() == [0, 1, 2]


def test_a_response_without_tokens_is_there_and_counts_for_nothing():
    packed = pack([[7, 8], [7, 8], [5]], [[], [1], []], 2)
    assert packed.ids.tolist() == [[7, 8, 8, 5]]
    assert packed.labels.numel() == packed.scored.numel() == 3
    assert packed.unpack(torch.ones(1, 3)).tolist() == [[0, 0], [1, 0], [0, 0]]


@given(ROWS)
def test_each_row_reads_its_own_tokens(rows):
    """Every response token's prediction stands behind the row's tokens before it, in place."""
    prompts, responses = [list(p) for p, _ in rows], [r for _, r in rows]
    width = max(map(len, responses))
    packed = pack(prompts, responses, width)
    assert packed.counted.sum(1).tolist() == [len(r) for r in responses]
    predicted = packed.unpack(packed.labels.double())
    before = packed.unpack(packed.ids[:, packed.scored].double())
    places = packed.unpack(packed.positions[:, packed.scored].double())
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        whole, count = [*prompt, *response], len(response)
        assert predicted[row, :count].tolist() == response
        assert before[row, :count].tolist() == whole[-count - 1 : -1]
        assert places[row, :count].tolist() == list(range(len(prompt) - 1, len(whole) - 1))
    shared = {tuple(p): len(p) - 1 for p in prompts}
    assert packed.ids.numel() == sum(shared.values()) + sum(map(len, responses))


@given(ROWS, st.integers(1, 40), st.integers(1, 4))
def test_parts_hold_every_row_once_and_keep_to_the_budget(rows, budget, least):
    prompts, responses = [list(p) for p, _ in rows], [r for _, r in rows]
    least = min(least, len(rows))
    for parts, cost in (
        (
            split_rows(prompts, responses, budget, least),
            lambda part: pack(
                [prompts[i] for i in part], [responses[i] for i in part], 99
            ).ids.numel(),
        ),
        (
            split_padded([len(p) + len(r) for p, r in rows], budget, least),
            lambda part: max(len(prompts[i]) + len(responses[i]) for i in part) * len(part),
        ),
    ):
        assert sorted(row for part in parts for row in part) == list(range(len(rows)))
        assert len(parts) >= least
        assert all(len(part) == 1 or cost(part) <= budget for part in parts)


@pytest.mark.parametrize(("budget", "parts"), [(99, 1), (20, 2), (12, 4), (1, 8)])
def test_groups_stay_whole_where_they_fit(budget, parts):
    """Two groups of 4 rows: 2 shared tokens and 4 responses of 4: 18 tokens each."""
    prompts = [[1, 2, 3]] * 4 + [[4, 5, 6]] * 4
    found = split_rows(prompts, [[9] * 4] * 8, budget)
    assert len(found) == parts
    assert group_rows(prompts) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    if budget == 20:
        assert found == group_rows(prompts)

"""Groups that branch: what is shared, and what is sampled anew."""

import pytest
import torch

from toolrest.rollout.branching import Branching, choose_fork, sample_branched
from toolrest.rollout.draw import Draw
from toolrest.rollout.shared_prefix import sample

PROMPTS = [[5, 6, 7], [8, 9, 10, 11]]
MOST = 12


def how(branches=2, group=4):
    return Branching(group, branches, MOST, end_ids=[3], draw=Draw())


def numbers(how, seed=0):
    generator = torch.Generator().manual_seed(seed)
    families = len(PROMPTS) * how.trunks
    shapes = (families, families, families * (how.branches - 1))
    return tuple(
        torch.rand(rows, MOST, dtype=torch.float64, generator=generator) for rows in shapes
    )


def test_a_fork_is_drawn_start_by_start():
    statistics = torch.tensor([[0, 0, 1.0], [0, 0, 0.25], [0, 0, 0.04], [0, 0, 0.0]])
    uniforms = torch.tensor([0.5, 0.6, 0.19, 0.0], dtype=torch.float64)
    assert choose_fork([1, 2, 3], statistics, uniforms) == 2  # .6 > .5; .19 < .2
    assert choose_fork([0, 2], statistics, uniforms) == 0
    assert choose_fork([1, 3], statistics, uniforms) is None
    assert choose_fork([], statistics, uniforms) is None


@pytest.mark.parametrize(("branches", "group"), [(2, 4), (3, 6)])
def test_siblings_share_what_is_before_the_fork_and_no_more(embedded_model, branches, group):
    asked = how(branches, group)
    uniforms = numbers(asked)
    at = 4
    uniforms[1][:] = 0.0  # forked wherever a second draw could differ

    found = sample_branched(embedded_model, PROMPTS, asked, lambda p, ids: [at], uniforms)
    trunks = sample(
        embedded_model,
        PROMPTS,
        group_size=asked.trunks,
        max_tokens=MOST,
        end_ids=[3],
        draw=Draw(),
        uniforms=uniforms[0],
    )
    ids = found.sampled.ids
    assert ids[::branches] == trunks.ids and len(ids) == group * len(PROMPTS)
    for row, fork in enumerate(found.forks):
        trunk = ids[row - row % branches]
        assert ids[row][:fork] == trunk[:fork] and len(ids[row]) <= MOST
        assert len(found.sampled.statistics[row]) == len(ids[row])
    assert any(ids[row] != ids[row - row % branches] for row in range(len(ids)))
    for row in range(0, len(ids), branches):  # as if they were sampled after their starts
        if found.forks[row] < len(ids[row]):
            prompt = PROMPTS[row // group] + ids[row][:at]
            first = (row // branches) * (branches - 1)
            alone = sample(
                embedded_model,
                [prompt],
                group_size=branches - 1,
                max_tokens=MOST - at,
                end_ids=[3],
                draw=Draw(),
                uniforms=uniforms[2][first : first + branches - 1],
            )
            assert [each[at:] for each in ids[row + 1 : row + branches]] == alone.ids
            for told, own in zip(
                found.sampled.statistics[row + 1 :], alone.statistics, strict=False
            ):
                assert torch.allclose(told[at:], own, atol=1e-4)


def test_a_trunk_that_is_not_forked_has_copies(embedded_model):
    asked = how()
    found = sample_branched(embedded_model, PROMPTS, asked, lambda p, ids: [], numbers(asked))
    ids = found.sampled.ids
    assert ids[::2] == ids[1::2] and found.forks == [len(each) for each in ids]
    for one, other in zip(
        found.sampled.statistics[::2], found.sampled.statistics[1::2], strict=True
    ):
        assert torch.equal(one, other)


def test_prompts_are_told_apart_by_their_index(embedded_model):
    asked, seen = how(), []

    def starts(prompt, ids):
        seen.append((prompt, ids))
        return []

    found = sample_branched(embedded_model, PROMPTS, asked, starts, numbers(asked))
    assert [prompt for prompt, _ in seen] == [0, 0, 1, 1]
    assert [ids for _, ids in seen] == found.sampled.ids[::2]

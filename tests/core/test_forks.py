"""Forks: where, what tokens are credited with by hand, and that the gradient is unbiased."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core.dialects import get_dialect
from toolrest.core.forks import Families, decision_starts, fork_advantages

RLLA = get_dialect("rlla")
TEXT = (
    '<think>say: "a"</think>\n<tool_call>\n{"name": "pay", "parameters": {"to": "Ann", "sum": 12, '
    '"notes": {"a": 1}, "all": ["b"]}}\n{"name": "see", "parameters": {}}\n</tool_call>'
)


def cut(text, *marks):
    """The text in tokens that end where a mark does."""
    edges = sorted({0, len(text), *(text.index(mark) + len(mark) for mark in marks)})
    return [text[a:b].encode() for a, b in itertools.pairwise(edges)]


def starts_of(text, *marks):
    tokens = cut(text, *marks)
    offsets = [0, *itertools.accumulate(map(len, tokens))]
    return [offsets[at] for at in decision_starts(tokens, RLLA)]


def test_forks_are_where_names_and_values_begin():
    letters = [letter.encode() for letter in TEXT]
    found = decision_starts(letters, RLLA)
    after = ['call>\n{"name":', '"to":', '"sum":', '"notes":', '"all":', '\n{"name":']
    begins = [TEXT.rindex(mark) + len(mark) for mark in after]
    # a name begins inside its quotes; a value at the first place from which one can be written
    begins[0] += 2
    begins[-1] += 2
    assert found == begins


def test_a_token_that_begins_the_value_too_is_passed_over():
    assert starts_of(TEXT, '{"name": "pay", "parameters": {"to": "A') == []
    assert starts_of(TEXT, '"to": ', '"sum": 1') == [TEXT.index('"Ann"')]
    assert starts_of(TEXT, '"to": "', '"sum": ') == [TEXT.index("Ann"), TEXT.index("12, ")]
    assert starts_of("Pay 12: now") == [] and decision_starts([], RLLA) == []


@given(st.integers(0, len(TEXT)), st.text('a1{}":, <>', max_size=12))
def test_a_start_follows_from_what_was_before_it(at, other):
    """Whatever is written from there on, the starts up to there stay."""
    letters = [letter.encode() for letter in TEXT]
    changed = letters[:at] + [letter.encode() for letter in other]
    mine, theirs = decision_starts(letters, RLLA), decision_starts(changed, RLLA)
    assert [each for each in mine if each < at] == [each for each in theirs if each < at]


def test_by_hand():
    rewards = torch.tensor([4.0, 2.0, 1.0, 1.0])
    forks = torch.tensor([1, 1, 3, 3])  # the second family was never forked: two copies
    found = fork_advantages(rewards, Families(forks, 4, 2), 3, scale="none")
    # times 3/4; before: minus the other family's mean, 1 and 3; after: minus the sibling's
    assert (found / 0.75).tolist() == [
        [3.0, 2.0, 2.0],
        [1.0, -2.0, -2.0],
        [-2.0, -2.0, -2.0],
        [-2.0, -2.0, -2.0],
    ]
    sigma = math.sqrt(2)  # of 4, 2, 1, 1
    scaled = fork_advantages(rewards, Families(forks, 4, 2), 3)
    assert torch.allclose(scaled, found / (sigma + 1e-4))
    assert torch.allclose(
        fork_advantages(rewards, Families(forks, 4, 2), 3, scale=3.0), found / 3.0001
    )


def test_what_is_not_known_counts_for_nothing():
    rewards = torch.tensor([4.0, math.nan, 1.0, 3.0])
    forks = torch.tensor([1, 1, 1, 1])
    found = fork_advantages(rewards, Families(forks, 4, 2), 2, scale="none")
    assert (found / 0.75).tolist() == [[2.0, 0.0], [0.0, 0.0], [-3.0, -2.0], [-1.0, 2.0]]
    nothing = torch.tensor([math.nan, math.nan, 1.0, 3.0])
    found = fork_advantages(nothing, Families(forks, 4, 2), 2, scale="none")
    assert (found / 0.75).tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, -2.0], [0.0, 2.0]]
    assert (
        fork_advantages(nothing * math.nan, Families(forks, 4, 2), 2).tolist() == [[0.0, 0.0]] * 4
    )


@given(st.lists(st.floats(-4, 4, width=32), min_size=6, max_size=6), st.integers(0, 3))
def test_equal_rewards_give_nothing_and_a_constant_changes_nothing(rewards, fork):
    forks = torch.full((6,), fork)
    found = fork_advantages(torch.tensor(rewards), Families(forks, 6, 2), 3)
    same = fork_advantages(torch.full((6,), rewards[0]), Families(forks, 6, 2), 3)
    assert same.abs().max() < 1e-3
    moved = fork_advantages(torch.tensor(rewards).double() + 1.0, Families(forks, 6, 2), 3)
    assert torch.allclose(found.double(), moved, atol=1e-3)


@pytest.mark.parametrize(("group", "branches"), [(4, 3), (4, 1), (2, 2), (6, 4)])
def test_sizes_that_do_not_fit_are_refused(group, branches):
    with pytest.raises(ValueError, match="two families"):
        Families(torch.zeros(group).long(), group, branches)


LENGTH = 3


def probability(logits, tokens):
    """(ln p of each token, [LENGTH]) under a policy with a logit for each history of bits."""
    found, at = [], 0
    for token in tokens:
        found.append(torch.nn.functional.logsigmoid(logits[at] if token else -logits[at]))
        at = 2 * at + 1 + token
    return torch.stack(found)


def fork_of(tokens):
    """A fork that is chosen by what was before it: after a first 0, else after 1 and 0."""
    if tokens[0] == 0:
        return 1
    return 2 if tokens[1] == 0 else LENGTH


def test_the_gradient_of_branched_groups_is_unbiased_by_enumeration():
    torch.manual_seed(0)
    logits = torch.randn(7, dtype=torch.float64, requires_grad=True)
    rewards = torch.randn(8, dtype=torch.float64)
    every = list(itertools.product((0, 1), repeat=LENGTH))
    logps = {tokens: probability(logits, tokens) for tokens in every}
    reward = dict(zip(every, rewards, strict=True))
    mean = sum(logps[tokens].sum().exp() * reward[tokens] for tokens in every)
    (truth,) = torch.autograd.grad(mean, logits, retain_graph=True)

    families = []  # (probability, the two rows, the fork)
    for trunk in every:
        fork = fork_of(trunk)
        for child in every:
            if child[:fork] == trunk[:fork]:
                chance = logps[trunk].sum() + logps[child][fork:].sum()
                families.append((float(chance.exp()), (trunk, child), fork))
    assert sum(chance for chance, _, _ in families) == pytest.approx(1.0)
    loss = torch.zeros((), dtype=torch.float64)
    for one, two in itertools.product(families, repeat=2):
        rows = [*one[1], *two[1]]
        credited = fork_advantages(
            torch.stack([reward[row] for row in rows]),
            Families(torch.tensor([one[2], one[2], two[2], two[2]]), 4, 2),
            LENGTH,
            scale="none",
        )
        each = torch.stack([logps[row] for row in rows])
        loss = loss + one[0] * two[0] * (each * credited).sum() / 4
    (found,) = torch.autograd.grad(loss, logits)
    assert torch.allclose(found, 0.75 * truth, atol=1e-12)

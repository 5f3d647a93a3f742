import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolrest.core import weights
from toolrest.core.regions import Region
from toolrest.core.weights import (
    EntropyRule,
    RegionEntropy,
    RegionSignal,
    Rest,
    Scheme,
    TokenBatch,
    TokenStatistics,
    get_scheme,
    normalise,
    register_scheme,
    scheme_names,
)
from toolrest.errors import InputError

F, N, P, T, R, O = (  # noqa: E741
    *(Region.FORMAT, Region.NAME, Region.PARAMETERS),
    *(Region.REASONING, Region.RESPONSE, Region.OTHER),
)


def entropy_of(**means: float) -> RegionEntropy:
    """One token in each named region with that entropy."""
    total, count = torch.zeros(len(Region)).double(), torch.zeros(len(Region)).double()
    for name, mean in means.items():
        total[Region[name]], count[Region[name]] = mean, 1.0
    return RegionEntropy(total, count)


ALL = entropy_of(FORMAT=0.1, NAME=0.2, PARAMETERS=0.4, REASONING=1.0, RESPONSE=0.5)


@st.composite
def batches(draw):
    rows, width = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    cells = st.lists(st.integers(0, 5), min_size=rows * width, max_size=rows * width)
    flags = st.lists(st.booleans(), min_size=rows * width, max_size=rows * width)
    regions = torch.tensor(draw(cells)).view(rows, width)
    mask = torch.tensor(draw(flags)).view(rows, width)
    return regions, mask


@pytest.mark.parametrize("name", [*scheme_names(), "rest*stare"])
@given(batch=batches(), progress=st.floats(0, 1), data=st.data())
def test_every_scheme_keeps_the_contract(name, batch, progress, data):
    regions, mask = batch
    values = st.lists(st.floats(0, 7), min_size=mask.numel(), max_size=mask.numel())
    advantages = st.lists(st.floats(-3, 3), min_size=len(mask), max_size=len(mask))
    tokens = TokenStatistics(
        ids=regions % 3,
        entropy=torch.tensor(data.draw(values)).view(mask.shape),
        surprisal=torch.tensor(data.draw(values)).view(mask.shape),
        advantages=torch.tensor(data.draw(advantages)),
        group_size=len(mask),
    )
    spread = torch.tensor([[float(a * b % 5) for a in range(1, 7)] for b in range(1, 7)]).double()
    moments = RegionSignal(spread @ spread.T, spread.sum(1) - 6, data.draw(st.floats(0, 40)))
    batch = TokenBatch(regions, mask, progress, ALL, tokens, region_signal=moments)
    weights = get_scheme(name)(batch)
    assert weights.dtype is torch.float32
    assert not weights.requires_grad
    assert (weights >= 0).all()
    assert (weights[~mask] == 0).all()
    for row, counted in zip(weights, mask, strict=True):
        if counted.any() and row.any():
            assert row[counted].mean().item() == pytest.approx(1, abs=1e-5)
        elif name not in ("official", "top_entropy", "actfocus"):
            assert not counted.any()


def test_uniform_is_exactly_one():
    mask = torch.tensor([[True, True, False]])
    batch = TokenBatch(torch.tensor([[1, 2, 3]]), mask, 0.5)
    assert get_scheme("uniform")(batch).tolist() == [[1, 1, 0]]


@pytest.mark.stored_numbers
def test_weights_by_hand_are_scaled_to_a_mean_of_one():
    regions, mask = torch.tensor([[F, N, P]]), torch.ones(1, 3, dtype=torch.bool)
    scheme = get_scheme("regional", format=1, name=2, parameters=6)
    found = scheme(TokenBatch(regions, mask, 0.5))
    assert found.tolist() == [[pytest.approx(w) for w in (1 / 3, 2 / 3, 2.0)]]


def test_a_region_is_an_option_by_its_name():
    assert get_scheme("rest", scaffolding="other").scaffolding is Region.OTHER
    with pytest.raises(InputError, match="did you mean 'other'"):
        get_scheme("rest", scaffolding="othr")
    with pytest.raises(InputError, match="scaffolding"):
        get_scheme("rest", scaffolding=3)


@pytest.mark.stored_numbers
def test_normalise_by_hand():
    mask = torch.tensor([[True, True, True, False], [False, False, False, False]])
    raw = torch.tensor([[1.0, 2.0, 3.0, 9.0], [1.0, 1.0, 1.0, 1.0]])
    assert normalise(raw, mask).tolist() == [[0.5, 1.0, 1.5, 0.0], [0.0, 0.0, 0.0, 0.0]]


@pytest.mark.stored_numbers
@pytest.mark.parametrize(
    ("rule", "raw"),
    [
        ("inverse_score", lambda h: 1 / (1 - math.exp(-h))),
        ("inverse_entropy", lambda h: 1 / h),
        ("collision", lambda c: 1 / c),
    ],
)
def test_starting_weights_by_hand(rule, raw):
    """Two regions, three tokens and one: scaled to a token-weighted mean of 1."""
    entropy = RegionEntropy(
        torch.tensor([0.0, 3 * 0.5, 0.0, 0.0, 0.25, 0.0]).double(),
        torch.tensor([0.0, 3.0, 0.0, 0.0, 1.0, 0.0]).double(),
    )
    scheme = Rest(rule=EntropyRule(rule), w_min=0.0, w_max=100.0)
    scale = (3 * raw(0.5) + raw(0.25)) / 4
    weights = scheme.region_weights(entropy, 0.0)
    assert weights[F].item() == pytest.approx(raw(0.5) / scale)
    assert weights[T].item() == pytest.approx(raw(0.25) / scale)
    assert weights[O].item() == weights[N].item() == 1.0


@pytest.mark.stored_numbers
def test_the_curriculum_moves_structure_down_and_reasoning_up():
    scheme = Rest(w_min=0.1, w_max=10.0)
    start, end = scheme.region_weights(ALL, 0.0), scheme.region_weights(ALL, 1.0)
    assert end[N] == start[N]
    assert end[F].item() == pytest.approx(start[F].item() - 0.5)
    assert end[P].item() == pytest.approx(start[P].item() + 0.5)
    assert end[T].item() == pytest.approx(start[T].item() + 0.5)
    still = Rest(w_min=0.1, w_max=10.0, curriculum=False)
    assert torch.equal(still.region_weights(ALL, 1.0), start)


def test_weights_stay_within_their_bounds():
    certain = entropy_of(FORMAT=0.0, NAME=0.0, PARAMETERS=1e-9, REASONING=2.0)
    for progress in (0.0, 0.5, 1.0):
        weights = Rest().region_weights(certain, progress)
        assert weights.min() >= 0.5
        assert weights.max() <= 2.0


@pytest.mark.stored_numbers
def test_no_gradient_for_reasoning():
    scheme = get_scheme("rest", reasoning_gradient=False)
    mask = torch.ones(1, 2, dtype=torch.bool)
    weights = scheme(TokenBatch(torch.tensor([[F, T]]), mask, 0.0, ALL))
    assert weights.tolist() == [[pytest.approx(2.0), 0.0]]


def test_rest_needs_entropies():
    with pytest.raises(ValueError, match="region entropies"):
        get_scheme("rest")(TokenBatch(torch.zeros(1, 1).long(), torch.ones(1, 1).bool()))


@pytest.mark.stored_numbers
def test_official_by_hand():
    """Half way through 105 steps: 0.6 + 0.002 * 52.5 = 0.705."""
    regions = torch.tensor([[F, T, T, F, O, F, O, N, O, P, P, O, F]])
    weights = get_scheme("official")(TokenBatch(regions, torch.ones_like(regions).bool(), 0.5))
    raw = [1, 0.705, 0.705, 1, 0, 1, 0, 1.2, 0, 0.705, 0.705, 0, 1]
    mean = sum(raw) / len(raw)
    assert weights[0].tolist() == pytest.approx([value / mean for value in raw], abs=1e-6)


@pytest.mark.stored_numbers
def test_official_never_passes_its_caps():
    regions = torch.tensor([[N, P, T]])
    batch = TokenBatch(regions, torch.ones_like(regions).bool(), 1.0)
    weights = get_scheme("official", steps=1000)(batch)
    raw = torch.tensor([1.2, 1.2, 1.0])
    assert torch.allclose(weights[0], raw / raw.mean())


def test_official_can_weigh_broken_text():
    regions = torch.tensor([[N, O, O]])
    scheme = get_scheme("official", other=0.9)
    weights = scheme(TokenBatch(regions, torch.ones_like(regions).bool()))
    assert weights[0].tolist() == pytest.approx([1.2, 0.9, 0.9])  # their mean is 1
    with pytest.raises(InputError, match="other >= 0"):
        get_scheme("official", other=-1)


def test_official_gives_a_row_without_any_recognised_token_nothing():
    regions = torch.tensor([[O, O, R]])
    weights = get_scheme("official")(TokenBatch(regions, torch.ones_like(regions).bool()))
    assert weights.tolist() == [[0, 0, 0]]


def test_entropies_of_parts_add_up():
    values = torch.rand(4, 6)
    regions = torch.randint(0, 6, (4, 6))
    mask = torch.rand(4, 6) > 0.3
    whole = RegionEntropy.measure(values, regions, mask)
    parts = RegionEntropy.measure(values[:1], regions[:1], mask[:1]) + RegionEntropy.measure(
        values[1:], regions[1:], mask[1:]
    )
    assert torch.allclose(whole.total, parts.total)
    assert torch.equal(whole.count, parts.count)
    assert torch.equal(RegionEntropy.from_lists(whole.to_lists()).total, whole.total)


@pytest.mark.stored_numbers
def test_region_means_by_hand():
    values = torch.tensor([[1.0, 3.0, 5.0, 7.0]])
    regions = torch.tensor([[F, F, T, N]])
    measured = RegionEntropy.measure(values, regions, torch.tensor([[1, 1, 1, 0]]))
    assert measured.mean[F] == 2.0
    assert measured.mean[T] == 5.0
    assert measured.mean[N].isnan()
    followed = measured.ema_update(RegionEntropy(measured.total * 3, measured.count), 0.5)
    assert followed.mean[F] == 4.0


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("rset", {}, "did you mean 'rest'"),
        ("rest", {"curiculum": False}, "did you mean 'curriculum'"),
        ("rest", {"w_min": 3.0}, "w_min <= w_max"),
        ("rest", {"w_min": "much"}, "not of the kind"),
        ("rest", {"curriculum": 1}, "not of the kind"),
        ("rest", {"rule": "entropy"}, "not a valid EntropyRule"),
        ("rest", {"format_rate": -1.0}, "negative"),
    ],
)
def test_wrong_schemes_and_options_are_named(name, options, text):
    with pytest.raises(InputError, match=text):
        get_scheme(name, **options)


@pytest.mark.parametrize("name", scheme_names())
def test_what_a_scheme_reads_is_its_own_matter(name):
    scheme = get_scheme(name)
    reads = name in ("stare", "top_entropy", "gtpo", "actfocus", "contrast")
    assert scheme.reads_tokens == reads
    assert scheme.reads_signal == (name == "signal")
    with pytest.raises(TypeError, match="reads_tokens"):
        type(scheme)(reads_tokens=not reads)


@dataclass(frozen=True)
class NamesAlone(Scheme):
    """A scheme as a user writes it: `most` for names, 1 for all else."""

    most: float = 3.0

    def weights(self, batch):
        return torch.where(batch.regions == Region.NAME, self.most, 1.0)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(weights, "_SCHEMES", dict(weights._SCHEMES))
    register_scheme("names_alone", NamesAlone)


def test_a_scheme_of_your_own_by_hand(registered):
    """Raw 3, 1, 1, 1 has mean 1.5; the last token is masked."""
    mask = torch.tensor([[True, True, True, True, False]])
    batch = TokenBatch(torch.tensor([[N, T, T, P, N]]), mask)
    found = get_scheme("names_alone")(batch)
    assert found.tolist() == [[2.0, *[pytest.approx(2 / 3)] * 3, 0.0]]
    assert get_scheme("names_alone", most=1.0)(batch).tolist() == [[1.0] * 4 + [0.0]]
    product = get_scheme("names_alone*uniform", names_alone={"most": 5})
    assert product(batch)[0, 0].item() == pytest.approx(2.5)


def test_a_name_is_one_scheme_s(registered):
    register_scheme("names_alone", NamesAlone)  # a notebook's cell that runs twice
    with pytest.raises(InputError, match="there is a weighting scheme rest already"):
        register_scheme("rest", NamesAlone)
    with pytest.raises(InputError, match="not a subclass of Scheme"):
        register_scheme("mine", NamesAlone())
    with pytest.raises(InputError, match="a name has letters"):
        register_scheme("my*scheme", NamesAlone)
    assert "names_alone" in scheme_names()
    with pytest.raises(InputError, match="did you mean 'most'"):
        get_scheme("names_alone", mots=2.0)


def test_what_was_not_asked_for_is_said():
    """A scheme that forgets to say what it reads."""
    batch = TokenBatch(torch.zeros(1, 1).long(), torch.ones(1, 1).bool())
    with pytest.raises(ValueError, match="reads_tokens"):
        _ = batch.tokens
    with pytest.raises(ValueError, match="statistic"):
        _ = batch.entropy

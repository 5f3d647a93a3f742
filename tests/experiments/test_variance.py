"""Variances against closed forms on policies of which every outcome can be listed."""

import itertools
import json
import math
import random
import shutil
from importlib.resources import files

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy, get_scheme
from toolrest.data.prompts import render_prompt
from toolrest.experiments.policy_gradients import (
    fixed_weights,
    measure,
    region_gradients,
    scheme_weights,
    summary,
)
from toolrest.experiments.trajectories import sample_trajectories
from toolrest.experiments.variance import (
    bounds,
    excess_variance,
    last_layer_gram,
    least_variance_weights,
    moments,
    part_bound,
    relative_moments,
    score_moments,
    trace_over_bound,
    typical_factor,
)
from toolrest.recipe import dump_recipe, load_recipe
from toolrest.world.tasks import Split, make_samples

logit_lists = st.lists(st.floats(-6, 6), min_size=2, max_size=5)


@given(logit_lists)
def test_the_score_s_second_moment_and_its_bound(values):
    """E||e_a - p||^2 = 1 - sum p^2 <= 1 - exp(-H), by listing every token."""
    logits = torch.tensor([values] * len(values))
    found = score_moments(logits, torch.arange(len(values)))
    p = torch.softmax(torch.tensor(values).double(), dim=0)
    assert float((p * found["sampled"]).sum()) == pytest.approx(float(found["collision"][0]))
    assert (found["collision"] <= found["bound"] + 1e-9).all()
    listed = [(torch.eye(len(values)).double()[a] - p).square().sum() for a in range(len(values))]
    assert torch.allclose(found["sampled"], torch.stack(listed))


def test_the_last_layer_s_gram_is_that_of_the_gradients():
    """Token by token, and the squared norm of a weighted sum, without a [V, H] gradient."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    tokens, factors = torch.tensor([0, 3, 6, 3]), torch.tensor([1.0, 0.5, 2.0, 0.1]).double()
    logits = hidden @ weight.T
    found = last_layer_gram(logits.detach(), tokens, hidden)
    logps = torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None])[:, 0]
    scores = [torch.autograd.grad(each, weight, retain_graph=True)[0].flatten() for each in logps]
    gradients = torch.stack(scores)
    assert torch.allclose(found, gradients @ gradients.T)
    squares = score_moments(logits.detach(), tokens)["sampled"] * hidden.square().sum(-1)
    assert torch.allclose(found.diagonal(), squares)
    assert float(factors @ found @ factors) == pytest.approx(
        float((factors @ gradients).square().sum())
    )


class Listed:
    """T softmaxes over V tokens with shared parameters, of which every outcome can be listed.

    The logits of token t are J x, with a J [V, D] of their own after each prefix and parameters x
    shared by all; so s_t = J^T (e_a - p).
    """

    def __init__(self, jacobian, parameters, tokens):
        self.jacobian, self.x, self.tokens = jacobian, parameters.double(), tokens

    def outcomes(self):
        """Tokens, chance, scores [T, D], and by token ||J||_F^2 (1 - exp(-H)) and E||s||^2."""
        vocabulary = len(self.jacobian(()))
        for outcome in itertools.product(range(vocabulary), repeat=self.tokens):
            chance, scores, papers, own = 1.0, [], [], []
            for place, token in enumerate(outcome):
                jacobian = self.jacobian(outcome[:place]).double()
                p = torch.softmax(jacobian @ self.x, 0)
                listed = (torch.eye(vocabulary).double() - p) @ jacobian
                chance *= float(p[token])
                scores.append(listed[token])
                own.append(float(p @ listed.square().sum(1)))
                uncertain = 1 - math.exp(float((p * p.log()).sum()))
                papers.append(float(jacobian.square().sum()) * uncertain)
            yield outcome, chance, torch.stack(scores), papers, own

    def measure(self, advantage, weights):
        """By listing: tr Cov, E[A^2], max A^2, S by E||s||^2, the paper's sum, and (3)."""
        mean, square, power, most, spread, papers, always = 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for outcome, chance, scores, paper, own in self.outcomes():
            a = advantage(outcome)
            w = torch.tensor(weights(outcome), dtype=torch.float64) / self.tokens
            gradient = a * (w @ scores)
            mean, square = mean + chance * gradient, square + chance * float(gradient @ gradient)
            power, most = power + chance * a * a, max(most, a * a)
            spread += chance * float(w.square() @ torch.tensor(own, dtype=torch.float64))
            papers += chance * float(w.square() @ torch.tensor(paper, dtype=torch.float64))
            always += chance * part_bound(scores.square().sum(1)[None], a * w[None])
        return square - float(mean @ mean), power, most, spread, papers, always


def coins(chance, tokens):
    """Tokens that all are drawn from one softmax over two tokens; the logits are the parameters."""
    logits = torch.tensor([chance, 1 - chance], dtype=torch.float64).log()
    return Listed(lambda prefix: torch.eye(2), logits, tokens)


@st.composite
def policies(draw):
    """J of every prefix and x at random; 2 or 3 tokens of a vocabulary of 2 or 3."""
    vocabulary, tokens, width = (draw(st.integers(2, 3)) for _ in range(3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    made = {}

    def jacobian(prefix):
        if prefix not in made:
            made[prefix] = torch.randn(vocabulary, width, generator=generator)
        return made[prefix]

    return Listed(jacobian, torch.randn(width, generator=generator) * 1.5, tokens)


def of_outcomes(seed, low, high):
    """A number for every outcome, at random."""
    return lambda outcome: random.Random(f"{seed}{outcome}").uniform(low, high)


def fixed(policy, seed):
    weights = [random.Random(f"{seed} {t}").uniform(0, 2) for t in range(policy.tokens)]
    scaled = [w * policy.tokens / sum(weights) for w in weights]
    return lambda outcome: scaled


seeds = st.integers(0, 10**6)


@given(st.floats(0.01, 0.99), st.floats(-2, 2), st.floats(-2, 2))
def test_one_token_of_two_in_closed_form(chance, one, other):
    """s = (1 - p) (1, -1) or -p (1, -1): tr Cov = 2 p (1 - p) (r_0 (1 - p) + r_1 p)^2."""
    found, *_ = coins(chance, 1).measure(lambda o: (one, other)[o[0]], lambda o: [1.0])
    closed = 2 * chance * (1 - chance) * (one * (1 - chance) + other * chance) ** 2
    assert found == pytest.approx(closed, abs=1e-10)


def test_a_two_token_policy_by_hand():
    """p = q = 1/2, A = 1 for (0, 0) and -1 else: ||w_1 s_1 + w_2 s_2||^2 = (w_1^2 + w_2^2) / 2
    always, A^2 = 1, and E g = 1/8 (w_1 (1, -1), w_2 (1, -1)): tr = (w_1^2 + w_2^2) (1/8 - 1/32).
    """
    halves = (torch.eye(4)[:2], torch.eye(4)[2:])
    policy = Listed(lambda prefix: halves[len(prefix)], torch.zeros(4), 2)
    for weights in ([1.0, 1.0], [0.5, 1.5]):
        found, *_ = policy.measure(lambda o: 1.0 if o == (0, 0) else -1.0, lambda o, w=weights: w)
        assert found == pytest.approx(sum(w * w for w in weights) * 3 / 32, abs=1e-10)


@given(policies(), seeds)
def test_with_a_constant_advantage_the_formula_is_exact(policy, seed):
    """(1): scores of different tokens are uncorrelated, though they share every parameter."""
    trace, power, _, spread, papers, _ = policy.measure(lambda o: 1.5, fixed(policy, seed))
    assert trace == pytest.approx(power * spread, abs=1e-10)
    assert trace <= power * papers + 1e-10


@given(policies(), seeds, seeds)
def test_with_advantages_of_one_size_the_papers_bound_holds(policy, seed, other):
    """(1) for A = +-1, however A depends on the tokens."""
    sign = of_outcomes(other, -1, 1)
    trace, power, _, spread, papers, _ = policy.measure(
        lambda o: math.copysign(1, sign(o)), fixed(policy, seed)
    )
    assert trace <= power * spread + 1e-10
    assert spread <= papers + 1e-10


@given(policies(), seeds, seeds)
def test_with_the_greatest_advantage_the_bound_holds_for_any(policy, seed, other):
    """(2)."""
    trace, _, most, spread, *_ = policy.measure(of_outcomes(other, -2, 2), fixed(policy, seed))
    assert trace <= most * spread + 1e-10


@given(policies(), seeds, seeds)
def test_the_bound_by_parts_always_holds(policy, seed, other):
    """(3): advantages and weights that both depend on all tokens."""
    weights = [of_outcomes(f"{seed} {t}", 0, 2) for t in range(policy.tokens)]
    trace, *_, always = policy.measure(
        of_outcomes(other, -2, 2), lambda o: [weigh(o) for weigh in weights]
    )
    assert trace <= always + 1e-10


def test_the_papers_bound_fails_where_a_rare_token_earns_all():
    """One softmax over two tokens, the rare one of chance 0.01 earns 1, the other 0. J is the
    identity, ||J||_F^2 = 2, E||s||^2 = 2 * 0.01 * 0.99. Normalised, A = 9.95 or -0.1005, E[A^2] = 1
    and E[A s] = 0.0995 (1, -1): Var = 1.921 > 2 (1 - exp(-H)) = 0.109. With A = 1 or 0 as well:
    Var = 0.0194 > 0.00109.
    """
    deviation = math.sqrt(0.01 * 0.99)
    for rewards, variance, bound in (
        ((0.99 / deviation, -0.01 / deviation), 1.9208, 0.108925),
        ((1.0, 0.0), 0.019406, 0.00108925),
    ):
        trace, power, most, spread, papers, _ = coins(0.01, 1).measure(
            lambda o, r=rewards: r[o[0]], lambda o: [1.0]
        )
        assert trace == pytest.approx(variance, rel=1e-4)
        assert power * papers == pytest.approx(bound, rel=1e-4)
        assert trace > power * papers
        assert trace <= most * spread


def test_the_papers_bound_fails_by_its_cross_terms():
    """Three fair coins on one pair of logits, A = 1 where all agree and 0 else: ||s_t||^2 is 1/2
    whatever comes, but where A is not 0 the scores are equal: Var = 1/4 * 1/2 = 0.125, and the
    bound is E[A^2] sum_t ||J||_F^2 (1 - exp(-H)) / T^2 = 1/4 * 3 / 9 = 0.0833.
    """
    trace, power, most, spread, papers, _ = coins(0.5, 3).measure(
        lambda o: float(len(set(o)) == 1), lambda o: [1.0] * 3
    )
    assert (trace, power * papers) == pytest.approx((0.125, 1 / 12))
    assert power * spread < power * papers < trace <= most * spread


def test_the_second_bound_fails_for_weights_that_know_what_came():
    """Three fair coins, A = 1, all weight on the tokens of the majority: g is always the majority's
    score, Var = 1/2, and the bound is 1/2 E[1 / size of the majority] = (1/3 + 3/2) / 8 = 0.229.
    """

    def majority(outcome):
        larger = [token == (sum(outcome) > 1) for token in outcome]
        return [3 * each / sum(larger) for each in larger]

    trace, _, most, spread, _, always = coins(0.5, 3).measure(lambda o: 1.0, majority)
    assert (trace, most * spread) == pytest.approx((0.5, 11 / 48))
    assert trace <= always


def test_the_sample_s_trace_is_the_closed_form():
    """Two fair coins, every outcome once: of equal chance, so the sum over all is exact."""
    gradients = torch.stack([scores.sum(0) / 2 for _, _, scores, *_ in coins(0.5, 2).outcomes()])
    closed, *_ = coins(0.5, 2).measure(lambda o: 1.0, lambda o: [1.0, 1.0])
    trace = gradients.double().var(dim=0, correction=0).sum().item()
    assert trace == pytest.approx(closed, abs=1e-10)


def test_bounds_by_hand():
    """A = 1, -2; T = 2, 4; weighted moments 8, 16: spread (2 + 1) / 2; E A^2 = 2.5, max 4."""
    found = bounds(torch.tensor([1.0, -2.0]), torch.tensor([2, 4]), torch.tensor([8.0, 16.0]))
    assert found == pytest.approx((3.75, 6.0))


def test_the_bound_by_parts_by_hand():
    """Row 1: two parts, 2 (1 * 2 + 4 * 3) = 28; row 2: one part, 9 * 1 = 9."""
    squares, factors = (
        torch.tensor([[2.0, 3.0], [1.0, 0.0]]),
        torch.tensor([[1.0, 2.0], [3.0, 5.0]]),
    )
    assert part_bound(squares, factors) == pytest.approx(18.5)


def test_moments_are_those_of_the_gradients():
    """The signal from pairs of groups, the errors by leaving out a group."""
    gradients = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).double() + 0.3

    def by_hand(rows):
        sums = rows.sum(1)
        pairs = [float(a @ b) for a, b in itertools.permutations(sums, 2)]
        signal = sum(pairs) / len(pairs) / 9
        return float(rows.square().sum(-1).mean()) - signal, signal

    groups = gradients.view(4, 3, 5)
    sums = groups.sum(1)
    found = moments(groups.square().sum((1, 2)), sums @ sums.T, 3)
    trace, signal = by_hand(groups)
    assert (found.trace, found.signal) == pytest.approx((trace, signal))
    assert found.ratio == pytest.approx(signal / trace)
    left_out = [by_hand(torch.cat((groups[:g], groups[g + 1 :])))[0] for g in range(4)]
    mean = sum(left_out) / 4
    expected = math.sqrt(sum((each - mean) ** 2 for each in left_out) * 3 / 4)
    assert found.trace_error == pytest.approx(expected)


def test_moments_are_unbiased_where_a_group_shares_a_prompt():
    """Two prompts, each with one gradient of its own: E g = 0 and tr Cov = 1, and of all pairs of
    groups that can be drawn the mean says so; a variance over all rows would say 2/3 and 4/3.
    """
    found = []
    for signs in itertools.product((1.0, -1.0), repeat=2):
        sums = torch.tensor(signs).double()[:, None] * 2
        found.append(moments(torch.full((2,), 2.0).double(), sums @ sums.T, 2))
    assert sum(each.signal for each in found) == pytest.approx(0)
    assert sum(each.trace for each in found) / 4 == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 2 groups"):
        moments(torch.ones(1), torch.ones(1, 1), 1)


def test_a_scaled_gradient_varies_by_the_square_and_carries_the_same():
    sums = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).double() + 1
    plain = (torch.rand(5).double() + 4, sums @ sums.T)
    trace, ratio = relative_moments(4 * plain[0], 4 * plain[1], *plain, 2)
    assert trace == pytest.approx((4.0, 0.0), abs=1e-9)
    assert ratio == pytest.approx((1.0, 0.0), abs=1e-9)


def test_the_trace_over_the_bound_by_hand():
    """Groups of one; gradients 1 and -1 of squares 1, so signal -1, trace 2; E[A^2] = 2.5, the mean
    spread 0.5.
    """
    inner = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    found, _ = trace_over_bound(
        torch.ones(2).double(), inner, 1, torch.tensor([1.0, 2.0]), torch.tensor([0.25, 0.75])
    )
    assert found == pytest.approx(2 / 1.25)


def test_how_far_a_guess_is_off_by_hand():
    """Moments 1 and 4, a token each, guess 1 and 1: 2 * 2.5 / (2 * 0.8) = 25/16 of the least; ln 1
    and ln 1/4 spread by ln 2. A guess of the right ratio is right; an unseen region does not count.
    """
    truth, counts = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([1.0, 1.0, 0.0])
    equal, scaled = torch.ones(3), torch.tensor([3.0, 12.0, float("nan")])
    assert excess_variance(equal, truth, counts) == pytest.approx(25 / 16)
    assert typical_factor(equal, truth, counts) == pytest.approx(2)
    assert excess_variance(scaled, truth, counts) == pytest.approx(1)
    assert typical_factor(scaled, truth, counts) == pytest.approx(1)


def test_least_variance_weights_by_hand():
    """Moments 1 and 3 of 2 and 6 tokens, one region without any: weights 8/4 and 8/12."""
    found = least_variance_weights(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([2.0, 6.0, 0.0]))
    assert found.tolist() == pytest.approx([2.0, 2 / 3, 0.0])
    assert least_variance_weights(torch.zeros(2), torch.ones(2)).tolist() == [0.0, 0.0]


@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=4), st.floats(-0.4, 0.4))
def test_no_other_weights_vary_less(values, shift):
    moments_, counts = torch.tensor(values).double(), torch.ones(len(values)).double()
    best = least_variance_weights(moments_, counts)
    other = best.clone()
    other[0] += shift
    other[1] -= shift
    assert (best.square() * moments_).sum() <= (other.square() * moments_).sum() + 1e-9


@pytest.fixture(scope="module")
def measured(embedded_tokenizer):
    from toolrest.policy.weights import load_policy
    from toolrest.recipe import Recipe

    model = load_policy(Recipe()).eval()
    recipe = load_recipe(None, ["rollout.group_size=3", "rollout.max_response_tokens=70"])
    samples = make_samples(Split.TRAIN, 2)
    trajectories = sample_trajectories(model, embedded_tokenizer, samples, recipe, seed=0)
    entropy = RegionEntropy(torch.full((6,), 0.4).double(), torch.ones(6).double())
    schemes = {
        "uniform": scheme_weights(get_scheme("uniform"), entropy, 0.0),
        "official": scheme_weights(get_scheme("official"), entropy, 0.5),
        "fixed": fixed_weights(torch.tensor([1.0, 2.0, 3.0, 0.5, 0.1, 1.0])),
    }
    return model, samples, trajectories, schemes, measure(model, trajectories, schemes, 1.0)


def direct_gradient(model, prompt, response, weights):
    """One plain backward of sum_t w_t ln pi(a_t)."""
    ids = torch.tensor([prompt + response])
    logp = torch.log_softmax(model(ids).logits[0, len(prompt) - 1 : -1], dim=-1)
    picked = logp.gather(1, torch.tensor(response)[:, None])[:, 0]
    gradients = torch.autograd.grad((weights * picked).sum(), list(model.parameters()))
    return torch.cat([g.reshape(-1) for g in gradients])


@pytest.mark.slow
def test_region_gradients_add_up_to_the_plain_gradient(measured, embedded_tokenizer):
    """A plain backward of the policy's log-likelihood, of a weighted one, and of one token's."""
    model, samples, trajectories, schemes, _ = measured
    prompt = render_prompt(samples[0], embedded_tokenizer)
    response, regions = trajectories.responses[0], trajectories.regions[0]
    rows, statistics = region_gradients(model, prompt, response, regions, 1.0, [5])
    for weigh in (schemes["uniform"], schemes["fixed"]):
        weights = weigh(regions)
        direct = direct_gradient(model, prompt, response, weights)
        table = torch.zeros(6)
        for region in regions.unique():
            table[region] = weights[regions == region][0]
        assert torch.allclose(table @ rows, direct, atol=1e-3 * float(direct.abs().max()))
    alone = direct_gradient(model, prompt, response, torch.eye(len(response))[5])
    expected = float(alone.square().sum())
    assert float(statistics["single_tokens"].sum()) == pytest.approx(expected, rel=1e-3)


def test_uniform_weights_are_the_plain_estimator(measured):
    """Exactly 1, and the groups' sums are plain backwards of sum_i A_i / T_i ln pi(response_i)."""
    model, _, trajectories, _, found = measured
    assert (found.weights["uniform"][found.counts > 0] == 1).all()
    rows = []
    for index, response in enumerate(trajectories.responses):
        factor = float(trajectories.advantages[index]) / len(response)
        weights = torch.full((len(response),), factor)
        rows.append(direct_gradient(model, trajectories.prompts[index // 3], response, weights))
    gradients = torch.stack(rows).double()
    groups = gradients.view(2, 3, -1).sum(1)
    assert torch.allclose(found.group_sums["uniform"], groups @ groups.T, rtol=1e-3)
    squares = gradients.square().sum(1).view(2, 3).sum(1)
    assert torch.allclose(found.squares["uniform"], squares, rtol=1e-3)
    assert found.cosines["uniform"] == pytest.approx(1.0)
    result, _, _ = summary(found, trajectories, "uniform")
    mean = float(gradients.square().sum(1).mean())
    assert result.trace == pytest.approx(mean - float(groups[0] @ groups[1]) / 9, rel=1e-3)
    assert (result.relative_trace, result.relative_ratio) == pytest.approx((1.0, 1.0))


def test_region_traces_and_what_is_between_them_add_up(measured):
    """sum_r tr Cov(g^r) = the sum of their mean squares less their signals, from the same rows."""
    model, _, trajectories, _, found = measured
    lengths = found.counts.sum(1)
    parts = []
    for index, response in enumerate(trajectories.responses):
        prompt, regions = trajectories.prompts[index // 3], trajectories.regions[index]
        rows, _ = region_gradients(model, prompt, response, regions, 1.0)
        factor = float(trajectories.advantages[index] / lengths[index])
        parts.append(factor * found.weights["fixed"][index][:, None] * rows.double())
    stacked = torch.stack(parts)
    sums = stacked.view(2, 3, 6, -1).sum(1)
    expected = stacked.square().sum(2).mean(0) - (sums[0] * sums[1]).sum(1) / 9
    result, _, _ = summary(found, trajectories, "fixed")
    for name, trace in result.region_trace.items():
        by_hand = float(expected[Region[name.upper()]])
        assert trace == pytest.approx(by_hand, rel=1e-3, abs=1e-6)
    assert result.trace <= result.bound_regions + 1e-9


def test_weights_that_differ_within_a_region_are_refused(measured):
    model, _, trajectories, schemes, _ = measured
    uneven = {
        "uniform": schemes["uniform"],
        "x": lambda regions: torch.arange(len(regions)).float(),
    }
    with pytest.raises(ValueError, match="weigh differently"):
        measure(model, trajectories, uneven, 1.0)


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app,
        [
            *("variance", "rollout.max_response_tokens=60", "--prompts", "4", "--group", "2"),
            *("--schemes", "uniform,rest@0.5,optimum", "--output", "v.json"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "optimum" in done.output
    [result] = json.loads((tmp_path / "v.json").read_text()).values()
    assert result["trajectories"] == 4
    assert [row["scheme"] for row in result["weightings"]] == ["uniform", "rest@0.5", "optimum"]
    assert "reasoning" in [row["region"] for row in result["regions"]]
    for row in result["regions"]:
        assert row["collision"] <= row["bound"]
    for row in result["weightings"]:
        assert row["trace"] <= row["bound_regions"] + abs(row["signal"])
    assert result["agreement"]["all parameters, sums"]["variance"] == pytest.approx(1)
    assert all(found["variance"] > 1 - 1e-9 for found in result["agreement"].values())


@pytest.mark.slow
def test_along_a_run(tmp_path):
    """Step 0 and every checkpoint, in order of the steps. So short that no response earns anything:
    advantages of 0 give gradients of 0, whose ratios are null in the file.
    """
    run = tmp_path / "run"
    for step in (10, 5):
        folder = run / "checkpoints" / f"checkpoint-{step}"
        shutil.copytree(str(files("toolrest.world") / "policy"), folder)
        (folder / "toolrest_state.json").write_text("{}")
    (run / "checkpoints" / "checkpoint-15").mkdir()  # one that was not written whole
    shutil.copy(folder / "config.json", run / "checkpoints" / "checkpoint-15")
    recipe = load_recipe(None, ["rollout.max_response_tokens=8"])
    (run / "recipe.yaml").write_text(dump_recipe(recipe))
    done = CliRunner().invoke(
        app,
        [
            *("variance", "--run", str(run), "--prompts", "4", "--group", "2"),
            *("--schemes", "rest@1", "--output", str(tmp_path / "v.json")),
        ],
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "v.json").read_text())
    assert list(found) == ["step 0", "step 5", "step 10"]
    assert found["step 5"] == found["step 0"]
    assert [row["trace"] for row in found["step 0"]["weightings"]] == [0.0, 0.0]
    assert found["step 0"]["weightings"][1]["relative_trace"] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--schemes", "stare"], "weighs tokens one by one"),
        (["--schemes", "official"], "into the region other"),
        (["--schemes", "signal"], "weighs by gradients of its run's batches"),
        (["--schemes", "rset"], "did you mean 'rest'"),
        (["--schemes", "rest@2"], "progress must be a number from 0 to 1"),
        (["--schemes", "rest:x"], "not a valid EntropyRule"),
        (["--run", "nowhere"], "no run is there"),
        (["--prompts", "2000"], "use fewer --prompts or --schemes"),
    ],
)
def test_wrong_input_is_one_line(arguments, words):
    done = CliRunner().invoke(app, ["variance", "--prompts", "4", *arguments])
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output

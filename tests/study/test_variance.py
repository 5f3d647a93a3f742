"""Variances against closed forms on policies of which every outcome can be listed."""

import itertools
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from toolrest.cli.main import app
from toolrest.data.prompts import render_prompt
from toolrest.recipe import load_recipe
from toolrest.study.policy_gradients import (
    fixed_weights,
    measure,
    region_gradients,
    sample_trajectories,
    scheme_weights,
)
from toolrest.study.variance import (
    bounds,
    last_layer_square,
    least_variance_weights,
    moments,
    score_moments,
    trace_covariance,
)
from toolrest.weights import RegionEntropy, get_scheme
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


def test_the_last_layer_s_square_is_that_of_the_gradient():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(7, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    tokens = torch.tensor([0, 3, 6, 3])
    logits = hidden @ weight.T
    found = last_layer_square(logits.detach(), tokens, hidden)
    for row, token in enumerate(tokens):
        logp = torch.log_softmax(hidden[row] @ weight.T, dim=-1)[token]
        (gradient,) = torch.autograd.grad(logp, weight)
        assert float(found[row]) == pytest.approx(float(gradient.square().sum()))


class TwoTokens:
    """Two independent softmaxes over two tokens each; the logits are the parameters."""

    def __init__(self, first, second, reward):
        self.p = [torch.softmax(torch.tensor(x, dtype=torch.float64), 0) for x in (first, second)]
        self.reward = reward

    def outcomes(self):
        for a, b in itertools.product(range(2), range(2)):
            scores = torch.zeros(2, 4, dtype=torch.float64)
            for token, chosen in enumerate((a, b)):
                scores[token, 2 * token : 2 * token + 2] = torch.eye(2)[chosen] - self.p[token]
            yield float(self.p[0][a] * self.p[1][b]), self.reward(a, b), scores

    def trace(self, weights):
        """tr Cov of (A / 2) sum_t w_t s_t, by listing every outcome."""
        pairs = [
            (
                chance,
                advantage
                / 2
                * (torch.tensor(weights, dtype=torch.float64)[:, None] * scores).sum(0),
            )
            for chance, advantage, scores in self.outcomes()
        ]
        mean = sum(chance * gradient for chance, gradient in pairs)
        return float(sum(c * (g - mean).square().sum() for c, g in pairs))

    def second_moments(self):
        return [1 - float(p.square().sum()) for p in self.p]


def test_a_two_token_policy_by_hand():
    """p = q = 1/2, A = 1 for (0, 0) and -1 else: ||w_1 s_1 + w_2 s_2||^2 = (w_1^2 + w_2^2) / 2
    always, A^2 = 1, and E g = 1/8 (w_1 (1, -1), w_2 (1, -1)): tr = (w_1^2 + w_2^2) (1/8 - 1/32).
    """
    policy = TwoTokens([0.0, 0.0], [0.0, 0.0], lambda a, b: 1.0 if a == b == 0 else -1.0)
    for one, other in ((1.0, 1.0), (0.5, 1.5)):
        assert policy.trace([one, other]) == pytest.approx((one**2 + other**2) * 3 / 32, abs=1e-12)


def test_the_sample_s_trace_is_the_closed_form():
    """Every outcome of equal chance once a group: the sum over all, exactly."""
    policy = TwoTokens([0.0, 0.0], [0.0, 0.0], lambda a, b: 1.0 if a == b == 0 else -1.0)
    gradients = torch.stack([a / 2 * s.sum(0) for _, a, s in policy.outcomes()])
    assert trace_covariance(gradients) * 3 / 4 == pytest.approx(policy.trace([1.0, 1.0]))


@given(logit_lists.map(lambda x: x[:2]), logit_lists.map(lambda x: x[:2]), st.floats(0.1, 1.9))
def test_with_a_constant_advantage_the_formula_is_exact(first, second, weight):
    """Equation (1): A is independent of the scores."""
    policy = TwoTokens(first, second, lambda a, b: 1.0)
    weights = [weight, 2 - weight]
    by_formula = sum(w**2 * m for w, m in zip(weights, policy.second_moments(), strict=True)) / 4
    assert policy.trace(weights) == pytest.approx(by_formula, abs=1e-9)


@given(
    logit_lists.map(lambda x: x[:2]),
    logit_lists.map(lambda x: x[:2]),
    st.floats(0, 2),
    st.lists(st.floats(-2, 2), min_size=4, max_size=4),
)
def test_with_the_greatest_advantage_the_bound_always_holds(first, second, weight, rewards):
    """Equation (2): whatever A has to do with the scores."""
    policy = TwoTokens(first, second, lambda a, b: rewards[2 * a + b])
    weights = [weight, 2 - weight]
    spread = sum(w**2 * m for w, m in zip(weights, policy.second_moments(), strict=True)) / 4
    assert policy.trace(weights) <= max(r**2 for r in rewards) * spread + 1e-12


def test_the_papers_bound_fails_where_a_rare_token_earns_all():
    """One softmax over two tokens, the rare one of chance 0.01 earns 1, the other 0. J is the
    identity, ||J||_F^2 = 2: Var = 0.0194 > E[A^2] * 2 (1 - exp(-H)) = 0.00109.
    """
    chance = 0.01
    p = torch.tensor([chance, 1 - chance], dtype=torch.float64)
    score = torch.eye(2).double()[0] - p
    variance = chance * float(score.square().sum()) - float((chance * score).square().sum())
    entropy = -float((p * p.log()).sum())
    bound = chance * 2 * (1 - math.exp(-entropy))
    assert variance == pytest.approx(0.01940598, abs=1e-7)
    assert bound == pytest.approx(0.00108925, abs=1e-7)
    assert variance > bound


def test_bounds_by_hand():
    """A = 1, -2; T = 2, 4; weighted moments 8, 16: spread (2 + 1) / 2; E A^2 = 2.5, max 4."""
    found = bounds(torch.tensor([1.0, -2.0]), torch.tensor([2, 4]), torch.tensor([8.0, 16.0]))
    assert found == pytest.approx((3.75, 6.0))


def test_moments_are_those_of_the_gradients():
    gradients = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).double() + 0.3
    groups = gradients.view(4, 3, 5)
    sums = groups.sum(1)
    found = moments(groups.square().sum((1, 2)), sums @ sums.T, 3)
    assert found.trace == pytest.approx(trace_covariance(gradients))
    expected = float(gradients.mean(0).square().sum()) - found.trace / 12
    assert found.signal == pytest.approx(expected)
    assert found.ratio == pytest.approx(expected / found.trace)
    assert found.trace_error > 0


def test_least_variance_weights_by_hand():
    """Moments 1 and 3 of 2 and 6 tokens, one region without any: weights 8/4 and 8/12."""
    found = least_variance_weights(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([2.0, 6.0, 0.0]))
    assert found.tolist() == pytest.approx([2.0, 2 / 3, 0.0])


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
    from toolrest.policy import load_policy
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


def test_region_gradients_add_up_to_the_plain_gradient(measured, embedded_tokenizer):
    """A plain backward of the policy's log-likelihood, and of a weighted one."""
    model, samples, trajectories, schemes, _ = measured
    prompt = render_prompt(samples[0], embedded_tokenizer)
    response, regions = trajectories.responses[0], trajectories.regions[0]
    rows, _ = region_gradients(model, prompt, response, regions, 1.0)
    for weigh in (schemes["uniform"], schemes["fixed"]):
        weights = weigh(regions)
        ids = torch.tensor([prompt + response])
        logp = torch.log_softmax(model(ids).logits[0, len(prompt) - 1 : -1], dim=-1)
        picked = logp.gather(1, torch.tensor(response)[:, None])[:, 0]
        gradients = torch.autograd.grad((weights * picked).sum(), list(model.parameters()))
        direct = torch.cat([g.reshape(-1) for g in gradients])
        table = torch.zeros(6)
        for region in regions.unique():
            table[region] = weights[regions == region][0]
        combined = table @ rows
        assert torch.allclose(combined, direct, atol=1e-3 * float(direct.abs().max()))


def test_the_sums_are_those_of_single_gradients(measured, embedded_tokenizer):
    model, _, trajectories, _, found = measured
    rows = []
    for index, response in enumerate(trajectories.responses):
        prompt = trajectories.prompts[index // 3]
        regions = trajectories.regions[index]
        by_region, _ = region_gradients(model, prompt, response, regions, 1.0)
        factor = float(trajectories.advantages[index]) / len(response)
        rows.append(factor * by_region.sum(0).double())
    groups = torch.stack(rows).view(2, 3, -1)
    sums = groups.sum(1)
    assert torch.allclose(found.group_sums["uniform"], sums @ sums.T, rtol=1e-3)
    assert torch.allclose(found.squares["uniform"], groups.square().sum((1, 2)), rtol=1e-3)
    assert found.cosines["uniform"] == pytest.approx(1.0)


def test_weights_that_differ_within_a_region_are_refused(measured):
    model, _, trajectories, schemes, _ = measured
    uneven = {
        "uniform": schemes["uniform"],
        "x": lambda regions: torch.arange(len(regions)).float(),
    }
    with pytest.raises(ValueError, match="weigh differently"):
        measure(model, trajectories, uneven, 1.0)


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app,
        [
            *("variance", "rollout.group_size=2", "rollout.max_response_tokens=60"),
            *("--prompts", "4", "--schemes", "rest@0.5,optimum", "--output", "v.json"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "optimum" in done.output
    [result] = json.loads((tmp_path / "v.json").read_text()).values()
    assert [row["scheme"] for row in result["weightings"]] == ["uniform", "rest@0.5", "optimum"]
    assert "reasoning" in [row["region"] for row in result["regions"]]
    for row in result["regions"]:
        assert row["collision"] <= row["bound"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--schemes", "stare"], "weighs tokens one by one"),
        (["--schemes", "rset"], "did you mean 'rest'"),
        (["--schemes", "rest@2"], "progress must be a number from 0 to 1"),
        (["--schemes", "rest:x"], "not a valid EntropyRule"),
        (["--run", "nowhere"], "no run is there"),
    ],
)
def test_wrong_input_is_one_line(arguments, words):
    done = CliRunner().invoke(app, ["variance", "--prompts", "4", *arguments])
    assert done.exit_code == 2
    assert words in done.output
    assert "Traceback" not in done.output

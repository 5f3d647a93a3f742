"""Policy gradients by region on sampled trajectories, and their variance under token weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from toolrest.core.regions import Region
from toolrest.core.weights import RegionEntropy, Scheme, TokenBatch
from toolrest.experiments.trajectories import Trajectories
from toolrest.experiments.variance import (
    WeightingMoments,
    bounds,
    last_layer_gram,
    least_variance_weights,
    moments,
    part_bound,
    relative_moments,
    score_moments,
    trace_over_bound,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REGIONS = len(Region)
FEW = 32
"""A region with fewer tokens gets weight 1 in the least-variance weights: its second moment is not
known."""
STATISTICS = (
    *("entropy", "bound", "collision", "sampled"),
    *("last_layer_expected", "last_layer", "last_layer_sum", "single_tokens"),
)
"""Statistics of each token's score s_t = grad ln pi(a_t): those of `score_moments`; for the last
layer E||s_t||^2 given the prefix, ||s_t||^2, and s_t . sum_{u in r} s_u over its region r; for all
parameters ||s_t||^2 of the picked tokens (`single_tokens`)."""


@dataclass(frozen=True)
class Gradients:
    """Moments of the gradients g_i = (A_i / T_i) sum_r w_{i,r} sum_{t in r} s_t of N trajectories.

    R is the number of regions, P of prompts (groups).
    """

    gram: torch.Tensor
    """Inner products of a trajectory's region gradients sum_{t in r} s_t, [N, R, R]."""
    counts: torch.Tensor
    """Tokens of each region, [N, R]."""
    picked: torch.Tensor
    """Number of tokens of each region with a backward pass of their own, [R]."""
    statistics: dict[str, torch.Tensor]
    """By name of STATISTICS: its sum over each region's tokens, [R]."""
    group_sums: dict[str, torch.Tensor]
    """By weighting: inner products of the groups' sums S_p of g_i, [P, P]."""
    squares: dict[str, torch.Tensor]
    """By weighting: sum of ||g_i||^2 over each group, [P]."""
    across: dict[str, torch.Tensor]
    """By weighting: sum_{p != q} S_p . S_q of each region's part of g_i, [R]."""
    weights: dict[str, torch.Tensor]
    """By weighting: each region's weight in each trajectory, [N, R]."""
    cosines: dict[str, float]
    """By weighting: cosine of its mean gradient with the mean gradient of equal weights."""


def region_gradients(
    model: PreTrainedModel,
    prompt: Sequence[int],
    response: Sequence[int],
    regions: torch.Tensor,
    temperature: float,
    picked: Sequence[int] = (),
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(sum_{t in r} grad ln pi(a_t) [R, D], {name of STATISTICS: [T]}) of one response, on the CPU.

    Args:
        regions: `Region` of the response's tokens, [T].
        picked: tokens with a backward pass of their own; `single_tokens` is 0 for the others.
    """
    tokens = torch.tensor(response, device=model.device)
    ids = torch.cat((torch.tensor(prompt, device=model.device), tokens))[None]
    output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
    window = slice(len(prompt) - 1, len(prompt) - 1 + len(response))
    logits = output.logits[0, window].float() / temperature
    hidden = output.hidden_states[-1][0, window] / temperature
    logps = torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None])[:, 0]
    with torch.no_grad():
        found = score_moments(logits, tokens)
        inner = last_layer_gram(logits, tokens, hidden)
    found = {name: values.cpu() for name, values in found.items()}
    inner = inner.cpu()
    squares = hidden.detach().double().square().sum(-1).cpu()
    found["last_layer_expected"] = found["collision"] * squares
    found["last_layer"] = inner.diagonal()
    found["last_layer_sum"] = (inner * (regions[:, None] == regions)).sum(1)
    found["single_tokens"] = torch.zeros(len(response), dtype=torch.float64)
    parameters = [p for p in model.parameters() if p.requires_grad]

    def backward(chosen: torch.Tensor) -> torch.Tensor:
        gradients = torch.autograd.grad(chosen, parameters, retain_graph=True)
        return torch.cat([gradient.reshape(-1) for gradient in gradients])

    for token in picked:
        found["single_tokens"][token] = float(backward(logps[token]).square().sum())
    rows = torch.zeros(REGIONS, sum(p.numel() for p in parameters))
    for region in regions.unique().tolist():
        rows[region] = backward(logps[(regions == region).to(logps.device)].sum())
    return rows, found


def measure(
    model: PreTrainedModel,
    trajectories: Trajectories,
    schemes: Mapping[str, Callable[[torch.Tensor], torch.Tensor]],
    temperature: float,
    on_row: Callable[[int], object] = lambda done: None,
    single_tokens: int = 64,
) -> Gradients:
    """Measure the gradients of all weightings, with one backward a trajectory and region.

    Args:
        schemes: by name, a trajectory's regions, int64 [T], to its tokens' weights [T]; a region's
            tokens must weigh the same within a trajectory. One of them is `uniform`.
        on_row: called with the number of trajectories done.
        single_tokens: tokens of each region, picked at random, that get a backward of their own.
    """
    group = trajectories.group_size
    counts = torch.stack([torch.bincount(r, minlength=REGIONS) for r in trajectories.regions])
    counts = counts.double()
    weights = {
        name: torch.stack([_per_region(weigh(r).double(), r) for r in trajectories.regions])
        for name, weigh in schemes.items()
    }
    scaled = {name: each * _factors(counts, trajectories) for name, each in weights.items()}
    picks = _pick(trajectories.regions, single_tokens)
    picked = counts.sum(0).clamp(max=single_tokens)
    gram = torch.zeros(len(counts), REGIONS, REGIONS, dtype=torch.float64)
    sums = {name: torch.zeros(REGIONS, dtype=torch.float64) for name in STATISTICS}
    own: dict[str, torch.Tensor] = {}  # of the group so far, [R, D]
    total: dict[str, torch.Tensor] = {}  # of the groups before, [R, D]
    sums_of: dict[str, list[torch.Tensor]] = {name: [] for name in schemes}  # of each group, [D]
    across = {name: torch.zeros(REGIONS, dtype=torch.float64) for name in schemes}
    for row, (response, regions) in enumerate(
        zip(trajectories.responses, trajectories.regions, strict=True)
    ):
        prompt = trajectories.prompts[row // group]
        found, statistics = region_gradients(
            model, prompt, response, regions, temperature, picks[row]
        )
        gram[row] = (found @ found.T).double()
        for name in STATISTICS:
            sums[name].index_add_(0, regions, statistics[name].double())
        for name in schemes:
            part = scaled[name][row].float()[:, None] * found
            own[name] = part if row % group == 0 else own[name].add_(part)
            if (row + 1) % group == 0:
                across[name] -= own[name].square().sum(1).double()
                sums_of[name].append(own[name].sum(0))
                total[name] = own[name] + total[name] if name in total else own[name]
        on_row(row + 1)
    for name, whole in total.items():
        across[name] += whole.square().sum(1).double()
    squares = {
        name: torch.einsum("nr,nrs,ns->n", each, gram, each).view(-1, group).sum(1)
        for name, each in scaled.items()
    }
    stacked = {name: torch.stack(each) for name, each in sums_of.items()}
    means = {name: each.sum(0).double() for name, each in stacked.items()}
    plain = means["uniform"]
    cosines = {
        name: float(mean @ plain / (mean.norm() * plain.norm()).clamp(min=1e-300))
        for name, mean in means.items()
    }
    inner = {name: (each @ each.T).double() for name, each in stacked.items()}
    return Gradients(gram, counts, picked, sums, inner, squares, across, weights, cosines)


def _factors(counts: torch.Tensor, trajectories: Trajectories) -> torch.Tensor:
    """A_i / T_i, [N, 1]."""
    return (trajectories.advantages / counts.sum(1))[:, None]


def _pick(regions: Sequence[torch.Tensor], most: int) -> list[list[int]]:
    """Pick up to `most` random tokens of each region; return their positions by trajectory."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.cat([torch.full((len(each),), row) for row, each in enumerate(regions)])
    place = torch.cat([torch.arange(len(each)) for each in regions])
    region = torch.cat(list(regions))
    order = torch.randperm(len(region), generator=generator)
    picks: list[list[int]] = [[] for _ in regions]
    for r in range(REGIONS):
        for token in order[region[order] == r][:most].tolist():
            picks[int(owner[token])].append(int(place[token]))
    return picks


def _per_region(weights: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """The single weight of each region's tokens, [R]."""
    total = torch.zeros(REGIONS, dtype=torch.float64).index_add_(0, regions, weights)
    mean = total / torch.bincount(regions, minlength=REGIONS).clamp(min=1)
    if (weights - mean[regions]).abs().max() > 1e-5:
        raise ValueError("a region's tokens weigh differently within a trajectory")
    return mean


def scheme_weights(
    scheme: Scheme, entropy: RegionEntropy, progress: float
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A scheme as `measure` takes it."""

    def weigh(regions: torch.Tensor) -> torch.Tensor:
        row = regions[None]
        mask = torch.ones_like(row, dtype=torch.bool)
        return scheme(TokenBatch(row, mask, progress, entropy))[0]

    return weigh


def fixed_weights(table: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Weights by region, [R], normalised within the trajectory."""

    def weigh(regions: torch.Tensor) -> torch.Tensor:
        raw = table[regions]
        return raw / raw.mean().clamp(min=1e-300)

    return weigh


def token_moments(gradients: Gradients) -> torch.Tensor:
    """E||sum_{t in r} s_t||^2 over all parameters, divided by the region's tokens, [R].

    Tokens' scores are uncorrelated, so this is E||s_t||^2 as `single_tokens` has it, but for the
    tokens whose own id decides that they are the region's.
    """
    squares = torch.diagonal(gradients.gram, dim1=1, dim2=2).sum(0)
    return squares / gradients.counts.sum(0).clamp(min=1)


def region_means(gradients: Gradients) -> dict[str, torch.Tensor]:
    """The mean of each statistic in each region, [R]; NaN where it has no token."""
    counts = gradients.counts.sum(0)
    return {
        name: total / (gradients.picked if name == "single_tokens" else counts)
        for name, total in gradients.statistics.items()
    }


def optimum(gradients: Gradients) -> torch.Tensor:
    """Least-variance weights by the second moments over all parameters, [R]; see `FEW`."""
    counts = gradients.counts.sum(0)
    common = torch.where(counts >= FEW, counts, 0.0)
    weights = least_variance_weights(token_moments(gradients), common)
    return torch.where(counts >= FEW, weights, 1.0)


def summary(
    gradients: Gradients, trajectories: Trajectories, name: str
) -> tuple[WeightingMoments, float, float]:
    """A weighting's moments, and its bounds (1) and (2); see `toolrest.experiments.variance`."""
    weights, size = gradients.weights[name], trajectories.group_size
    squares = torch.diagonal(gradients.gram, dim1=1, dim2=2)
    lengths = gradients.counts.sum(1)
    weighted = (weights.square() * squares).sum(1)
    independent, always = bounds(trajectories.advantages, lengths, weighted)
    own = gradients.squares[name], gradients.group_sums[name]
    plain = gradients.squares["uniform"], gradients.group_sums["uniform"]
    (trace_quotient, trace_error), (quotient, ratio_error) = relative_moments(*own, *plain, size)
    over, over_error = trace_over_bound(
        *own, size, trajectories.advantages, weighted / lengths.square()
    )
    scaled = weights * _factors(gradients.counts, trajectories)
    second = (squares * scaled.square()).view(-1, size, REGIONS).mean(1)
    groups = len(second)
    trace = second.mean(0) - gradients.across[name] / (groups * (groups - 1) * size**2)
    error = second.std(0) / groups**0.5
    names = {r: Region(r).name.lower() for r in range(REGIONS) if gradients.counts[:, r].any()}
    found = WeightingMoments(
        **asdict(moments(*own, size)),
        over_bound=over,
        over_bound_error=over_error,
        bound_regions=part_bound(squares, scaled),
        relative_trace=trace_quotient,
        relative_trace_error=trace_error,
        relative_ratio=quotient,
        relative_ratio_error=ratio_error,
        region_trace={region: float(trace[r]) for r, region in names.items()},
        region_trace_error={region: float(error[r]) for r, region in names.items()},
    )
    return found, independent, always


def region_moments(gradients: Gradients, trajectories: Trajectories) -> torch.Tensor:
    """Mean of ||(A / T) sum_{t in r} s_t||^2 over trajectories by region, equal weights, [R]."""
    squares = torch.diagonal(gradients.gram, dim1=1, dim2=2)
    return (squares * _factors(gradients.counts, trajectories).square()).mean(0)

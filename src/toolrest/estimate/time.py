"""Seconds of one generation and the updates on it: operations and bytes over what is reached."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from toolrest.core.regions import Region
from toolrest.core.weights import SignalAware, get_scheme
from toolrest.estimate.gpus import Efficiency, Gpu
from toolrest.estimate.memory import (
    cache_bytes,
    precision_bytes,
    sharded,
    trained_parameters,
    uses_vllm,
    vllm_apart,
)
from toolrest.estimate.shape import ModelShape
from toolrest.recipe import Recipe

WEIGHTING_SECONDS = 17e-3 / 512
"""Labelling and weighting of one response on a CPU, measured: docs/benchmarks.md."""
REWARD_SECONDS = 5e-3 / 512
"""One reward on a CPU, measured: docs/benchmarks.md."""


@dataclass(frozen=True)
class Seconds:
    """Seconds of one generation, by part."""

    prefill: float
    """Prompts through the sampler; each response's prompt is counted, none is shared."""
    decode: float
    """Tokens of responses, one after the other."""
    old_log_probs: float
    """Forwards without gradient for the old policy's log-probabilities and entropies."""
    weighting: float
    """Regions, weights and rewards, on one CPU core."""
    update: float
    """Forwards and backwards of all optimiser steps, and the optimiser."""
    weight_sync: float
    """New weights to the sampler."""

    @property
    def total(self) -> float:
        """All of it, one after the other (`engine.mode=sync`)."""
        return sum(getattr(self, part.name) for part in fields(self))


@dataclass(frozen=True)
class Work:
    """Operations and bytes behind the seconds."""

    prefill_flops: float
    """All GPUs together, one generation."""
    decode_flops: float
    """The same."""
    decode_steps: float
    """Forwards of one copy of the policy, each of which gives its running responses a token."""
    running: float
    """Responses that one copy decodes at once, at most."""
    decode_weight_bytes: float
    """Weights that one GPU reads in all its decode steps."""
    decode_cache_bytes: float
    """Keys and values that one GPU reads in all its decode steps."""
    forward_flops: float
    """One forward over all sequences, all GPUs together."""
    update_flops: float
    """Forwards and backwards of all updates on one generation, all GPUs together."""
    update_link_bytes: float
    """What one GPU receives and sends in them."""
    forward_link_bytes: float
    """The same in one forward over all its sequences."""


def layers_flops(shape: ModelShape, tokens: float, sequence: float) -> float:
    """Operations of a forward through the layers: 2 M + 2 L a d T a token.

    M: parameters of all layers' matrices; the second term is causal attention over T tokens, half
    of PaLM's 4 L a d T (arXiv 2204.02311, appendix B).
    """
    matrices = 2 * shape.layers * shape.active_matrices
    return tokens * (matrices + 2 * shape.layers * shape.query_width * sequence)


def head_flops(shape: ModelShape, tokens: float) -> float:
    """Operations of one pass of tokens through the output head: 2 V h a token."""
    return 2 * tokens * shape.head_matrix


def backward_passes(recipe: Recipe) -> float:
    """A backward in forwards of the layers: 2, or 1 where the weights are frozen; 1 more to
    recompute activations (arXiv 1604.06174)."""
    passes = 1.0 if recipe.lora.rank else 2.0
    return passes + (1.0 if recipe.optimizer.gradient_checkpointing else 0.0)


def work(
    recipe: Recipe, shape: ModelShape, gpu: Gpu, prompt_tokens: float, response_tokens: float
) -> Work:
    """Operations and bytes of one generation.

    Args:
        prompt_tokens: of a prompt, on average.
        response_tokens: of a response, on average. One response is taken to reach the limit.
    """
    responses = recipe.responses_per_generation
    sequence = prompt_tokens + response_tokens
    verl = recipe.engine.name == "verl"
    # verl packs sequences; shared prefixes stand once in a group; else TRL pads each sequence to
    # the generation's longest prompt and response
    shared = not verl and shape.packs and shares_prefixes(recipe)
    trained = sequence if verl or shared else recipe.longest_sequence
    scored = responses * (sequence if verl else response_tokens)
    together = responses_together(recipe, prompt_tokens, response_tokens) if shared else 1.0
    packed = responses * (prompt_tokens / together + response_tokens)
    forwarded = packed if shared else responses * trained
    layers = layers_flops(shape, forwarded, trained)
    adapters = 2.0 * forwarded * trained_parameters(recipe, shape)
    adapters = adapters if recipe.lora.rank else 0.0
    head = head_flops(shape, scored)
    # The fused head computes logits again in its backward; a frozen one has no gradient
    head_passes = (1 if verl else 2) + (1 if recipe.lora.rank else 2)
    update = layers * (1 + backward_passes(recipe)) + 3 * adapters + head * head_passes
    decoded = responses * response_tokens
    spread = _copies(recipe)
    running = _running(recipe, shape, gpu, prompt_tokens, response_tokens)
    each = responses / spread.copies
    steps = max(recipe.rollout.max_response_tokens, each * response_tokens / running)
    context = prompt_tokens + response_tokens / 2
    read = 2 if uses_vllm(recipe) else precision_bytes(recipe)
    cached = shape.kv_bytes_per_token * read / 2
    gradient, gathered = _link_bytes(recipe, shape)
    forwards = recipe.responses_per_generation / spread.gpus / recipe.responses_per_forward
    updates = recipe.steps_per_generation
    return Work(
        prefill_flops=layers_flops(shape, responses * prompt_tokens, prompt_tokens),
        decode_flops=layers_flops(shape, decoded, 2 * context) + head_flops(shape, decoded),
        decode_steps=steps,
        running=running,
        decode_weight_bytes=steps * read * shape.parameters / spread.tensor_parallel,
        decode_cache_bytes=(each * response_tokens * context * cached / spread.tensor_parallel),
        forward_flops=layers + adapters + head,
        update_flops=update * recipe.optimizer.iterations,
        update_link_bytes=(
            forwards * recipe.optimizer.iterations * (2 * gathered + gradient.each_forward)
            + updates * gradient.each_update
        ),
        forward_link_bytes=forwards * gathered,
    )


def shares_prefixes(recipe: Recipe) -> bool:
    """Whether the recipe lets a forward compute a prompt once; dropout does not."""
    return recipe.optimizer.prefix_sharing != "off" and recipe.lora.dropout == 0


def responses_together(recipe: Recipe, prompt_tokens: float, response_tokens: float) -> float:
    """Responses of a group in one forward, behind their prompt.

    Args:
        prompt_tokens: of a prompt, on average.
        response_tokens: of a response, on average.
    """
    rows = recipe.responses_per_process
    if recipe.engine.name == "trl" and recipe.engine.sharding != "ddp":
        rows = recipe.responses_per_forward
    elif recipe.optimizer.micro_tokens or recipe.optimizer.micro_batch:
        tokens = recipe.optimizer.micro_tokens
        tokens = tokens or recipe.responses_per_forward * recipe.longest_sequence
        rows = math.floor((tokens - prompt_tokens) / response_tokens)
    return float(max(1, min(recipe.rollout.group_size, rows)))


def seconds(
    recipe: Recipe,
    shape: ModelShape,
    gpu: Gpu,
    efficiency: Efficiency,
    prompt_tokens: float,
    response_tokens: float,
) -> Seconds:
    """Seconds of one generation, by part.

    A part is bound by its operations over `gpu.flops`, or by its bytes over the memory's or the
    links' bandwidth, whichever takes longer; both overlap perfectly. Not counted: latency of
    kernels and links, loading, saving, evaluation.
    """
    done = work(recipe, shape, gpu, prompt_tokens, response_tokens)
    spread = _copies(recipe)
    rate = gpu.flops * efficiency.flops
    memory_rate = gpu.bandwidth * efficiency.bandwidth
    link_rate = collective_rate(recipe, gpu, efficiency)
    samplers = spread.copies * spread.tensor_parallel
    trained = trained_parameters(recipe, shape) / sharded(recipe)[1]
    adam = 28 * trained / memory_rate  # reads p, g, m, v and writes p, m, v, float32
    read = done.decode_weight_bytes + done.decode_cache_bytes
    forward = max(done.forward_flops / spread.gpus / rate, done.forward_link_bytes / link_rate)
    update = max(done.update_flops / spread.gpus / rate, done.update_link_bytes / link_rate)
    # A vLLM of its own has the weights sent; a colocated one copies them within the GPU
    alone = spread.gpus == 1 and not vllm_apart(recipe)
    sync_rate = memory_rate / 2 if alone else link_rate
    cores = 1 if recipe.engine.name == "verl" else spread.gpus
    return Seconds(
        prefill=done.prefill_flops / samplers / rate,
        decode=max(read / memory_rate, done.decode_flops / samplers / rate),
        old_log_probs=forward * (old_policy_forwards(recipe) + (recipe.optimizer.beta > 0)),
        weighting=(WEIGHTING_SECONDS + REWARD_SECONDS) * recipe.responses_per_generation / cores
        + forward * signal_forwards(recipe),
        update=update + adam * recipe.steps_per_generation,
        weight_sync=2 * shape.parameters / sync_rate if uses_vllm(recipe) else 0.0,
    )


def old_policy_forwards(recipe: Recipe) -> int:
    """Forwards a generation for the old policy: verl always has one; TRL needs one for several
    updates a generation, to correct for vLLM, or to measure the rollouts' entropies where the
    sampler does not tell them."""
    several = recipe.steps_per_generation > 1
    corrected = uses_vllm(recipe) and recipe.rollout.vllm.correction
    weighting = recipe.weighting
    reads = get_scheme(weighting.scheme, **weighting.options).statistic is not None
    measured = reads and weighting.entropy_source != "static"
    wanted = measured or recipe.rollout.saved_entropies
    unknown = wanted and recipe.rollout.sampler != "shared_prefix"
    return int(recipe.engine.name == "verl" or several or corrected or unknown)


def signal_forwards(recipe: Recipe) -> float:
    """What measuring the signal of regions takes a generation, in forwards of all its responses: of
    a part of them one forward, and a backward of two for each region and for the target."""
    scheme = get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    if not isinstance(scheme, SignalAware):
        return 0.0
    rows = min(scheme.rows, recipe.responses_per_update)
    return rows / recipe.responses_per_generation * (1 + 2 * (len(Region) + 1))


def collective_rate(recipe: Recipe, gpu: Gpu, efficiency: Efficiency) -> float:
    """Bytes a second of one GPU in collectives: the link, or all network cards of its machine
    where a ring leaves it, whichever is less."""
    rate = gpu.link
    if recipe.engine.nodes > 1:
        rate = min(rate, recipe.engine.processes * efficiency.network)
    return rate * efficiency.bandwidth


@dataclass(frozen=True)
class _Spread:
    gpus: int
    copies: float
    tensor_parallel: int


def _copies(recipe: Recipe) -> _Spread:
    """How many copies of the policy sample, and over how many GPUs each."""
    gpus = recipe.engine.processes * recipe.engine.nodes
    if not uses_vllm(recipe):
        return _Spread(gpus, gpus, 1)
    parallel = recipe.rollout.vllm.tensor_parallel
    return _Spread(gpus, 1 if vllm_apart(recipe) else gpus / parallel, parallel)


def _running(
    recipe: Recipe, shape: ModelShape, gpu: Gpu, prompt_tokens: float, response_tokens: float
) -> float:
    each = recipe.responses_per_generation / _copies(recipe).copies
    if not uses_vllm(recipe):
        return each
    context = prompt_tokens + response_tokens / 2
    room = cache_bytes(recipe, shape, gpu) * recipe.rollout.vllm.tensor_parallel
    fitting = math.floor(room / (context * shape.kv_bytes_per_token))
    return float(max(1, min(each, fitting)))


@dataclass(frozen=True)
class _Gradient:
    each_forward: float
    each_update: float


def _link_bytes(recipe: Recipe, shape: ModelShape) -> tuple[_Gradient, float]:
    """What a GPU sends for gradients, and receives of parameters for one pass (ZeRO's sums)."""
    gpus = recipe.engine.processes * recipe.engine.nodes
    ring = (gpus - 1) / gpus
    parts, state_parts = sharded(recipe)
    gradients = 4 * trained_parameters(recipe, shape) * ring
    gathered = 2 * shape.parameters * ring if parts > 1 else 0.0
    if parts > 1:
        return _Gradient(gradients, 0.0), gathered
    if state_parts > 1:
        return _Gradient(gradients, gradients), gathered
    return _Gradient(0.0, 2 * gradients), gathered

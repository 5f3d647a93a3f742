"""Bytes that one GPU holds while it samples and while it trains."""

from __future__ import annotations

from dataclasses import dataclass

from toolrest.estimate.gpus import Efficiency, Gpu
from toolrest.estimate.shape import ModelShape
from toolrest.recipe import Recipe
from toolrest.recipe.sharding import is_parted

_TILE_TOKENS, _TILE_VOCAB = 4096, 32_768
_LOGIT_BYTES = 2 + 4 + 4
_NF4_BYTES = (4 + 0.127) / 8


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU at the longest prompts and responses that the recipe allows."""

    weights: float
    """Parameters that stay in memory, float32, this GPU's part; those of the policy at the start
    too, where the loss has a KL term and no adapters can be switched off for it."""
    gradients: float
    """Of what is trained, float32, this GPU's part."""
    optimizer: float
    """AdamW's two moments, float32 or 8 bits, this GPU's part."""
    working: float
    """Copies of parameters in the precision of forwards."""
    activations: float
    """What one micro-batch's backward needs."""
    head: float
    """Logits and their gradient, or the fused head's tiles and gradients."""
    sampling: float
    """vLLM's share of the memory, or the key and value cache: a prompt's once a response, with
    the sampler shared_prefix once a group."""
    sampling_stays: bool
    """Whether it is held while training too (TRL's colocated vLLM)."""
    overhead: float
    """Assumed: the CUDA context, workspaces, fragmentation."""
    evaluation: float = 0.0
    """Where no GPU holds the whole policy in training: the policy, whole, float32, while it is
    evaluated before and after. Keys and values take of the rest what `evaluation.batch_size` says.
    """

    @property
    def state(self) -> float:
        """What is always held, without the sampler."""
        return self.weights + self.gradients + self.optimizer + self.overhead

    @property
    def training(self) -> float:
        """While an update is computed."""
        held = self.sampling if self.sampling_stays else 0.0
        return self.state + self.working + self.activations + self.head + held

    @property
    def rollout(self) -> float:
        """While responses are sampled."""
        return self.state + self.sampling

    @property
    def peak(self) -> float:
        """The greatest, that of evaluations included."""
        evaluation = self.evaluation + self.overhead if self.evaluation else 0.0
        return max(self.training, self.rollout, evaluation)


def sharded(recipe: Recipe) -> tuple[int, int]:
    """Into how many parts parameters, and gradients with the optimiser's state, are split.

    A configuration file of accelerate counts as `ddp`, the most memory.
    """
    gpus = recipe.engine.processes * recipe.engine.nodes
    if recipe.engine.name == "verl" or recipe.engine.sharding in ("fsdp", "zero3"):
        return gpus, gpus
    return 1, gpus if recipe.engine.sharding == "zero2" else 1


def precision_bytes(recipe: Recipe) -> int:
    """Bytes of one number in forwards and backwards on a GPU."""
    return 4 if recipe.engine.precision == "float32" else 2


def trained_parameters(recipe: Recipe, shape: ModelShape) -> int:
    """The adapters', or all."""
    if recipe.lora.rank:
        return shape.lora_parameters(recipe.lora.rank, recipe.lora.names)
    return shape.parameters


def memory(recipe: Recipe, shape: ModelShape, gpu: Gpu, efficiency: Efficiency) -> Memory:
    """Bytes of one GPU, part by part.

    With N parameters, P trained ones, G GPUs that share them: 4 (N + adapters) / G for parameters,
    4 P / G for gradients, 8 P / G for AdamW's moments, all float32 (ZeRO, arXiv 1910.02054). With
    8 bits the moments take 2 P / G; with nf4 a layer's matrices half a byte a parameter and
    0.127 bits for its scales (QLoRA, arXiv 2305.14314). A KL term keeps 4 N / G more.
    """
    size = precision_bytes(recipe)
    trained = trained_parameters(recipe, shape)
    parts, state_parts = sharded(recipe)
    tokens = recipe.responses_per_forward * recipe.longest_sequence
    return Memory(
        weights=_kept(recipe, shape, trained) / parts,
        gradients=4 * trained / state_parts,
        optimizer=(8 if recipe.optimizer.name == "adamw" else 2) * trained / state_parts,
        working=_working(recipe, shape, size, parts),
        activations=_activations(recipe, shape, size, tokens),
        head=_head(recipe, shape, tokens),
        sampling=_sampling(recipe, shape, gpu),
        sampling_stays=recipe.engine.name == "trl" and uses_vllm(recipe),
        overhead=efficiency.overhead,
        evaluation=_evaluation(recipe, shape),
    )


def _kept(recipe: Recipe, shape: ModelShape, trained: int) -> float:
    """Bytes of all parameters that are kept, undivided."""
    policy = 4.0 * shape.parameters
    if recipe.lora.rank:
        matrices = shape.layers * shape.layer_matrices
        packed = (4 - _NF4_BYTES) * matrices if recipe.lora.base_precision == "nf4" else 0.0
        return policy - packed + 4 * trained
    return policy * (2 if recipe.optimizer.beta else 1)


def _evaluation(recipe: Recipe, shape: ModelShape) -> float:
    if not is_parted(recipe) or not recipe.evaluation.samples:
        return 0.0
    return 4.0 * shape.parameters


def host_bytes(recipe: Recipe, shape: ModelShape) -> float | None:
    """Bytes that the processes of one machine need besides their GPUs', float32; None with verl.

    A process reads the policy whole before it goes to its GPU, 4 N bytes. Where no GPU holds it
    whole, one process of a machine does for training, and all do for evaluations. To save a
    checkpoint of FSDP, process 0 gathers AdamW's moments, 8 bytes a trained parameter.
    """
    if recipe.engine.name == "verl":
        return None
    alone = is_parted(recipe) and not recipe.evaluation.samples
    read = 4.0 * shape.parameters * (1 if alone else recipe.engine.processes)
    gathers = is_parted(recipe) and recipe.engine.sharding == "fsdp"
    return max(read, 8.0 * trained_parameters(recipe, shape) if gathers else 0.0)


def uses_vllm(recipe: Recipe) -> bool:
    """Whether vLLM samples, as it does with verl."""
    return recipe.engine.name == "verl" or recipe.rollout.sampler == "vllm"


def layer_activation_bytes(shape: ModelShape, size: int) -> int:
    """Bytes a token that one layer keeps for its backward, with attention that keeps no scores.

    A norm keeps its input in float32, the normalised one and its output; attention the rotated
    queries and keys, the values and its output; the MLP gate, activation, up and product. After
    arXiv 2205.05198, section 4, for these layers.
    """
    h, q, kv, f = shape.hidden, shape.query_width, shape.kv_width, shape.intermediate
    norms = 2 * h + (q + kv if shape.head_norms else 0)
    return (4 + 2 * size) * norms + size * ((q + kv) + kv + q + 4 * f * shape.active)


def _working(recipe: Recipe, shape: ModelShape, size: int, parts: int) -> float:
    if parts > 1:  # the unit that is computed and the one that is fetched ahead
        embedding = shape.head_matrix * (1 if shape.tied else 2)
        return size * (embedding + 2 * shape.layer_parameters)
    if size == 4:
        return 0.0
    # autocast keeps its casts of what is trained; a frozen matrix is cast each time
    largest = max(shape.layer_matrices, shape.head_matrix)
    return size * (largest if recipe.lora.rank else shape.parameters)


def _activations(recipe: Recipe, shape: ModelShape, size: int, tokens: int) -> float:
    layer = layer_activation_bytes(shape, size)
    if not recipe.optimizer.gradient_checkpointing:
        return tokens * shape.layers * layer
    return tokens * (shape.layers * size * shape.hidden + layer)


def _head(recipe: Recipe, shape: ModelShape, tokens: int) -> float:
    """verl: logits of every token, 2 + 4 + 4 bytes (bfloat16, float32, gradient). TRL's fused head:
    two tiles of 4,096 x 32,768, and float32 gradients of its input and of its weight if trained.
    """
    if recipe.engine.name == "verl":
        return _LOGIT_BYTES * tokens * shape.vocab
    scored = recipe.responses_per_forward * recipe.longest_response
    tile = 2 * min(scored, _TILE_TOKENS) * min(shape.vocab, _TILE_VOCAB)
    weight = 0 if recipe.lora.rank else 4 * shape.head_matrix
    return tile + 4 * scored * shape.hidden + weight


def _sampling(recipe: Recipe, shape: ModelShape, gpu: Gpu) -> float:
    if uses_vllm(recipe):
        return 0.0 if vllm_apart(recipe) else recipe.rollout.vllm.memory * gpu.memory
    gpus = recipe.engine.processes * recipe.engine.nodes
    if is_parted(recipe) and recipe.engine.sharding == "zero3":  # TRL gathers the policy for it
        whole = precision_bytes(recipe) * shape.parameters
    else:
        whole = 0
    responses = recipe.responses_per_generation / gpus
    each = shape.kv_bytes_per_token * precision_bytes(recipe) / 2
    if recipe.rollout.sampler == "shared_prefix":
        prompts = responses / recipe.rollout.group_size * recipe.data.max_prompt_tokens
        return whole + (prompts + responses * recipe.longest_response) * each
    return whole + responses * recipe.longest_sequence * each


def vllm_apart(recipe: Recipe) -> bool:
    """Whether vLLM runs on GPUs of its own."""
    return recipe.engine.name == "trl" and recipe.rollout.vllm.mode == "server"


def cache_bytes(recipe: Recipe, shape: ModelShape, gpu: Gpu) -> float:
    """Room for keys and values on one GPU: vLLM's memory less its bfloat16 weights.

    A vLLM apart has vLLM's usual 0.9 of its GPUs. Negative: the weights do not fit.
    """
    share = 0.9 if vllm_apart(recipe) else recipe.rollout.vllm.memory
    return share * gpu.memory - 2 * shape.parameters / recipe.rollout.vllm.tensor_parallel

"""Checks that the TRL engine's settings leave the token weights intact."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized
from typing import Any

import torch

from toolrest.core.weights import Scheme, Uniform
from toolrest.engines.common.entropy import EntropySource
from toolrest.engines.common.reward import ToolReward
from toolrest.engines.trl.config import ClipBy, Credit, ResTConfig
from toolrest.errors import InputError, check_name, counted, unknown_name

EXACT_LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "sapo", "cispo")
"""TRL's losses in which a per-token advantage weighs exactly its token."""

CLIPPED_LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
"""TRL's losses that clip a token's ratio to [1 - epsilon, 1 + epsilon_high]."""


def check_reward_dialect(reward: str, policy: str) -> None:
    """Refuse a reward that reads another dialect than the regions are labelled in.

    Raises:
        InputError: naming both.
    """
    if reward != policy:
        raise InputError(
            f"the policy writes dialect={policy} but the reward reads {reward}; "
            f"use ToolReward(dialect={policy!r}) with ground truths in it"
        )


def check_settings(args: ResTConfig, scheme: Scheme) -> None:
    """Refuse settings under which the scheme's weights would not do what they say.

    Raises:
        InputError: naming the setting, the reason and the mend.
    """
    if args.entropy_source not in tuple(EntropySource):
        raise InputError(
            unknown_name("entropy source", args.entropy_source, [str(s) for s in EntropySource])
        )
    check_name("credit", args.credit, [str(credit) for credit in Credit])
    _check_clipping(args)
    check_name("prefix_sharing", args.prefix_sharing, ("auto", "on", "off"))
    check_name("non_finite", args.non_finite, ("stop", "skip"))
    check_name("normalise", args.normalise, ("turn", "trajectory"))
    check_name("environment_failure", args.environment_failure, ("unscored", "stop"))
    check_name("prompt_style", args.prompt_style, ("auto", "template", "plain"))
    if args.deepspeed_plugin is not None and args.non_finite == "skip":
        raise InputError(
            "non_finite='skip' with DeepSpeed: it owns the gradients, and no step of it is left "
            "out safely; use non_finite='stop', or FSDP"
        )
    if not 0 <= args.credit_discount <= 1:
        raise InputError(f"credit_discount must be in [0, 1]; got {args.credit_discount}")
    if not 0 <= args.llds < math.inf:
        raise InputError(f"llds must be a number of at least 0; got {args.llds}")
    if not 0 <= args.entropy_decay < 1:
        raise InputError(f"entropy_decay must be in [0, 1); got {args.entropy_decay}")
    if isinstance(scheme, Uniform) and args.credit == Credit.RESPONSE:
        return
    if args.importance_sampling_level != "token":
        raise InputError(
            f"importance_sampling_level={args.importance_sampling_level!r} gives a sequence one "
            "ratio, in which weights of mean 1 cancel; use 'token', or weighting='uniform'"
        )
    if args.loss_type not in EXACT_LOSS_TYPES:
        raise InputError(
            f"loss_type={args.loss_type!r} does not weigh tokens by their advantages; use one of "
            f"{', '.join(EXACT_LOSS_TYPES)}, or weighting='uniform'"
        )
    if args.top_entropy_quantile < 1.0:
        raise InputError(
            f"top_entropy_quantile={args.top_entropy_quantile} drops the low-entropy tokens, just "
            "those that the weights raise; leave it at 1.0, or use weighting='uniform'"
        )


def _check_clipping(args: ResTConfig) -> None:
    """Refuse a range for each token where none is clipped by itself."""
    check_name("clip_by", args.clip_by, [str(each) for each in ClipBy])
    if args.clip_by == ClipBy.NONE:
        return
    if args.importance_sampling_level != "token":
        raise InputError(
            f"clip_by={args.clip_by!r}: importance_sampling_level="
            f"{args.importance_sampling_level!r} gives a sequence one ratio, which has no region; "
            "use 'token', or clip_by='none'"
        )
    if args.loss_type not in CLIPPED_LOSS_TYPES:
        raise InputError(
            f"clip_by={args.clip_by!r}: loss_type={args.loss_type!r} clips no token's ratio to a "
            f"range around 1; use one of {', '.join(CLIPPED_LOSS_TYPES)}, or clip_by='none'"
        )


def check_weights_stay(args: ResTConfig, model: torch.nn.Module) -> None:
    """Refuse continuous batching where TRL (`_generate_single_turn`) casts the weights that are
    trained to 16 bits for sampling and leaves them so: small updates are then lost.

    Raises:
        InputError: naming the settings and the mend.
    """
    if not args.use_transformers_continuous_batching or not (args.bf16 or args.fp16):
        return
    if any(each.requires_grad and each.dtype == torch.float32 for each in model.parameters()):
        kind = "bf16" if args.bf16 else "fp16"
        raise InputError(
            f"use_transformers_continuous_batching with {kind}: TRL casts the float32 weights that "
            "are trained to 16 bits and leaves them so; leave it out, or sample with use_vllm"
        )


def check_rows(dataset: object, args: ResTConfig) -> None:
    """Refuse a data set with fewer rows than a generation has prompts.

    Raises:
        InputError: naming both numbers and the mend.
    """
    prompts = (args.generation_batch_size or 1) // (args.num_generations or 1)
    if isinstance(dataset, Sized) and len(dataset) < prompts:
        raise InputError(
            f"train_dataset has {counted(len(dataset), 'row')}, and a generation takes {prompts} "
            "prompts (generation_batch_size / num_generations): nothing would be trained; give "
            "more rows, or lower per_device_train_batch_size or steps_per_generation"
        )


def check_credit(args: ResTConfig, rewards: Sequence[Any], tools: object, acts: bool) -> None:
    """Refuse rewards whose parts are not known to be decided one after the other.

    Args:
        acts: whether an environment rewards turns.

    Raises:
        InputError: naming the reason and the mend.
    """
    if args.credit in (Credit.RESPONSE, Credit.FORKS):
        return
    if args.credit == Credit.TURNS:
        if acts and len(rewards) == 1:
            return
        raise InputError(
            "credit='turns' needs an environment that rewards turns, and no other reward, of which "
            "no turn is known to have earned it; use credit='response'"
        )
    if acts:
        raise InputError("credit='spans' reads one turn; use credit='turns' with an environment")
    known = len(rewards) == 1 and isinstance(rewards[0], ToolReward)
    if not known or type(rewards[0]).__call__ is not ToolReward.__call__:
        raise InputError(
            "credit='spans' needs one reward, a ToolReward, whose parts it knows; use "
            "credit='response' with other rewards"
        )
    if tools:
        raise InputError("credit='spans' reads one turn; use credit='response' with tools")


def check_noise(args: ResTConfig, rewards: Sequence[Any]) -> None:
    """Refuse label noise where no reward has a correctness to turn round, or parts are credited.

    Raises:
        InputError: naming the reason and the mend.
    """
    share = args.label_noise
    if not 0 <= share <= 1:
        raise InputError(f"label_noise={share!r}: a share of the responses, from 0 to 1")
    if not share:
        return
    if not any(
        type(r).__call__ is ToolReward.__call__ for r in rewards if isinstance(r, ToolReward)
    ):
        raise InputError(
            f"label_noise={share:g} turns the correctness of a ToolReward round, and there is "
            "none; leave it out"
        )
    if args.credit not in (Credit.RESPONSE, Credit.FORKS):
        raise InputError(
            f"label_noise={share:g} with credit={args.credit!r}: parts of a reward would stay true "
            "while their sum is not; use credit='response'"
        )


def check_whole_groups(args: ResTConfig) -> None:
    """Refuse groups that are cut in two by processes, where rewards to go are compared within one.

    Raises:
        InputError: naming the sizes.
    """
    rows = args.per_device_train_batch_size * (args.steps_per_generation or 1)
    group = args.num_generations or 1
    if rows % group and args.credit != Credit.RESPONSE:
        raise InputError(
            f"credit={args.credit!r} compares the responses of a group, but a process gets {rows} "
            f"responses a generation and groups have {group}: use a multiple of {group}, or fewer "
            "processes"
        )


def check_save_steps(args: ResTConfig) -> None:
    """Refuse checkpoints inside a generation window, from which no run resumes exactly.

    Raises:
        InputError: naming the nearest number of steps that fits.
    """
    window = (args.steps_per_generation or 1) * args.num_iterations
    steps = args.save_steps * args.gradient_accumulation_steps
    if args.save_strategy == "steps" and (args.save_steps < 1 or steps % window):
        fits = max(1, math.lcm(window, args.gradient_accumulation_steps))
        fits //= args.gradient_accumulation_steps
        raise InputError(
            f"save_steps={args.save_steps} falls inside a generation window (rollouts are reused "
            f"for {window} batches, {args.gradient_accumulation_steps} a step); use a multiple of "
            f"{fits}"
        )


def check_alone(
    args: ResTConfig, tools: object, rollout_func: object, environment_factory: object
) -> None:
    """Refuse what would act or sample beside an environment.

    Raises:
        InputError: naming it.
    """
    if args.use_vllm:
        raise InputError("environment= does not sample with vLLM; leave use_vllm out")
    if args.repetition_penalty != 1.0 or args.generation_kwargs:
        raise InputError(
            "environment= draws tokens by temperature, top_p, top_k and min_p alone; leave "
            "repetition_penalty and generation_kwargs out"
        )
    if args.mask_truncated_completions:
        raise InputError(
            "mask_truncated_completions: TRL takes every episode that ends with a result for one "
            "that was cut; leave it out with environment="
        )
    beside = {
        "tools": tools,
        "rollout_func": rollout_func,
        "environment_factory": environment_factory,
    }
    for name, value in beside.items():
        if value:
            raise InputError(
                f"environment= and {name}= both say how the policy acts; leave {name} out"
            )


def check_prompt_ids(datasets: Sequence[Any], environment_factory: Any) -> None:
    """Refuse prompts' ids beside an environment, whose `reset` adds to the prompts' messages.

    Args:
        datasets: for training and for evaluation; None where there is none.
    """
    if environment_factory is None:
        return
    for each in datasets:
        if "prompt_ids" in (getattr(each, "column_names", None) or ()):
            raise InputError(
                "the data set's column prompt_ids cannot be used with environment_factory, which "
                "adds to the prompts; remove the column"
            )

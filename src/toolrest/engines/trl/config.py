"""The TRL engine's settings, and checks that they leave the token weights intact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.utils import get_config_model_id

from toolrest.core.weights import Scheme, Uniform, get_scheme
from toolrest.engines.common.entropy import EntropySource
from toolrest.engines.common.reward import ToolReward
from toolrest.errors import InputError, check_name, unknown_name

EXACT_LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "sapo", "cispo")
"""TRL's losses in which a per-token advantage weighs exactly its token."""

if TYPE_CHECKING:
    Weighting = str | Scheme
else:
    Weighting = str  # transformers' argument parser takes one type, and a command line a name


class Credit(StrEnum):
    """What a token is credited with."""

    RESPONSE = "response"
    """The whole advantage of its response (GRPO)."""
    TURNS = "turns"
    """What its own turn and later ones earn; see `toolrest.core.turns.turn_decisions`."""
    SPANS = "spans"
    """What was undecided when it was sampled; see `toolrest.core.credit.reward_to_go`."""


@dataclass
class ResTConfig(GRPOConfig):
    """`GRPOConfig` with the weighting. `loss_type` is the paper's per-sequence mean.

    Args:
        loss_type: TRL's loss; one of `EXACT_LOSS_TYPES` unless tokens are weighed alike.
        weighting: a scheme's name, a product of several such as `rest*stare`, or a `Scheme`.
        weighting_options: options of a scheme that is given by its name.
        dialect: how the policy writes calls; `auto`: as its chat template does.
        credit: see `Credit`.
        credit_discount: with `turns` and `spans`, what a later decision counts, in [0, 1].
        normalise: `turn` or `trajectory`: over what the weights of a response of several turns have
            mean 1.
        max_turns: with an environment, turns of the policy in one episode.
        max_turn_tokens: with an environment, tokens of one turn; None: `max_completion_length`,
            which is that of all turns and results together.
        max_result_tokens: with an environment, a longer result is cut in the middle.
        max_start_tokens: with an environment, an episode that begins with more is left out.
        call_timeout: with an environment, seconds that the calls of one turn may take.
        episode_timeout: with an environment, seconds that it may work on one episode.
        environment_workers: with an environment, episodes whose calls run at the same time.
        environment_memory: with an environment, GB that an episode's process may grow by.
        environment_failure: `unscored` or `stop`: what follows where an environment fails.
        prompt_style: with an environment, `template` or `plain`, see `toolrest.data.wording`;
            `auto`: template where the chat template lists tools and writes the dialect.
        record_entropies: whether `on_rollouts` gets every token's entropy, in nats.
        non_finite: `stop` or `skip`: what follows a reward, weight or gradient of NaN.
        entropy_source: see `EntropySource`.
        entropy_decay: weight of the past in the online average, in [0, 1).
        prefix_sharing: `auto`, `on` or `off`: whether a forward computes the prompt of several
            responses once. `off` is TRL's own forward, bit for bit; `auto` shares where that is
            exact up to rounding.
        micro_tokens: None, or the tokens of one forward and backward: a process's
            `per_device_train_batch_size` rows are cut in parts of at most so many.

    On a machine without an accelerator `bf16` is off unless given; `GRPOConfig` is an error there.
    """

    loss_type: str = field(default="grpo", metadata={"help": "TRL's loss; see EXACT_LOSS_TYPES."})
    weighting: Weighting = field(
        default="rest", metadata={"help": "Weighting scheme, or a product such as rest*stare."}
    )
    weighting_options: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "Options of the weighting scheme."}
    )
    dialect: str = field(
        default="rlla",
        metadata={"help": "How the policy writes calls; auto: see the chat template."},
    )
    credit: str = field(
        default="response",
        metadata={"help": "response or spans: whether decided parts of the reward still count."},
    )
    credit_discount: float = field(
        default=1.0,
        metadata={"help": "With credit=spans: what a later decision counts, in [0, 1]."},
    )
    normalise: str = field(
        default="turn", metadata={"help": "turn or trajectory: over what weights have mean 1."}
    )
    max_turns: int = field(default=8, metadata={"help": "Turns in an episode."})
    max_turn_tokens: int | None = field(
        default=None, metadata={"help": "Tokens of a turn; None: max_completion_length."}
    )
    max_result_tokens: int = field(
        default=256, metadata={"help": "A longer result of a call is cut in the middle."}
    )
    max_start_tokens: int = field(
        default=4096, metadata={"help": "An episode that begins with more is left out."}
    )
    call_timeout: float = field(default=30.0, metadata={"help": "Seconds of a turn's calls."})
    episode_timeout: float = field(default=300.0, metadata={"help": "Seconds of an episode."})
    environment_workers: int = field(
        default=16, metadata={"help": "Episodes whose calls run at the same time."}
    )
    environment_memory: float = field(
        default=4.0, metadata={"help": "GB that an episode's process may grow by."}
    )
    environment_failure: str = field(
        default="unscored", metadata={"help": "unscored or stop: what follows a failure."}
    )
    prompt_style: str = field(
        default="auto", metadata={"help": "auto, template or plain: how episodes are worded."}
    )
    record_entropies: bool = field(
        default=False,
        metadata={"help": "Hand on_rollouts every token's entropy."},
    )
    non_finite: str = field(
        default="stop",
        metadata={"help": "stop or skip: what follows a reward, weight or gradient of NaN."},
    )
    entropy_source: str = field(
        default="online", metadata={"help": "online, static or exact; see EntropySource."}
    )
    entropy_decay: float = field(
        default=0.9, metadata={"help": "Weight of the past in the online average, in [0, 1)."}
    )
    prefix_sharing: str = field(
        default="off",
        metadata={"help": "auto, on or off: forward the prompt of several responses once."},
    )
    micro_tokens: int | None = field(
        default=None, metadata={"help": "Tokens of one forward and backward; None: all rows."}
    )

    def __post_init__(self) -> None:
        if self.bf16 is None and not torch.accelerator.is_available():
            self.bf16 = False
        super().__post_init__()

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values; a scheme as its class and options."""
        return super().to_dict() | {"weighting": str(self.weighting)}


def own_settings(args: object, model: Any) -> ResTConfig:
    """The settings given, or the defaults where none are, as `GRPOTrainer` has them.

    Args:
        model: the policy or its name, which the default output folder is named after.

    Raises:
        InputError: settings of another class, such as a plain `GRPOConfig`: they name no weighting,
            and their default `loss_type` is another.
    """
    if isinstance(args, ResTConfig):
        return args
    if args is None:
        name = model if isinstance(model, str) else get_config_model_id(model.config)
        return ResTConfig(f"{name.split('/')[-1]}-ResT")
    raise InputError(
        f"args is a {type(args).__name__}, which names no weighting; use ResTConfig (from "
        "toolrest), which takes the settings of GRPOConfig; there loss_type is 'grpo' "
        "unless given"
    )


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


def chosen_scheme(args: ResTConfig) -> Scheme:
    """The scheme that `weighting` names or is.

    Raises:
        InputError: it is neither, there is no such scheme or option, or a scheme is given that has
            its options already.
    """
    if isinstance(args.weighting, str):
        return get_scheme(args.weighting, **args.weighting_options)
    if not isinstance(args.weighting, Scheme):
        raise InputError(
            f"weighting={args.weighting!r} is neither a scheme's name nor a Scheme; use a name "
            "such as 'rest', a product such as 'rest*stare', or an object such as Rest(w_max=3.0)"
        )
    if args.weighting_options:
        raise InputError(
            f"weighting_options={args.weighting_options}: weighting is a scheme that has its "
            "options; set them there"
        )
    return args.weighting


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
    check_name("prefix_sharing", args.prefix_sharing, ("auto", "on", "off"))
    check_name("non_finite", args.non_finite, ("stop", "skip"))
    check_name("normalise", args.normalise, ("turn", "trajectory"))
    check_name("environment_failure", args.environment_failure, ("unscored", "stop"))
    check_name("prompt_style", args.prompt_style, ("auto", "template", "plain"))
    if not 0 <= args.credit_discount <= 1:
        raise InputError(f"credit_discount must be in [0, 1]; got {args.credit_discount}")
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


def check_credit(args: ResTConfig, rewards: Sequence[Any], tools: object, acts: bool) -> None:
    """Refuse rewards whose parts are not known to be decided one after the other.

    Args:
        acts: whether an environment rewards turns.

    Raises:
        InputError: naming the reason and the mend.
    """
    if args.credit == Credit.RESPONSE:
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


def check_whole_groups(args: ResTConfig, reads_tokens: bool) -> None:
    """Refuse groups that are cut in two by processes, where tokens are compared within a group.

    Args:
        reads_tokens: whether the scheme does so; credit by turns or spans does.

    Raises:
        InputError: naming the sizes.
    """
    rows = args.per_device_train_batch_size * (args.steps_per_generation or 1)
    group = args.num_generations or 1
    by_token = args.credit != Credit.RESPONSE
    if rows % group and (reads_tokens or by_token):
        what = f"credit={args.credit!r}" if by_token else f"weighting={args.weighting!r}"
        raise InputError(
            f"{what} compares the responses of a group, but a process gets {rows} responses a "
            f"generation and groups have {group}: use a multiple of {group}, or fewer processes"
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


def check_alone(tools: object, rollout_func: object, environment_factory: object) -> None:
    """Refuse what would act beside an environment.

    Raises:
        InputError: naming it.
    """
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

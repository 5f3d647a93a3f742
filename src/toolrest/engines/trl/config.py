"""The TRL engine's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import torch
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.utils import get_config_model_id

from toolrest.core.weights import Scheme, get_scheme
from toolrest.errors import InputError

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
    FORKS = "forks"
    """What followed it against what followed others at the same place, in groups that branch; see
    `toolrest.core.forks.fork_advantages`."""


class ClipBy(StrEnum):
    """What a token's clipping range goes by."""

    NONE = "none"
    """All tokens have the same (GRPO)."""
    REGION_ENTROPY = "region_entropy"
    """Its region's entropy; see `toolrest.core.clipping.clip_factors`."""


def _option(default: Any, said: str) -> Any:
    """A setting with its default, and what a command line says of it."""
    return field(default=default, metadata={"help": said})


@dataclass
class ResTConfig(GRPOConfig):
    """`GRPOConfig` with the weighting. `loss_type` is the paper's per-sequence mean.

    Args:
        loss_type: TRL's loss; one of `EXACT_LOSS_TYPES` unless tokens are weighed alike.
        weighting: a scheme's name, a product of several such as `rest*stare`, or a `Scheme`.
        weighting_options: options of a scheme that is given by its name.
        dialect: how the policy writes calls; `auto`: as its chat template does.
        credit: see `Credit`.
        branches: with `forks`, responses of a family: a trunk and those that go on from its start;
            `num_generations` is a multiple, and at least twice that. 1: no group branches.
        credit_discount: with `turns` and `spans`, what a later decision counts, in [0, 1].
        clip_by: see `ClipBy`. In a generation's first update all ratios are 1 and nothing changes.
        llds: weight of the loss of `toolrest.core.llds.lost_likelihood`, which is 0 in the first
            update of a generation; 0: none.
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
        label_noise: share of training responses whose `ToolReward` has the correctness of the
            opposite, 1 - c for c, drawn anew for each; to try what methods make of wrong labels.
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

    loss_type: str = _option("grpo", "TRL's loss; see EXACT_LOSS_TYPES.")
    weighting: Weighting = field(
        default="rest", metadata={"help": "Weighting scheme, or a product such as rest*stare."}
    )
    weighting_options: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "Options of the weighting scheme."}
    )
    dialect: str = _option("rlla", "How the policy writes calls; auto: see the chat template.")
    credit: str = _option("response", "response, turns, spans or forks: what a token gets.")
    branches: int = _option(1, "Responses that share the start of one of them; 1: none do.")
    credit_discount: float = _option(
        1.0, "With credit=spans: what a later decision counts, in [0, 1]."
    )
    clip_by: str = _option("none", "none or region_entropy: what the clipping range goes by.")
    llds: float = _option(0.0, "Weight of the loss for likelihood that good responses lose.")
    normalise: str = _option("turn", "turn or trajectory: over what weights have mean 1.")
    max_turns: int = _option(8, "Turns in an episode.")
    max_turn_tokens: int | None = _option(None, "Tokens of a turn; None: max_completion_length.")
    max_result_tokens: int = _option(256, "A longer result of a call is cut in the middle.")
    max_start_tokens: int = _option(4096, "An episode that begins with more is left out.")
    call_timeout: float = _option(30.0, "Seconds of a turn's calls.")
    episode_timeout: float = _option(300.0, "Seconds of an episode.")
    environment_workers: int = _option(16, "Episodes whose calls run at the same time.")
    environment_memory: float = _option(4.0, "GB that an episode's process may grow by.")
    environment_failure: str = _option("unscored", "unscored or stop: what follows a failure.")
    prompt_style: str = _option("auto", "auto, template or plain: how episodes are worded.")
    record_entropies: bool = _option(False, "Hand on_rollouts every token's entropy.")
    label_noise: float = _option(0.0, "Share of responses whose correctness is turned round.")
    non_finite: str = _option(
        "stop", "stop or skip: what follows a reward, weight or gradient of NaN."
    )
    entropy_source: str = _option("online", "online, static or exact; see EntropySource.")
    entropy_decay: float = _option(0.9, "Weight of the past in the online average, in [0, 1).")
    prefix_sharing: str = _option(
        "off", "auto, on or off: forward the prompt of several responses once."
    )
    micro_tokens: int | None = _option(None, "Tokens of one forward and backward; None: all rows.")

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

"""Refuses recipes that the verl engine cannot run, and notes what its options change."""

from __future__ import annotations

from typing import Any

from toolrest.core.weights import Statistic, get_scheme
from toolrest.engines.verl.names import (
    ACTOR,
    AGGREGATION,
    DUAL_CLIP,
    EXACT_LOSSES,
    LOSS_MODE,
    NO_DUAL_CLIP,
    ROLLOUT,
)
from toolrest.errors import InputError
from toolrest.recipe import EMBEDDED, Recipe


def check_recipe(recipe: Recipe) -> None:
    """Refuse what the engine cannot do.

    Raises:
        InputError: naming the key and the mend.
    """
    vllm = recipe.rollout.vllm
    refused = [
        (
            recipe.policy == EMBEDDED,
            "policy=embedded: verl samples with vLLM, which does not know the embedded policy; "
            "give a checkpoint, such as policy=Qwen/Qwen3-1.7B, or use engine=trl",
        ),
        (
            recipe.data.path is None
            and not recipe.data.sources
            and recipe.environment.source is None,
            "engine=verl needs rows of your own: give data.path, data.sources or "
            "environment.source",
        ),
        (
            recipe.method != "rl",
            f"method={recipe.method}: supervised learning is the TRL engine's; use engine=trl",
        ),
        (
            recipe.warm_start.method != "none",
            f"warm_start.method={recipe.warm_start.method}: run it by itself with "
            f"`method={recipe.warm_start.method}` and engine=trl, then give its folder "
            "runs/<name>/warm_start as policy",
        ),
        (
            bool(recipe.reward.functions),
            "reward.function is added by the TRL engine; "
            + (
                "with verl a function of your own is the whole reward: engine.options="
                "{reward.custom_reward_function.path: FILE.py, "
                "reward.custom_reward_function.name: NAME}"
                if recipe.environment.source is None
                else "with verl the environment gives all rewards; have it give these, or use "
                "engine=trl"
            ),
        ),
        (
            recipe.advantage.scale == "batch",
            "advantage.scale=batch: verl divides by the group's deviation or not at all; use "
            "group or none",
        ),
        (
            recipe.optimizer.loss not in AGGREGATION,
            f"optimizer.loss={recipe.optimizer.loss}: verl has the means of "
            f"{', '.join(AGGREGATION)}; its other losses are an option: engine.options="
            f"{{{LOSS_MODE}: cispo}}",
        ),
        (
            recipe.rollout.sampler not in ("auto", "vllm"),
            f"rollout.sampler={recipe.rollout.sampler}: verl samples with vLLM; use auto",
        ),
        (
            vllm.mode == "server",
            "rollout.vllm.mode=server is TRL's server; verl starts its own, use colocate",
        ),
        (
            recipe.rollout.saved_entropies,
            "rollout.saved_entropies is a setting of the TRL engine; the verl engine writes no "
            "rollouts token by token",
        ),
        (
            recipe.optimizer.prefix_sharing == "on",
            "optimizer.prefix_sharing=on: verl's workers forward each row by itself; use auto, "
            "or engine=trl",
        ),
        (
            (recipe.optimizer.micro_tokens or recipe.longest_sequence) < recipe.longest_sequence,
            f"optimizer.micro_tokens={recipe.optimizer.micro_tokens}: verl needs room for the "
            f"longest sequence, {recipe.longest_sequence} tokens",
        ),
        (
            recipe.rollout.min_p > 0,
            f"rollout.min_p={recipe.rollout.min_p:g}: verl passes top_p and top_k alone on to "
            "vLLM; use these",
        ),
        (
            recipe.optimizer.schedule == "linear",
            "optimizer.schedule=linear: verl has constant and cosine; use one of them",
        ),
        (
            recipe.optimizer.mask_truncated,
            "optimizer.mask_truncated: verl has no such setting; leave it out, or use engine=trl",
        ),
        (
            recipe.optimizer.clip_by != "none",
            f"optimizer.clip_by={recipe.optimizer.clip_by}: verl's loss takes one range for all "
            "tokens; leave it out, or use engine=trl",
        ),
        (
            recipe.optimizer.llds > 0,
            f"optimizer.llds={recipe.optimizer.llds:g}: verl's loss has no such term; leave it "
            "out, or use engine=trl",
        ),
        (
            recipe.lora.base_precision != "full",
            f"lora.base_precision={recipe.lora.base_precision}: verl loads no policy in 4 bits; "
            "leave it out, or use engine=trl",
        ),
        (
            recipe.lora.dropout > 0,
            f"lora.dropout={recipe.lora.dropout}: verl's adapters have no dropout; use 0",
        ),
        (
            recipe.lora.rank > 0 and recipe.lora.alpha != int(recipe.lora.alpha),
            f"lora.alpha={recipe.lora.alpha}: verl takes a whole number",
        ),
    ]
    for wrong, reason in (*refused, *_evaluations(recipe)):
        if wrong:
            raise InputError(reason)
    scheme = get_scheme(recipe.weighting.scheme, **recipe.weighting.options)
    if scheme.reads_signal:
        raise InputError(
            f"weighting.scheme={recipe.weighting.scheme}: it weighs by the regions' gradients, "
            "which verl's workers do not give; use engine=trl, or another scheme"
        )
    if scheme.statistic is Statistic.COLLISION:
        raise InputError(
            "weighting.options.rule=collision: verl's old policy gives entropies alone; use "
            "another rule, or engine=trl"
        )


def _evaluations(recipe: Recipe) -> list[tuple[bool, str]]:
    """What verl's own evaluations and checkpoints cannot do."""
    asked = recipe.evaluation
    return [
        (
            bool(asked.benchmarks),
            f"evaluation.benchmarks={','.join(asked.benchmarks)}: verl's workers hold the policy "
            "while it is trained; evaluate its checkpoints by `toolrest evaluate RUN --on "
            f"{next(iter(asked.benchmarks), '')} --checkpoint STEP`, or use engine=trl",
        ),
        (
            asked.save_best,
            "evaluation.save_best: verl drops its checkpoints by their age; keep all of them by "
            "keep_checkpoints=null, with evaluation.every equal to save_steps, and then take "
            "`--checkpoint best`; or use engine=trl",
        ),
        (
            asked.patience is not None,
            f"evaluation.patience={asked.patience}: verl trains to its last step; lower max_steps, "
            "or use engine=trl",
        ),
        (
            asked.metric in ("exact_match", "reward"),
            f"evaluation.metric={asked.metric}: verl evaluates greedily; use greedy_{asked.metric}",
        ),
    ]


def check_options(recipe: Recipe, options: dict[str, Any]) -> None:
    """Refuse options that would break the weights, or that belong into the recipe.

    Raises:
        InputError: naming the option and the mend.
    """
    by_name = {key.lstrip("+"): value for key, value in options.items()}
    loss = by_name.get(LOSS_MODE, "vanilla")
    custom = by_name.get("reward.custom_reward_function.path")
    acts = recipe.environment.source is not None
    mode = recipe.engine.mode
    refused = [
        *(_beside_environment(by_name) if acts else ()),
        (
            bool(by_name.get("algorithm.rollout_correction.bypass_mode")),
            "algorithm.rollout_correction.bypass_mode: verl then skips the old policy's forward, "
            "and with it the entropies that the weights come from; leave it off",
        ),
        (
            loss not in EXACT_LOSSES,
            f"{LOSS_MODE}={loss}: that loss does not weigh a token by its advantage alone, so the "
            f"weights would be distorted; use one of {', '.join(EXACT_LOSSES)}",
        ),
        (
            any(v for key, v in by_name.items() if key.endswith("use_prefix_grouper")),
            "use_prefix_grouper: verl 0.9.1 reads the option, but none of its workers shares a "
            "prefix; leave it off, or use engine=trl, which shares them",
        ),
        (
            by_name.get("trainer.use_v1") is False,
            "trainer.use_v1=False: the weights need verl's v1 trainers; leave it on",
        ),
        (
            "trainer.v1.trainer_mode" in by_name,
            "trainer.v1.trainer_mode: use engine.mode=sync, colocate_async or separate_async, so "
            "that the trainer with the weights runs",
        ),
        (
            bool(by_name.get("distillation.enabled")),
            "distillation.enabled: distillation has a loss of its own, which knows no weights",
        ),
        (
            custom is not None and recipe.reward.schedule != "constant",
            "reward.custom_reward_function.path: a reward of your own has no parts to schedule; "
            "use reward.schedule=constant with it",
        ),
        (
            custom is not None and recipe.advantage.credit == "spans",
            "reward.custom_reward_function.path: a reward of your own has no parts to credit spans "
            "with; use advantage.credit=response with it",
        ),
        (
            mode == "separate_async" and not by_name.get(f"{ROLLOUT}.nnodes"),
            f"engine.mode=separate_async samples on machines of its own; say how many: "
            f"engine.options={{{ROLLOUT}.nnodes: 1}}",
        ),
    ]
    for wrong, reason in refused:
        if wrong:
            raise InputError(f"engine.options: {reason}")
    ours = [key for key in by_name if key == "toolrest" or key.startswith("toolrest.")]
    if ours:
        raise InputError(f"engine.options: {ours[0]} comes from the recipe; set it there")


def _beside_environment(by_name: dict[str, Any]) -> list[tuple[bool, str]]:
    """Options that would break episodes."""
    found = [
        (
            by_name.get(f"{ROLLOUT}.name", "vllm") != "vllm",
            f"{ROLLOUT}.name={by_name.get(f'{ROLLOUT}.name')}: the limits of an episode's turns "
            "are told to vLLM by its names; leave it out",
        ),
        (
            by_name.get("algorithm.rollout_correction.rollout_rs") is not None,
            "algorithm.rollout_correction.rollout_rs: tokens that verl rejects would cut the turns "
            "of an episode in two; leave it out",
        ),
    ]
    loops = (f"{ROLLOUT}.agent.default_agent_loop", f"{ROLLOUT}.multi_turn.")
    found += [
        (True, f"{key}: toolrest's agent loop plays the recipe's environment; leave it out")
        for key in by_name
        if key.startswith(loops)
    ]
    found += [
        (True, f"{key}: the environment gives the rewards; leave it out")
        for key in by_name
        if key.startswith("reward.custom_reward_function")
    ]
    return found


def verl_notes(recipe: Recipe) -> list[str]:
    """A note for each option that makes the run differ from the paper."""
    notes = []
    clip = recipe.engine.options.get(DUAL_CLIP)
    loss = recipe.engine.options.get(LOSS_MODE, "vanilla")
    if clip is not None and loss == "vanilla" and float(clip) < NO_DUAL_CLIP:
        notes.append(
            f"{DUAL_CLIP}={clip}: verl's dual clip is on, which bounds the loss of a token with a "
            f"negative advantage at {clip} w|A|; the paper has none"
        )
    if recipe.engine.options.get(f"{ACTOR}.use_kl_loss"):
        notes.append(f"{ACTOR}.use_kl_loss: the KL term is added unweighted")
    return notes

"""Names that the verl plug-in shares with the code that starts verl."""

MODULE = "toolrest.engines.verl.plugin"
"""What verl has to load."""
EXACT_LOSSES = ("vanilla", "gspo", "sapo", "cispo", "gpg", "dppo_tv", "dppo_kl")
"""verl's losses in which a per-token advantage weighs exactly its token."""
AGENT_LOOP = "toolrest_episode"
"""What verl knows the agent loop by that plays a recipe's environment."""
STATE_FILE = "toolrest_state.json"
"""Beside verl's checkpoints: the region entropies that the weights follow."""

ACTOR = "actor_rollout_ref.actor"
MODEL = "actor_rollout_ref.model"
ROLLOUT = "actor_rollout_ref.rollout"
LOSS_MODE = f"{ACTOR}.policy_loss.loss_mode"
DUAL_CLIP = f"{ACTOR}.clip_ratio_c"
NO_DUAL_CLIP = 1e6
AGGREGATION = {
    "grpo": "seq-mean-token-mean",
    "dapo": "token-mean",
    "dr_grpo": "seq-mean-token-sum-norm",
}
"""verl's loss_agg_mode by TRL's loss_type."""


def trainer_name(mode: str) -> str:
    """What our trainer of a mode is registered as."""
    return f"toolrest_{mode}"


def loss_name(loss: str) -> str:
    """What verl's loss is registered as once it reports the advantages that it saw."""
    return f"toolrest_{loss}"

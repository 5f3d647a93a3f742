"""Rollouts: prompts and a policy -> sampled token ids."""

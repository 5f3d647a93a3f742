"""Where rewards were before; they are in `toolrest.core.rewards`, ToolReward in `toolrest`."""

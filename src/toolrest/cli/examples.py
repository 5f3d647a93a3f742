"""One or two examples of every command, shown at the end of its help."""

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
"""Settings of every command's context."""
_EXAMPLES = {
    "toolrest": ("toolrest train", "toolrest doctor"),
    "new": (
        "toolrest new",
        "toolrest new --policy Qwen/Qwen3-0.6B --data rows.jsonl --gpus 1 --warm-start",
    ),
    "train": ("toolrest train max_steps=5 seed=1", "toolrest train --resume auto"),
    "evaluate": (
        "toolrest evaluate runs/NAME --on world",
        "toolrest evaluate runs/NAME --on bfcl --version v3 --categories non_live",
    ),
    "data": ("toolrest data check rows.jsonl",),
    "prepare": (
        "toolrest data prepare a.json b.parquet --output rows.parquet",
        "toolrest data prepare recipe.yaml --output rows.parquet --drop duplicate",
    ),
    "check": (
        "toolrest data check rows.jsonl --against bfcl",
        "toolrest data check rows.jsonl --policy Qwen/Qwen3-0.6B --output findings.json",
    ),
    "show": ("toolrest data show rows.jsonl --row 3",),
    "doctor": ("toolrest doctor recipe.yaml",),
    "estimate": ("toolrest estimate verl-qwen3-8b --gpu h200", "toolrest estimate smollm2-rlla"),
    "runs": ("toolrest runs --json",),
    "watch": ("toolrest watch runs/NAME",),
    "recipes": ("toolrest recipes", "toolrest recipes smollm2-rlla"),
    "inspect": (
        "toolrest inspect runs/NAME --step 10 --row 3",
        "toolrest inspect --text 'Hello' --entropy response=0.4",
    ),
    "report": ("toolrest report runs/NAME", "toolrest report runs/A runs/B --output both.html"),
    "chat": (
        "toolrest chat runs/NAME --tools tools.py",
        "toolrest chat DIR --tools tools.json --weights",
    ),
    "export": (
        "toolrest export runs/NAME --to my-policy",
        "toolrest export runs/NAME --to my-policy --checkpoint 20 --push me/my-policy",
    ),
    "score": ("toolrest score rollouts.jsonl --reward partial --output scores.jsonl",),
    "compare": (
        "toolrest compare --methods grpo,rest --seeds 3",
        "toolrest compare recipe.yaml --seeds 8 evaluation.every=3 --out comparison",
    ),
    "gain": ("toolrest gain", "toolrest gain --run runs/NAME --methods grpo,rest,gtpo"),
    "variance": ("toolrest variance", "toolrest variance --run runs/NAME"),
}


def example(command: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(("Examples:", *_EXAMPLES[command]))

"""Print what a recipe needs.

    python -m toolrest.estimate RECIPE [key=value ...] --gpu h100 --gpus 8
    python -m toolrest.estimate RECIPE RECIPE ... --table

Figures are calculated, not measured; docs/scaling.md shows how.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from rich.table import Table

from toolrest.errors import InputError, printable
from toolrest.estimate.gpus import GPUS, get_gpu
from toolrest.estimate.memory import Memory
from toolrest.estimate.plan import PROMPT_TOKENS, RESPONSE_TOKENS, Estimate, estimate
from toolrest.estimate.shape import PUBLISHED, ModelShape, get_shape
from toolrest.estimate.table import header, row
from toolrest.estimate.time import Seconds, Work
from toolrest.io.console import console
from toolrest.io.files import read_json
from toolrest.io.foreign import user_path
from toolrest.io.terminal import keep_streams, say
from toolrest.recipe import Recipe, load_recipe

_GPUS_OF_A_MACHINE = 8


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m toolrest.estimate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipes", nargs="+", metavar="RECIPE or key=value")
    parser.add_argument("--gpu", choices=sorted(GPUS), default="h100")
    parser.add_argument("--gpus", type=int, help="as many instead of the recipe's")
    parser.add_argument("--prompt", type=float, default=PROMPT_TOKENS, help="mean tokens")
    parser.add_argument("--response", type=float, default=RESPONSE_TOKENS, help="mean tokens")
    parser.add_argument("--table", action="store_true", help="a Markdown line a recipe")
    options = parser.parse_args()
    overrides = [text for text in options.recipes if "=" in text] + machines(options.gpus)
    paths = [Path(text) for text in options.recipes if "=" not in text]
    try:
        found = {path: one(path, overrides, options) for path in paths}
    except InputError as error:
        say(f"error: {printable(str(error))}", err=True)
        sys.exit(1)
    if options.table:
        say("\n".join([*header(), *(row(path.stem, plan) for path, plan in found.items())]))
        return
    for path, plan in found.items():
        show(path, plan)


def one(path: Path, overrides: list[str], options: argparse.Namespace) -> Estimate:
    recipe = load_recipe(path, overrides)
    gpu = get_gpu(options.gpu)
    return estimate(recipe, _shape(recipe), gpu, options.prompt, options.response)


def machines(count: int | None) -> list[str]:
    """Overrides of a recipe that spread it over so many GPUs."""
    if count is None:
        return []
    processes = min(count, _GPUS_OF_A_MACHINE)
    if count % processes:
        raise SystemExit(f"error: --gpus={count}: whole machines of {_GPUS_OF_A_MACHINE} GPUs")
    return [f"engine.processes={processes}", f"engine.nodes={count // processes}"]


def _shape(recipe: Recipe) -> ModelShape:
    config = user_path(recipe.policy, f"policy={recipe.policy}") / "config.json"
    if recipe.policy not in PUBLISHED and config.is_file():
        return ModelShape.from_config(read_json(config))
    return get_shape(recipe.policy)


def show(path: Path, plan: Estimate) -> None:
    """The breakdown of one recipe."""
    view = console()
    table = Table(title=f"{path}: {plan.gpus} x {plan.gpu.name} (calculated, not measured)")
    table.add_column("part")
    table.add_column("each GPU", justify="right")
    for part in fields(Memory):
        value = getattr(plan.memory, part.name)
        if not isinstance(value, bool):
            table.add_row(f"memory, {part.name}", f"{value / 1e9:.2f} GB")
    for name in ("training", "rollout", "peak"):
        table.add_row(f"memory, {name} in all", f"{getattr(plan.memory, name) / 1e9:.1f} GB")
    table.add_section()
    for part in fields(Seconds):
        value = getattr(plan.seconds, part.name)
        share = value / plan.seconds.total
        table.add_row(f"time, {part.name.replace('_', ' ')}", f"{value:.2f} s ({share:.1%})")
    table.add_row("time, a generation", f"{plan.seconds.total:.1f} s")
    table.add_row(f"time, {plan.generations} generations", f"{plan.run_seconds / 3600:.2f} h")
    table.add_section()
    for part in fields(Work):
        value = getattr(plan.work, part.name)
        table.add_row(f"work, {part.name.replace('_', ' ')}", f"{value:.4g}")
    table.add_row("tokens/s of updates", f"{plan.update_tokens_per_second:,.0f}")
    table.add_row("tokens/s of updates, bound", f"{plan.update_bound:,.0f}")
    table.add_row("tokens/s of decoding", f"{plan.decode_tokens_per_second:,.0f}")
    table.add_row("disk, a checkpoint", f"{plan.checkpoint_bytes / 1e9:.1f} GB")
    table.add_row("disk, in all", f"{plan.disk_bytes / 1e9:.1f} GB")
    view.print(table)
    if not plan.fits:
        view.print(
            f"does not fit: {plan.memory.peak / 1e9:.1f} GB of {plan.gpu.memory / 1e9:.0f} GB",
            style="bold",
        )


if __name__ == "__main__":
    keep_streams()
    main()

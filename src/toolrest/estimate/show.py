"""Print what a recipe needs.

    python -m toolrest.estimate RECIPE [key=value ...] --gpu h100 --gpus 8
    python -m toolrest.estimate RECIPE RECIPE ... --table

Figures are calculated, not measured; docs/scaling.md shows how.
"""

import argparse
import sys
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

from rich.table import Table

from toolrest.errors import InputError, printable
from toolrest.estimate.epochs import refuse_epochs
from toolrest.estimate.gpus import GPUS, get_gpu
from toolrest.estimate.memory import Memory
from toolrest.estimate.needs import Device
from toolrest.estimate.plan import PROMPT_TOKENS, RESPONSE_TOKENS, Estimate, estimate
from toolrest.estimate.settings import Lengths, work_out
from toolrest.estimate.shape import PUBLISHED, ModelShape, get_shape
from toolrest.estimate.table import header, row
from toolrest.estimate.time import Seconds, Work
from toolrest.io.console import console
from toolrest.io.foreign import user_path
from toolrest.io.objects import given_object
from toolrest.io.terminal import say
from toolrest.recipe import EMBEDDED, Recipe, load_recipe
from toolrest.recipe.shipped import find_recipe

_GPUS_OF_A_MACHINE = 8


def main(words: list[str]) -> None:
    """Print what recipes need; ends with exit code 2 where something given cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m toolrest.estimate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE or key=value")
    parser.add_argument("--gpu", default="h100", help=", ".join(sorted(GPUS)))
    parser.add_argument("--gpus", type=int, help="as many instead of the recipe's")
    parser.add_argument("--prompt", type=float, default=PROMPT_TOKENS, help="mean tokens")
    parser.add_argument("--response", type=float, default=RESPONSE_TOKENS, help="mean tokens")
    parser.add_argument("--table", action="store_true", help="a Markdown line a recipe")
    options = parser.parse_args(words)
    mean = (options.prompt, options.response)
    try:
        print_estimates(options.recipes, options.gpu, options.gpus, mean, table=options.table)
    except InputError as error:
        say(f"toolrest: {printable(str(error))}", err=True)
        sys.exit(2)


def print_estimates(
    words: list[str], gpu: str, gpus: int | None, mean: tuple[float, float], *, table: bool
) -> None:
    """Print what recipes need.

    Args:
        words: recipes, by path or name, and overrides of all of them; without a recipe the default
            one is taken.
        gpu: by its short name.
        gpus: as many instead of the recipe's.
        mean: tokens of a prompt, and of a response.
        table: a line a recipe, rather than a table.

    Raises:
        InputError: something given cannot be used, or the policy's size is not known.
    """
    overrides = [text for text in words if "=" in text] + machines(gpus)
    paths = [find_recipe(text) for text in words if "=" not in text] or [None]
    found = {path: one(path, overrides, gpu, mean) for path in paths}
    names = {path: str(path or "the default recipe") for path in found}
    if table:
        named = ((path.stem if path else "default", plan) for path, plan in found.items())
        say("\n".join([*header(), *(row(name, plan) for name, plan in named)]))
        return
    for path, plan in found.items():
        show(names[path], plan)


def one(path: Path | None, overrides: list[str], gpu: str, mean: tuple[float, float]) -> Estimate:
    """The estimate of one recipe, with what it does not say worked out for the GPU."""
    recipe = load_recipe(path, overrides)
    refuse_epochs(recipe, "an estimate")
    if recipe.method != "rl":
        raise InputError(
            f"method={recipe.method}: an estimate is of reinforcement learning; the memory of "
            f"supervised learning is told by `toolrest doctor {path or ''} --gpu {gpu}`, and its "
            "time where it is trained, by `toolrest train`"
        )
    shape, one_gpu = _shape(recipe), get_gpu(gpu)
    device = Device(one_gpu.name, one_gpu.memory, gpu=True, bfloat16=True)
    recipe, _ = work_out(recipe, shape, device, Lengths())
    return estimate(recipe, shape, one_gpu, *mean)


def machines(count: int | None) -> list[str]:
    """Overrides of a recipe that spread it over so many GPUs."""
    if count is None:
        return []
    if count < 1:
        raise InputError(f"--gpus={count}: 1 or more")
    processes = min(count, _GPUS_OF_A_MACHINE)
    if count % processes:
        raise InputError(f"--gpus={count}: whole machines of {_GPUS_OF_A_MACHINE} GPUs")
    return [f"engine.processes={processes}", f"engine.nodes={count // processes}"]


def _shape(recipe: Recipe) -> ModelShape:
    folder = user_path(recipe.policy, f"policy={recipe.policy}")
    if recipe.policy == EMBEDDED:
        folder = Path(str(files("toolrest.world") / "policy"))
    config = folder / "config.json"
    if recipe.policy not in PUBLISHED and config.is_file():
        return ModelShape.from_config(given_object(config))
    if folder.is_dir():
        raise InputError(f"policy={recipe.policy}: the folder has no config.json; name a policy's")
    return get_shape(recipe.policy)


def show(name: str, plan: Estimate) -> None:
    """The breakdown of one recipe."""
    view = console()
    table = Table(title=f"{name}: {plan.gpus} x {plan.gpu.name} (calculated, not measured)")
    table.add_column("part")
    table.add_column("each GPU", justify="right")
    for part in fields(Memory):
        value = getattr(plan.memory, part.name)
        if not isinstance(value, bool):
            table.add_row(f"memory, {part.name}", f"{value / 1e9:.2f} GB")
    for name in ("training", "rollout", "peak"):
        table.add_row(f"memory, {name} in all", f"{getattr(plan.memory, name) / 1e9:.1f} GB")
    if plan.host is not None:
        table.add_row("memory of a machine, besides", f"{plan.host / 1e9:.1f} GB")
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

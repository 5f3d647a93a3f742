"""`toolrest new`: a recipe from what the user has."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.cli.new_questions import (
    GB,
    NO_DATA,
    Given,
    ask_all,
    checked_memory,
    checked_out,
    checked_policy,
    found_gpus,
)
from toolrest.errors import InputError
from toolrest.io.terminal import say

if TYPE_CHECKING:
    from toolrest.cli.new_facts import Rows
    from toolrest.estimate.needs import Device
    from toolrest.recipe import Recipe
    from toolrest.recipe.write_new import Answers

_INTERRUPTED = 130


def new(
    policy: Annotated[
        str | None, typer.Option(help="embedded, a checkpoint's folder, or a name on the hub.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A file of rows, the folder of one, or a data set on the hub; none: the embedded "
            "world's tasks."
        ),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs to train on; 0: the CPU. Else those here.")
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(min=1, help="GB of each of them. Else what is free on the one here."),
    ] = None,
    method: Annotated[
        Literal["rl", "sft"] | None,
        typer.Option(help="rl: reinforcement learning; sft: supervised learning alone."),
    ] = None,
    warm_start: Annotated[
        bool | None,
        typer.Option("--warm-start", help="Supervised learning before reinforcement learning."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; else recipe.yaml.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="The run's name.")] = None,
) -> None:
    """Write a recipe for what you have. Without flags, in a terminal, it asks."""
    with one_line_errors():
        given = Given(policy, data, gpus, gpu_memory, method, warm_start, out, name)
        try:
            if all(value is None for value in vars(given).values()) and _in_terminal():
                ask_all(given)
            _make(given)
        except typer.Abort:
            say("\ntoolrest: stopped; nothing was written", err=True)
            raise typer.Exit(_INTERRUPTED) from None


def _in_terminal() -> bool:
    return sys.stdin.isatty()


def _make(given: Given) -> None:
    if given.policy is None:
        raise InputError("--policy is due: embedded, a folder, or a name on the hub")
    out = checked_out(given.out or Path("recipe.yaml"))
    if given.method == "sft" and given.warm_start:
        raise InputError("--warm-start comes before reinforcement learning; leave out --method sft")
    if given.gpu_memory is not None and given.gpus == 0:
        raise InputError("--gpu-memory goes with --gpus from 1 up")
    if given.gpu_memory is not None and given.policy == "embedded":
        raise InputError("--gpu-memory: the embedded policy fits anywhere; leave it out")
    if given.data is None and given.policy != "embedded":
        raise InputError("--data is due: a file of rows, or none for the embedded world's tasks")
    if given.gpu_memory is not None:
        checked_memory(str(given.gpu_memory))
    from toolrest.cli.new_facts import look_at_data
    from toolrest.recipe.write_new import Answers
    from toolrest.runs.claims import check_free

    asked = given.looked_at is not None
    found = given.looked_at or checked_policy(given.policy)
    policy = found.name
    data = None if given.data == NO_DATA else given.data
    check_free(_written(Answers(policy=policy, data=data, name=given.name), out)[1].name)
    rows = given.rows if asked else None if data is None else look_at_data(data, policy)
    answers, notes = _answers(given, policy, rows, out)
    if found.note is not None and not asked:
        notes.insert(0, found.note)
    text, recipe = _written(answers, out)
    _write(out, text)
    _say_next(recipe, out, notes)


def _answers(
    given: Given, policy: str, rows: "Rows | None", out: Path
) -> tuple["Answers", list[str]]:
    """(what the recipe is made of, what was found and the user should know)."""
    from toolrest.cli.new_facts import fit, fit_memory
    from toolrest.cli.work import quiet_libraries
    from toolrest.policy.fitting import cold_hint
    from toolrest.recipe import EMBEDDED
    from toolrest.recipe.write_new import Answers

    quiet_libraries()
    answers = Answers(
        policy=policy,
        data=None if rows is None else rows.path,
        method=given.method or "rl",
        warm_start=bool(given.warm_start),
        name=given.name,
    )
    fitted = fit(_written(answers, out)[1], rows)
    what = "tasks of the embedded world" if rows is None else str(rows)
    notes = [f"{what}, dialect {fitted.spoken}", *fitted.notes]
    hint = None if fitted.tokenizer is None else cold_hint(fitted.recipe)
    notes += [hint] if hint is not None else []
    think = None if rows is None else fitted.recipe.data.think
    answers = replace(answers, dialect=fitted.dialect, dialect_why=fitted.why, think=think)
    if policy == EMBEDDED:
        return replace(answers, processes=max(1, given.gpus or 1)), notes
    count, device = _gpus(given)
    answers = replace(answers, processes=max(1, count))
    if device is None:
        notes.append("memory was not looked at, as no GPU is here: --gpu-memory says what each has")
        return answers, notes
    changes = fit_memory(fitted, _written(answers, out)[1], device, rows)
    if changes is None:
        notes.append(f"memory was not looked at, as the size of {policy} is not known here yet")
        return answers, notes
    if changes:
        notes.append(f"memory of {device.name} asks for {', '.join(changes)}")
    return replace(
        answers,
        checkpointing="optimizer.gradient_checkpointing" in changes,
        lora_rank=changes.get("lora.rank", 0),
        sharded="engine.sharding" in changes,
    ), notes


def _gpus(given: Given) -> tuple[int, "Device | None"]:
    """(GPUs to train on, one of them or the CPU; None: its memory is not known)."""
    from toolrest.estimate.needs import Device
    from toolrest.policy.sizing import free_memory

    if given.gpus == 0:
        return 0, Device("this machine's CPU", free_memory())
    count, memory = given.gpus, given.gpu_memory
    found, device = (0, None) if count is not None and memory is not None else found_gpus()
    count = found if count is None else count
    if memory is not None and not count:
        raise InputError("--gpu-memory: no GPU is here; say how many there are with --gpus")
    if memory is not None:
        device = Device("each GPU", memory * GB, gpu=True, bfloat16=True)
    elif not count:
        device = Device("this machine's CPU", free_memory())
    return count, device


def _written(answers: "Answers", out: Path) -> tuple[str, "Recipe"]:
    """(the text, the recipe that it is read back as)."""
    from toolrest.recipe import recipe_of_text
    from toolrest.recipe.write_new import write_new

    text = write_new(answers, _as_argument(out))
    return text, recipe_of_text(text, str(out))


def _as_argument(out: Path) -> str:
    return f"./{out}" if str(out).startswith("-") else str(out)


def _write(out: Path, text: str) -> None:
    """Write the file, whole, and never over another.

    Raises:
        InputError: it is there by now, or cannot be made.
    """
    from toolrest.io.files import write_whole

    try:
        out.touch(exist_ok=False)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made ({error.strerror}); name another") from error
    try:
        write_whole(out, text)
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _say_next(recipe: "Recipe", out: Path, notes: list[str]) -> None:
    """What to do with the recipe, and with its run."""
    from toolrest.cli.plan import default_name, not_here
    from toolrest.doctor.preflight import NEW
    from toolrest.recipe.write_new import command_word

    word = command_word(_as_argument(out))
    run = f"runs/{recipe.name or default_name(recipe, out)}"
    for note in notes:
        say(note)
    say(f"{word} is written; next:")
    say(f"  toolrest train {word} --dry-run")
    say(f"  toolrest train {word}")
    say(f"  toolrest report {run}")
    say(f"  toolrest export {run} --to my-policy")
    for line in not_here(recipe, NEW):
        say(line, err=True)

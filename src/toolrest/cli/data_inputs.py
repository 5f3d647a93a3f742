"""The inputs of `toolrest data`: recipe, sources, tokenizer, and the checks asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolrest.io.terminal import say

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from toolrest.data.decompose import Rendering
    from toolrest.data.findings import Limits
    from toolrest.data.sources import Source
    from toolrest.recipe import Recipe


def origin_of_rows(recipe: "Recipe", policy: str | None, against: list[str]) -> dict[str, Any]:
    """What prepared rows depend on besides sources and prompt style, for the manifest."""
    from toolrest.io.files import sha256_of
    from toolrest.runs.environment import describe_environment
    from toolrest.runs.origins import policy_fingerprint

    scored = describe_environment(recipe.seed)
    questions = {name: Path(name) for name in against}
    return {
        "versions": scored["versions"],
        "commit": scored["commit"],
        "policy": None if policy is None else {policy: policy_fingerprint(recipe)},
        "against": {n: sha256_of(p) if p.is_file() else None for n, p in questions.items()},
    }


def read_inputs(
    inputs: list[str], policy: str | None
) -> "tuple[Recipe, list[Source], Rendering, PreTrainedTokenizerBase | None]":
    """(recipe with overrides, sources, rendering, the tokenizer of `--policy` or None)."""
    from toolrest.cli.work import quiet_libraries
    from toolrest.data.rows import find_file
    from toolrest.data.sources import Source
    from toolrest.doctor.preflight import check_reachable
    from toolrest.errors import InputError
    from toolrest.io.hub import calm_hub
    from toolrest.recipe import load_recipe
    from toolrest.recipe.shipped import find_recipe, shipped_recipes

    overrides = [text for text in inputs if "=" in text and not Path(text).exists()]
    files = [text for text in inputs if text not in overrides]
    shipped = shipped_recipes()
    recipes = [
        text
        for text in files
        if text.endswith((".yaml", ".yml")) or (text in shipped and not Path(text).exists())
    ]
    paths = [text for text in files if text not in recipes]
    if len(recipes) > 1:
        raise InputError(f"{recipes[1]}: one recipe is enough")
    for path in paths:
        find_file(path)
    # the dialect is checked against the data that the arguments name
    own = ["data.path=" + paths[0]] if paths else []
    recipe = load_recipe(find_recipe(recipes[0]) if recipes else None, [*overrides, *own])
    sources = [Source(path) for path in paths] or recipe.sources
    if recipe.acts and not paths:
        raise InputError(
            f"environment.source={recipe.environment.source}: prompts are what its `reset` gives, "
            "so there are no dialogues to look at; see them by `toolrest inspect RUN` after a step"
        )
    if not sources:
        raise InputError("no data: name files, or a recipe with data.path or data.sources")
    quiet_libraries()
    for source in sources:
        check_reachable(source)
    calm_hub()
    named = bool(recipes) or any(text.startswith("policy=") for text in overrides)
    recipe, tokenizer = _fitted(recipe, policy, named=named)
    return recipe, sources, recipe.rendering, tokenizer


def _fitted(
    recipe: "Recipe", policy: str | None, *, named: bool
) -> "tuple[Recipe, PreTrainedTokenizerBase | None]":
    """(recipe fitted to the policy's chat template as training does, its tokenizer or None).

    Args:
        policy: that of `--policy`.
        named: whether a recipe or `policy=` says which policy is trained, be it the embedded one.
    """
    from toolrest.core.dialects import AUTO
    from toolrest.errors import InputError
    from toolrest.policy.fitting import fit_recipe
    from toolrest.policy.tokenizer import load_tokenizer

    if policy is not None:
        recipe = recipe.model_copy(update={"policy": policy})
    elif not named:
        if recipe.dialect == AUTO:
            raise InputError("dialect=auto is what a policy's chat template writes; give --policy")
        if recipe.data.prompt is None and recipe.rendering.style == "template":
            say(
                "note: no policy is named, so tools are left to its chat template; training lists "
                "them in plain words where that lists none (--policy)",
                err=True,
            )
        return recipe, None
    try:
        tokenizer = load_tokenizer(recipe)
    except InputError as error:
        if policy is not None or recipe.dialect == AUTO:
            raise
        say(f"the policy's chat template was not looked at: {error}", err=True)
        return recipe, None
    recipe, notes = fit_recipe(recipe, tokenizer)
    for note in notes:
        say(f"note: {note}", err=True)
    return recipe, tokenizer if policy is not None else None


def findings_limits(
    recipe: "Recipe",
    rendering: "Rendering",
    tokenizer: Any,
    max_prompt_tokens: int | None,
    against: list[str] | None,
) -> "Limits":
    """What `check` and `prepare` look for."""
    from toolrest.data.findings import Limits
    from toolrest.data.prompts import render_prompt
    from toolrest.policy.sizing import is_sized
    from toolrest.recipe import says

    longest = max_prompt_tokens
    # training takes a limit from the data where the recipe says none
    if longest is None and (says(recipe, "data.max_prompt_tokens") or not is_sized(recipe)):
        longest = recipe.data.max_prompt_tokens
    return Limits(
        length=None if tokenizer is None else lambda s: len(render_prompt(s, tokenizer)),
        max_prompt_tokens=longest,
        against=_questions(against or [], rendering, recipe.seed),
    )


def dropped_kinds(drop: list[str], limits: "Limits", sources: int) -> list[str]:
    """The kinds of findings that `--drop` names.

    Raises:
        InputError: a kind that is unknown, or that these limits do not look for.
    """
    from toolrest.data.findings import KINDS, REFUSED
    from toolrest.errors import InputError, unknown_name

    needs = {}
    if limits.length is None:
        needs |= dict.fromkeys((REFUSED, "too long"), "--policy")
    elif limits.max_prompt_tokens is None:
        needs |= {"too long": "--max-prompt-tokens"}
    if limits.against is None and sources < 2:
        needs["overlap"] = "--against, or several sources"
    asked = [kind.replace("-", " ") for text in drop for kind in text.split(",")]
    if "all" in asked:
        for kind, need in needs.items():
            say(f"not looked for: {kind}, which needs {need}", err=True)
        return [kind for kind in KINDS if kind not in needs]
    for kind in asked:
        if kind not in KINDS:
            raise InputError(f"--drop: {unknown_name('kind', kind, ('all', *KINDS))}")
        if kind in needs:
            raise InputError(f"--drop {kind!r} needs {needs[kind]}")
    return asked


def _questions(against: list[str], rendering: "Rendering", seed: int) -> Any:
    """An index of the questions in `against`; None where it is empty."""
    if not against:
        return None
    from toolrest.data.check import questions_of
    from toolrest.data.overlap import Questions
    from toolrest.data.sources import Source

    index = Questions(())
    for name in against:
        if name == "bfcl":
            from toolrest.evaluate.bfcl.questions import bfcl_questions

            pairs = bfcl_questions()
        else:
            pairs = questions_of(Source(name), rendering, seed)
        for label, text in pairs:
            index.add(label, text)
    return index

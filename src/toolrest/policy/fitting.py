"""Fits a recipe to its policy's chat template: dialect, prompt style, thoughts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from toolrest.core.dialects import AUTO, Dialect, detect_dialect, get_dialect
from toolrest.errors import InputError
from toolrest.policy.template import lists_tools, read_back, usual_opening
from toolrest.recipe import EMBEDDED, Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_RLLA: Literal["rlla"] = "rlla"


def fit_recipe(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> tuple[Recipe, list[str]]:
    """(recipe with `dialect`, `data.prompt` and `data.think` set for the chat template, notes).

    Prompts that the template words list the tools and ask for its own dialect, so another dialect,
    or a template that lists no tools, needs a prompt that says in plain words what is wanted.

    Returns:
        The recipe, and what the user should know of it.

    Raises:
        InputError: the recipe asks for the template's wording, and the template cannot say what is
            wanted; or for dialect=auto, and it writes none that is known.
    """
    name = recipe.dialect
    if name == AUTO:
        name = _seen(recipe, tokenizer)
    dialect = get_dialect(name)
    style, notes = _style(recipe, dialect, tokenizer)
    think = recipe.data.think
    opening = usual_opening(tokenizer, dialect)
    if think is None:
        opened = bool(opening) and dialect.thought_marks[1] not in opening
        think = name == _RLLA or opened
        if not opening and name != _RLLA and "enable_thinking" in str(tokenizer.chat_template):
            notes.append(
                "the chat template lets the policy think, and data.think=false asks for replies "
                "without a thought: set data.think=true, or data.template_options."
                "enable_thinking=false"
            )
    data = recipe.data.model_copy(update={"prompt": style, "think": think})
    return recipe.model_copy(update={"dialect": name, "data": data}), notes


def _seen(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> str:
    """The dialect that the chat template writes."""
    own = recipe.data.path is not None or bool(recipe.data.sources)
    own = own or recipe.environment.source not in (None, "world")
    if recipe.policy == EMBEDDED or not own:
        return _RLLA
    try:
        return detect_dialect(str(tokenizer.chat_template))
    except InputError as error:
        raise InputError(f"dialect=auto: {error}") from error


def _style(
    recipe: Recipe, dialect: Dialect, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, list[str]]:
    """(prompt style, notes)."""
    wanted = recipe.data.prompt
    if wanted is None and recipe.environment.source is not None and dialect.name == _RLLA:
        return "plain", []  # RLLA's own words flatten a dialogue into one message
    if wanted in ("rlla", "plain") or (wanted is None and dialect.name == _RLLA):
        style = str(wanted or _RLLA)
        if recipe.policy == EMBEDDED or dialect.name != _RLLA:
            return style, []
        writes = _writes(tokenizer)
        if writes is None:
            return style, []
        return style, [
            f"dialect={dialect.name} is asked for by the prompt's words; the policy's own chat "
            f"template writes calls in {writes}, which dialect=auto trains"
        ]
    lacking = _lacking(dialect, tokenizer)
    if lacking is None:
        return "template", []
    if wanted == "template":
        writes = _writes(tokenizer)
        other = f"dialect={writes} or " if writes not in (None, dialect.name) else ""
        raise InputError(f"data.prompt=template: {lacking}; use {other}data.prompt=plain")
    return "plain", [f"{lacking}, so prompts list tools and show a call in plain words"]


def cold_hint(recipe: Recipe) -> str | None:
    """What to know of a run whose policy may not know the form of the replies; None: its own chat
    template writes them, it is taught first, or it is the embedded one.

    Args:
        recipe: fitted to the chat template (`fit_recipe`).
    """
    taught = recipe.method != "rl" or recipe.warm_start.method != "none"
    if taught or recipe.policy == EMBEDDED or recipe.data.prompt == "template":
        return None
    begin = (
        "no call is run, begin with a policy that knows it, as supervised learning on the steps of "
        "right dialogues makes it (method=rsft with environment.train=steps)"
        if recipe.acts
        else "have no right replies, begin with supervised learning (warm_start.method=rsft)"
    )
    return (
        f"hint: prompts alone explain the dialect {recipe.dialect}, not the policy's chat "
        f"template, so the policy may not know it; if {'in ' if recipe.acts else ''}the first "
        f"steps {begin}"
    )


def usual_style(
    dialect: Dialect, tokenizer: PreTrainedTokenizerBase
) -> tuple[Literal["rlla", "template", "plain"], str | None]:
    """The wording of prompts where nobody asks for one.

    Returns:
        The dialect's own for rlla, the template's where it lists tools and writes the dialect, else
        plain words; and for these, why.
    """
    if dialect.name == _RLLA:
        return _RLLA, None
    lacking = _lacking(dialect, tokenizer)
    return ("template", None) if lacking is None else ("plain", lacking)


def _lacking(dialect: Dialect, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Why the chat template does not explain tools and dialect to the policy; None if it does."""
    if not lists_tools(tokenizer):
        return "the policy's chat template lists no tools"
    problem = read_back(tokenizer, dialect).problem
    writes = _writes(tokenizer)
    # Some dialects read each other's calls: what is read may still not be what it writes.
    if writes not in (None, dialect.name) and (
        problem is not None or read_back(tokenizer, get_dialect(str(writes))).problem is None
    ):
        return f"the policy's chat template writes calls in {writes}, not in {dialect.name}"
    if problem is None:
        return None
    return f"the policy's chat template does not write {dialect.name} ({problem})"


def _writes(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The dialect that the template writes when rendered, or None."""
    try:
        return detect_dialect(str(tokenizer.chat_template))
    except InputError:
        return None

"""Does rendering a longer conversation change the tokens of what came before?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from toolrest.core.dialects import ToolCall, get_dialect
from toolrest.data.dialogue import Action, Dialogue, Observation, Tool, UserTurn
from toolrest.data.prompts import takes_system, without_system
from toolrest.data.wording import word
from toolrest.doctor.check import Check, Status
from toolrest.io.deadline import apply_template
from toolrest.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where."}},
    "required": ["city"],
}
_TURNS = (
    UserTurn("What is the weather in Oslo?"),
    Action((ToolCall("get_weather", {"city": "Oslo"}),), None, "I look it up."),
    Observation((("get_weather", '{"sky": "clear"}'),)),
    Action((), "It is clear in Oslo.", "I know it now."),
    UserTurn("And in Rome?"),
    Action((ToolCall("get_weather", {"city": "Rome"}),), None, "I look that up too."),
)
_CONVERSATION = Dialogue((Tool("get_weather", "The weather.", _PARAMETERS),), _TURNS)
_SHOWN = 60
_ALIKE = 8


@dataclass(frozen=True)
class Change:
    """Tokens of an earlier part that a longer conversation renders differently."""

    after: str
    """The message whose addition changed them."""
    before: list[int]
    """The earlier part's tokens from the first that differs."""
    now: list[int]
    """What stands there in the longer one."""


def check_prefix(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[Check]:
    """Whether every conversation's tokens begin with those of the shorter one.

    A conversation of two questions, a tool's result and thoughts is rendered message by message, in
    the recipe's wording (RLLA's is one message, so the plain one stands for it).

    Returns:
        A note that says what changes and what follows; runs of `toolrest train` learn single steps
        and are not affected. A warning where the template refuses such conversations.
    """
    from jinja2 import TemplateError

    name = "chat template"
    style = "template" if recipe.rendering.style == "template" else "plain"
    prompt = word(_CONVERSATION, style, get_dialect(recipe.dialect), "all")
    messages = prompt.messages
    if not takes_system(tokenizer):
        messages = without_system(messages)
    try:
        changes = find_changes(tokenizer, messages, prompt.tools)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        mend = "data.prompt=plain, which asks less of the template"
        return [
            Check(
                name,
                Status.WARNING,
                f"it refuses a conversation with a tool's result ({error})",
                mend if style == "template" else "decompose dialogues with data.prompt=rlla",
            )
        ]
    if not changes:
        found = "a longer conversation keeps the tokens of the shorter one"
        return [Check(name, Status.OK, found)]
    found = "; ".join(_describe(change, tokenizer) for change in changes)
    return [
        Check(
            name,
            Status.NOTE,
            f"a longer conversation changes earlier tokens: {found}",
            "toolrest train learns single steps and needs nothing. Multi-turn training would learn "
            "from tokens that were not sampled: take a template that keeps them (TRL's tools= puts "
            "one in place for models that it knows)",
        )
    ]


def find_changes(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
) -> list[Change]:
    """Where the tokens of a conversation are not a prefix of those of one that goes on.

    Compared are, for every message, the conversation that ends before it (with the opening of a
    reply if a reply follows) and the one that ends after it.

    Raises:
        jinja2.TemplateError: the template refuses a part of the conversation.
    """
    changes = []
    first = next(n for n, message in enumerate(messages) if message["role"] == "user") + 1
    for count in range(first, len(messages)):
        added = messages[count]["role"]
        shorter = _render(tokenizer, messages[:count], tools, added == "assistant")
        longer = _render(tokenizer, messages[: count + 1], tools, False)
        same = next(
            (n for n, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b),
            min(len(shorter), len(longer)),
        )
        if same < len(shorter):
            changes.append(
                Change(_ADDED.get(str(added), str(added)), shorter[same:], longer[same:])
            )
    return changes


_ADDED = {"assistant": "a reply", "tool": "a tool's result", "user": "a next message"}


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    opened: bool,
) -> list[int]:
    encoded = apply_template(
        tokenizer,
        messages,
        tools=cast(Any, tools),
        add_generation_prompt=opened,
        tokenize=True,
        return_dict=True,
    )
    return cast("dict[str, list[int]]", encoded)["input_ids"]


def _describe(change: Change, tokenizer: PreTrainedTokenizerBase) -> str:
    before, now = change.before, change.now
    dropped = next(
        (
            n
            for n in range(1, len(before))
            if before[n : n + _ALIKE] == now[: len(before[n:])][:_ALIKE]
        ),
        None,
    )
    if dropped is not None:
        gone = _quoted(before[:dropped], tokenizer)
        return f"after {change.after}, {dropped} tokens are dropped ({gone})"
    return f"after {change.after}, {_quoted(before, tokenizer)} becomes {_quoted(now, tokenizer)}"


def _quoted(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    text = str(tokenizer.decode(ids[:_SHOWN]))
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "..")

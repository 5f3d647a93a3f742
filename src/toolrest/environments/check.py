"""Is an environment fit to train on: it is played a little, and what is found is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending, EnvironmentFailure, Start, Step
from toolrest.environments.episode import Episode, Limits
from toolrest.environments.host import Host
from toolrest.errors import InputError, counted

_ROWS = 3
_TOOLS = 8
_NO_TOOL = "no_such_tool"
_NO_PARAMETER = "no_such_parameter"
_EXAMPLES = {
    **{"string": "example", "integer": 1, "number": 1.0, "boolean": True},
    **{"array": [], "object": {}, "null": None},
}


class Verdict(StrEnum):
    """How bad a finding is."""

    FINE = "fine"
    NOTE = "note"
    """Training works; a user should know."""
    WRONG = "wrong"
    """Episodes fail, or training means something else than it seems."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    text: str
    """One line: what was found, and where it is wrong, how it is mended."""


@dataclass(frozen=True)
class Fit:
    """What fits, by the policy's tokens."""

    count: Callable[[str], int]
    """Tokens of a text."""
    max_prompt: int
    """Tokens that the first messages may have."""
    max_result: int
    """Tokens of a result; longer ones are cut."""


def check_environment(
    source: str | type | Callable[..., Any] | Sequence[Callable[..., Any]],
    rows: Sequence[Mapping[str, Any]],
    limits: Limits | None = None,
    fit: Fit | None = None,
    reward: str | None = None,
) -> list[Finding]:
    """Play some episodes of a few turns: two of each of the first rows with one seed, which should
    begin alike; calls of each tool, right by its schema and wrong; the end.

    Args:
        rows: of the data set; none: {"index": 0}.
        fit: None: lengths are not looked at.
        reward: see `toolrest.environments.source.find_source`.

    Returns:
        What was looked at, in the order of looking; nothing is raised.
    """
    limits = limits if limits is not None else Limits()
    try:
        host = Host(source, limits, reward=reward)
    except InputError as error:
        return [Finding(Verdict.WRONG, str(error))]
    findings = [Finding(Verdict.NOTE, note) for note in host.notes]
    try:
        findings += _play(host, list(rows[:_ROWS]) or [{"index": 0}], fit)
    finally:
        failures = host.close()
    findings += [
        Finding(Verdict.WRONG, f"{each}; what it holds is not given back") for each in failures
    ]
    if not failures:
        findings.append(Finding(Verdict.FINE, "close ends each episode in time"))
    return findings


def _play(host: Host, rows: list[Mapping[str, Any]], fit: Fit | None) -> Iterator[Finding]:
    jobs = [(row, seed) for seed, row in enumerate(rows)]
    first, second = host.start(jobs), host.start(jobs)
    failed = [each.failure for each in (*first, *second) if each.failure is not None]
    if failed:
        yield Finding(Verdict.WRONG, f"{failed[0]} ({len(failed)} of {2 * len(jobs)} resets fail)")
    pairs = [
        (one.start, two.start)
        for one, two in zip(first, second, strict=True)
        if one.start is not None and two.start is not None
    ]
    unequal = sum(one != two for one, two in pairs)
    if unequal:
        yield Finding(
            Verdict.WRONG,
            f"{unequal} of {counted(len(pairs), 'row')} begin differently with one seed, so a "
            "group's responses answer different tasks and a resumed run is another; draw at random "
            "from `seed` alone",
        )
    elif pairs:
        yield Finding(
            Verdict.FINE, f"equal seeds begin equal episodes ({counted(len(pairs), 'row')})"
        )
    going = next((each for each in first if each.start is not None), None)
    if going is not None and going.start is not None:
        yield from _start(going.start, fit)
        yield from _calls(going, going.start, fit)
        yield from _end(next(each for each in second if each.start is not None))


def _start(start: Start, fit: Fit | None) -> Iterator[Finding]:
    names = [each["function"]["name"] for each in start.tools]
    if not names:
        yield Finding(Verdict.NOTE, "reset gives no tools: the messages have to say what there is")
    for each in start.tools:
        function = each["function"]
        missing = [key for key in ("description", "parameters") if not function.get(key)]
        if missing:
            yield Finding(Verdict.NOTE, f"the tool {function['name']} has no {missing[0]}")
    if len(set(names)) < len(names):
        yield Finding(Verdict.WRONG, "two tools have one name; rename one")
    elif names:
        yield Finding(Verdict.FINE, f"{counted(len(names), 'tool')}: {', '.join(names[:_TOOLS])}")
    if fit is None:
        return
    length = sum(fit.count(each["content"]) for each in start.messages)
    length += sum(fit.count(str(each)) for each in start.tools)
    if length > fit.max_prompt:
        yield Finding(
            Verdict.WRONG,
            f"the first messages and the tools have {length:,} tokens, of {fit.max_prompt:,} that "
            "a prompt may have; make it longer, or list fewer tools",
        )
    else:
        yield Finding(Verdict.FINE, f"the first messages and the tools have {length:,} tokens")


def _calls(episode: Episode, start: Start, fit: Fit | None) -> Iterator[Finding]:
    """Calls that are wrong, then calls that are right by the schemas."""
    tools = [each["function"] for each in start.tools][:_TOOLS]
    wrong = [ToolCall(_NO_TOOL, {})]
    wrong += [ToolCall(each["name"], {_NO_PARAMETER: 1}) for each in tools[:1]]
    right = [ToolCall(each["name"], _example(each.get("parameters") or {})) for each in tools]
    longest = 0
    for call in (*wrong, *right):
        try:
            step: Step = episode.call([call]).result()
        except EnvironmentFailure as failure:
            shown = f"{call.name}({', '.join(f'{k}={v!r}' for k, v in call.parameters.items())})"
            yield Finding(
                Verdict.WRONG,
                f"{failure}, of the call {shown}; a policy writes such calls, and each would leave "
                "its episode unscored: give a result that says what is wrong",
            )
            return
        if call in wrong and step.errors == 0:
            yield Finding(
                Verdict.NOTE,
                f"a wrong call ({call.name}) does not count as an error: Step.errors is 0",
            )
        if fit is not None:
            longest = max(longest, *(fit.count(text) for _, text in step.results))
        if step.done:
            break
    yield Finding(Verdict.FINE, "calls of no tool and with wrong arguments have results")
    if fit is not None and longest > fit.max_result:
        yield Finding(
            Verdict.NOTE,
            f"a result has {longest:,} tokens and is cut to {fit.max_result:,}, in the middle",
        )


def _example(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that a schema asks for; the simplest of their types."""
    fields = schema.get("properties") or {}
    return {
        name: _value(fields.get(name) or {})
        for name in schema.get("required") or ()
        if isinstance(name, str)
    }


def _value(field: Mapping[str, Any]) -> Any:
    if field.get("enum"):
        return field["enum"][0]
    kind = field.get("type", "string")
    return _EXAMPLES.get(kind[0] if isinstance(kind, list) and kind else str(kind), "example")


def _end(episode: Episode) -> Iterator[Finding]:
    try:
        finish = episode.finish("", Ending.ANSWERED).result()
    except EnvironmentFailure as failure:
        yield Finding(Verdict.WRONG, f"{failure}; an episode that ends so has no reward")
        return
    yield Finding(Verdict.FINE, f"an episode without a call ends with the reward {finish.reward:g}")

"""`toolrest chat`: talk to a policy that has tools."""

import math
from pathlib import Path
from typing import Annotated

import typer

from toolrest.cli.errors import one_line_errors
from toolrest.io.terminal import say

_INTERRUPTED = 130


def chat(
    policy: Annotated[
        str, typer.Argument(help="A run's folder, an exported one, 'embedded', or a hub name.")
    ],
    tools: Annotated[
        Path | None,
        typer.Option(
            help="A .json file of JSON schemas, whose results you type; or a .py file, which is "
            "run: its functions with type hints and docstrings are called."
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="Instructions before everything else.")] = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Show each token's region and weight.")
    ] = False,
    temperature: Annotated[
        float, typer.Option(min=0, help="Of the sampling; 0: the likeliest tokens.")
    ] = 0.0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a reply. Default: as in training.")
    ] = None,
    tool_seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="A function that takes longer is stopped. Default: 30."),
    ] = None,
    dialect: Annotated[
        str | None, typer.Option(help="How it writes calls. Default: as its run or folder says.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Of a run: last, best or a step.")] = "last",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the policy.")
    ] = False,
) -> None:
    """Talk to a policy: it thinks, calls tools and answers. Ctrl-D ends."""
    with one_line_errors():
        from toolrest.chat.tools import load_tools
        from toolrest.errors import InputError

        known = {} if tools is None else load_tools(tools)
        if tool_seconds is not None and not any(each.function for each in known.values()):
            raise InputError(
                "--tool-seconds is of functions, and there are none; leave it out, or give --tools "
                "with a .py file"
            )
        if tool_seconds is not None and not math.isfinite(tool_seconds):
            raise InputError(f"--tool-seconds {tool_seconds}: take a number of seconds")
        from toolrest.chat.policy import chat_scheme, chat_wording, load_chat_policy
        from toolrest.chat.session import TOOL_SECONDS, Session
        from toolrest.chat.talk import talk
        from toolrest.chat.view import TerminalView
        from toolrest.cli.work import quiet_libraries
        from toolrest.evaluate.target import find_target

        quiet_libraries()
        target = find_target(policy, checkpoint, trust_remote_code)
        source = target.recipe.environment.source
        if source is not None and not known:
            raise InputError(
                f"{policy}: its tools are those of environment.source={source}, which each episode "
                "brings; see episodes by toolrest evaluate and inspect, or give --tools FILE to "
                "talk to it with others"
            )
        scheme = chat_scheme(target) if weights else None
        wording = chat_wording(target, dialect, max_tokens)
        if system is not None and wording.listed:
            raise InputError(
                "--system: this policy was trained on the embedded world's tasks, whose prompts "
                "have no instructions; leave it out"
            )
        loaded = load_chat_policy(target, wording)
        view = TerminalView(None if scheme is None else lambda said: loaded.inspect(said, scheme))
        session = Session(
            loaded,
            known,
            view,
            wording.max_tokens,
            temperature or None,
            tool_seconds or TOOL_SECONDS,
            system,
        )
        if view.interactive:
            say(f"{target.label}; tools: {', '.join(known) or 'none'}. Ctrl-D ends")
        try:
            talk(session, view)
            if view.interactive:
                say("")
        except KeyboardInterrupt:
            say("")
            raise typer.Exit(_INTERRUPTED) from None

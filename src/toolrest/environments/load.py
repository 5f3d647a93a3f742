"""A source -> what makes its environments. It runs what the source names."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from toolrest.environments.adapters.functions import FunctionsEnvironment
from toolrest.environments.adapters.read_by_reward import ReadByReward
from toolrest.environments.adapters.trl_class import TrlClass
from toolrest.environments.base import Environment
from toolrest.environments.source import WHERE, Source
from toolrest.errors import InputError, reason, short
from toolrest.io.python_file import python_file_module, run_python_file

_KIND = "environment_of"
"""What a source's file is run for; see `run_python_file`."""


@dataclass(frozen=True)
class Loaded:
    """A source that has been run."""

    make: Callable[[], Environment]
    """Makes the environment of an episode; `finish` and `close` may be missing."""
    reusable: bool = False
    """Whether its `reset` forgets everything, so that one process may play many episodes."""
    left_out: tuple[str, ...] = ()
    """What is in the source and looks like a tool, but is none, and why."""
    notes: tuple[str, ...] = ()
    """What else a user should know of it, a line each."""


class _Now:
    """Whether this process is running a source's file."""

    loading = False


def is_loading() -> bool:
    """Whether a source is being run: a script that starts environments as it is imported for its
    class would start them without end.
    """
    return _Now.loading


def load(source: Source, seconds: float = 30.0) -> Loaded:
    """Run what a source names.

    Args:
        seconds: that a server may take for an answer.

    Raises:
        InputError: it cannot be run, or is no environment.
    """
    where = f"{WHERE}={source.label}"
    _Now.loading = True
    try:
        if source.kind == "url":
            from toolrest.environments.adapters.openenv import OpenEnvServer

            return Loaded(OpenEnvServer(source.place, where, seconds).make)
        if source.kind == "world":
            return _from_class(import_module("toolrest.world.chains").Chains, where)
        if source.kind == "bfcl":
            from toolrest.environments.adapters.bfcl import Simulators

            return Loaded(Simulators(where).make, reusable=True)
        loaded = _from_objects(_objects(source, where), where)
        return loaded if source.reward is None else _rewarded(loaded, source.reward)
    finally:
        _Now.loading = False


def _objects(source: Source, where: str) -> Sequence[Any]:
    if source.kind == "live":
        return source.live
    module = _module(source, where)
    if not source.names:
        return _functions(module)
    return [_named(module, name, where) for name in source.names]


def _rewarded(loaded: Loaded, reward: Source) -> Loaded:
    """Environments whose end is rewarded by a function that reads them, too."""
    where = f"reward.function={reward.label}"
    function = _named(_module(reward, where), reward.names[0], where)
    if not callable(function):
        raise InputError(f"{where}: {reward.names[0]} is no function")
    return replace(loaded, make=lambda: ReadByReward(loaded.make(), function), notes=())


def _module(source: Source, where: str) -> ModuleType:
    if source.kind == "file":
        path = Path(source.place)
        known = python_file_module(path, _KIND)
        if known is not None:  # the file of a class that also has its reward
            return known
        sys.path.append(str(path.parent))  # its neighbours, behind all that is installed
        return run_python_file(path, _KIND, where)
    try:
        return import_module(source.place)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{where}: {source.place} cannot be imported ({type(error).__name__}: {reason(error)})"
        ) from error


def _functions(module: ModuleType) -> list[Any]:
    """The public functions that a module defines itself, in its order."""
    return [
        each
        for name, each in vars(module).items()
        if inspect.isfunction(each)
        and each.__module__ == module.__name__
        and name == each.__name__
        and not name.startswith("_")
    ]


def _named(module: ModuleType, name: str, where: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise InputError(f"{where}: it has no {name}") from None
    return found


def _from_objects(objects: Sequence[Any], where: str) -> Loaded:
    if len(objects) == 1 and isinstance(objects[0], list | tuple):
        objects = objects[0]
    if len(objects) == 1 and inspect.isclass(objects[0]):
        return _from_class(objects[0], where)
    for each in objects:
        if not inspect.isroutine(each):
            raise InputError(
                f"{where}: {short(each)} is neither a class nor a function; name the class, not an "
                "object of it"
            )
    made = FunctionsEnvironment(objects, where)
    return Loaded(lambda: made)


def _from_class(kind: type, where: str) -> Loaded:
    reset = getattr(kind, "reset", None)
    if not callable(reset):
        raise InputError(
            f"{where}: {kind.__name__} has no method `reset`, which begins an episode; add it"
        )
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise InputError(
            f"{where}: {kind.__name__} is made without arguments ({reason(error)}); give them "
            "defaults"
        ) from None
    except ValueError:  # a class of C, of which nothing is known
        pass
    if is_protocol(kind):
        return Loaded(kind, reusable=getattr(kind, "reusable", False) is True)
    described = TrlClass(kind, where)
    return Loaded(described.make, left_out=described.left_out, notes=described.notes)


def is_protocol(kind: Any) -> bool:
    """Whether a class is of our protocol: `call`, and a `reset` that takes a row and a seed. A TRL
    class may have a tool `call`, but its `reset` takes columns by their names.
    """
    if not callable(getattr(kind, "call", None)):
        return False
    try:
        inspect.signature(kind.reset).bind(None, {}, 0)
    except TypeError:
        return False
    return True

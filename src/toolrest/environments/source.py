"""What a recipe or a script names as its environment, looked at without running it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolrest.environments.source_file import check_file, tools_in_file
from toolrest.errors import InputError, short
from toolrest.io.foreign import user_path

WHERE = "environment.source"
"""The setting, as errors name it."""
BUILT_IN = ("bfcl", "world")
_FORMS = (
    "a class or function in a file (bank.py:Bank), a file of functions (tools.py), the address of "
    "an OpenEnv server (http://127.0.0.1:8000), world or bfcl"
)
OPENENV_INSTALL = "pip install 'toolrest[openenv]'"


@dataclass(frozen=True)
class Source:
    """Where an environment comes from. All of it can be sent to another process, but `live`."""

    kind: str
    """`file`, `module`, `url`, `world`, `bfcl` or `live`."""
    place: str
    """The file, the module's name or the address."""
    names: tuple[str, ...] = ()
    """What is taken of a file or module; none: every public function."""
    label: str = ""
    """What messages call it."""
    live: tuple[Any, ...] = ()
    """A class or functions that no other process can import."""
    reward: Source | None = None
    """A reward function that reads the environment itself, at the end of each episode."""

    def to_json(self) -> dict[str, Any]:
        """All of it but `live`."""
        told = {"kind": self.kind, "place": self.place, "names": self.names, "label": self.label}
        return told | {"reward": None if self.reward is None else self.reward.to_json()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Source:
        """What `to_json` has told."""
        reward = None if told["reward"] is None else cls.from_json(told["reward"])
        return cls(told["kind"], told["place"], tuple(told["names"]), told["label"], reward=reward)


def find_source(
    given: str | type | Callable[..., Any] | Sequence[Callable[..., Any]],
    reward: str | None = None,
) -> Source:
    """The source that is meant by a text, as recipes have it, or by Python objects.

    A class or function of a module is imported in the environments' process by its name; one of a
    script by running that script's file there, which wants `if __name__ == "__main__":` around the
    script's work. One that is made inside of a function, or typed into a notebook, cannot be had
    there: its episodes run in threads of this process.

    Args:
        reward: FILE.py:NAME of a function as TRL has them that reads `environments`.

    Raises:
        InputError: it has no form that is known, or its file does not have what it names.
    """
    source = _from_text(given) if isinstance(given, str) else _from_objects(given)
    return source if reward is None else replace(source, reward=_reward_source(source, reward))


def _reward_source(source: Source, named: str) -> Source:
    where = f"reward.function={named}"
    named_class = source.kind in ("file", "module") and source.names
    if source.kind != "live" and not named_class:
        raise InputError(
            f"{where} reads `environments`, the objects of a class in a file; "
            f"{WHERE}={source.label} has none, so leave it out"
        )
    file, _, name = named.rpartition(":")
    path = user_path(file, where)
    return Source("file", str(path.resolve()), (name,), label=f"{path.name}:{name}")


def check_source(text: str) -> Source:
    """Check what a recipe names: whether the file and the name in it are there, whether the package
    for it is installed. Nothing of it is run and no server is asked.

    Raises:
        InputError: saying what is wrong, where, and how it is mended.
    """
    return _from_text(text)


def describe_source(text: str) -> str:
    """What a recipe names and the tools that are seen in it, in a few words; nothing is run.

    Raises:
        InputError: see `check_source`.
    """
    source = _from_text(text)
    if source.kind == "world":
        return "the embedded chains, whose requests list their tools"
    if source.kind == "bfcl":
        return "BFCL's simulators; tools by the row"
    if source.kind == "url":
        return f"the OpenEnv server {source.place}, which is asked for its tools"
    tools = tools_in_file(Path(source.place), source.names[0] if source.names else "")
    return f"{source.label}, {'tools ' + ', '.join(tools) if tools else 'whose reset says tools'}"


def environment_file(text: str) -> Path | None:
    """The file that a recipe's environment is in; None: it is in none, or the file is not there."""
    file = text if text.endswith(".py") else text.rpartition(":")[0]
    if "://" in text or not file.endswith(".py"):
        return None
    path = user_path(file, WHERE)
    return path if path.is_file() else None


def _from_text(text: str) -> Source:
    where = f"{WHERE}={text}"
    if text in BUILT_IN:
        if text == "bfcl" and find_spec("bfcl_eval") is None:
            raise InputError(
                f"{where}: needs the package bfcl-eval; "
                "pip install --no-deps bfcl-eval==2025.8.5 (docs/evaluate.md)"
            )
        return Source(text, text, label=text)
    if "://" in text:
        return _from_address(text, where)
    file, colon, name = text.rpartition(":")
    if not colon and text.endswith(".py"):
        file, name = text, ""
    if not file.endswith(".py") or (colon and not name.isidentifier()):
        raise InputError(f"{where}: it is {_FORMS}")
    path = user_path(file, where)
    if path.is_dir():
        raise InputError(f"{where}: {path} is a folder; name the .py file in it")
    if not path.is_file():
        raise InputError(f"{where}: there is no file {path}")
    check_file(path, name, where)
    names = (name,) if name else ()
    return Source("file", str(path.resolve()), names, label=f"{path.name}:{name}".rstrip(":"))


def _from_address(text: str, where: str) -> Source:
    try:
        parts = urlsplit(text)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise InputError(f"{where}: an OpenEnv server's address is as http://127.0.0.1:8000")
    if find_spec("openenv") is None:
        raise InputError(f"{where}: OpenEnv needs the package openenv; {OPENENV_INSTALL}")
    return Source("url", text.rstrip("/"), label=text)


def _from_objects(given: Any) -> Source:
    where = "environment"
    objects = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not objects or not all(inspect.isclass(each) or inspect.isroutine(each) for each in objects):
        raise InputError(
            f"{where}={short(given)}: it is a class, a function, a list of functions, or a text: "
            f"{_FORMS}"
        )
    if len(objects) > 1 and any(inspect.isclass(each) for each in objects):
        raise InputError(f"{where}={short(given)}: a list holds functions; give one class alone")
    label = ", ".join(each.__qualname__ for each in objects)
    modules = {each.__module__ for each in objects}
    module = sys.modules.get(next(iter(modules))) if len(modules) == 1 else None
    names = tuple(each.__qualname__ for each in objects)
    if module is None or not all(_is_in(module, each) for each in objects):
        return Source("live", "", label=label, live=objects)
    if module.__name__ != "__main__" and _is_importable(module.__name__):
        return Source("module", module.__name__, names, label=label)
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        return Source("live", "", label=label, live=objects)
    return Source("file", str(Path(file).resolve()), names, label=label)


def _is_importable(name: str) -> bool:
    """Whether another process finds the module by its name, or only this one has it."""
    top = name.partition(".")[0]
    return top in sys.builtin_module_names or PathFinder.find_spec(top) is not None


def _is_in(module: Any, wanted: Any) -> bool:
    """Whether a module has the object under its own name, so that another process finds it."""
    found = module
    for part in wanted.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is wanted

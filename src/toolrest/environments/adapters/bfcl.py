"""BFCL's multi-turn dialogues as an environment (package bfcl-eval; 2025.8.5 or 2026.3.23).

The simulators are plain classes, which stay as the dialogue goes on: a call runs once, as the
method that it names, and nothing is evaluated as Python. The end of a user's turn is checked as the
official checker does it: the simulators' states are those after the right calls, and all that the
right calls answered has been answered to the policy.
"""

from __future__ import annotations

import ast
import copy
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from toolrest.core.dialects import ToolCall
from toolrest.environments.adapters.bfcl_rows import CATEGORIES
from toolrest.environments.base import Ending, EnvironmentFailure, Finish, Start, Step
from toolrest.errors import InputError, reason

MORE_FUNCTIONS = "I have updated some more functions you can choose from. What about now?"
"""What the user says where functions are added, in BFCL's words; their schemas stand above it."""
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
"""JSON schema's name of BFCL's types for Python."""
_CHECKER = "bfcl_eval.eval_checker.multi_turn_eval"


@dataclass(frozen=True)
class Item:
    """A dialogue."""

    identity: str
    question: list[list[dict[str, str]]]
    """Messages of each turn."""
    config: dict[str, Any]
    """First state of each simulator."""
    classes: list[str]
    gold: list[list[str]]
    """Right calls of each turn, as Python."""
    functions: list[dict[str, Any]]
    """In OpenAI's form."""
    later: dict[int, list[dict[str, Any]]]
    """Functions that are there from a turn on."""


class Simulators:
    """The installed package: its dialogues, simulators and checkers."""

    def __init__(self, where: str) -> None:
        """
        Raises:
            InputError: the package is missing, or of another form.
        """
        try:
            self._checker = import_module(f"{_CHECKER}.multi_turn_checker")
            self._utils = import_module(f"{_CHECKER}.multi_turn_utils")
            self._items = self._read(Path(str(import_module("bfcl_eval").__file__)).parent / "data")
            for name in {each for item in self._items.values() for each in item.classes}:
                self._class(name)
        except (ImportError, OSError, ValueError, KeyError, AttributeError) as error:
            raise InputError(
                f"{where}: bfcl-eval cannot be used ({type(error).__name__}: {reason(error)}); "
                "pip install --no-deps bfcl-eval==2025.8.5 (docs/evaluate.md)"
            ) from error

    def make(self) -> BfclEnvironment:
        return BfclEnvironment(self)

    def item(self, row: Mapping[str, Any]) -> Item:
        """The dialogue of a row: by `id`, or the one at `index` of the category `base`.

        Raises:
            EnvironmentFailure: there is none.
        """
        identity = row.get("id", f"multi_turn_base_{row.get('index')}")
        item = self._items.get(str(identity))
        if item is None:
            raise EnvironmentFailure(
                f"BFCL has no dialogue {identity!r}; a row has an id, such as multi_turn_base_17"
            )
        return item

    def begin(self, item: Item) -> dict[str, Any]:
        """New simulators of a dialogue in their first state, by class."""
        made = {}
        for name in item.classes:
            made[name] = self._class(name)()
            if name not in self._utils.STATELESS_CLASSES:
                made[name]._load_scenario(
                    copy.deepcopy(item.config.get(name, {})),
                    long_context="long_context" in item.identity,
                )
        return made

    def agree(
        self,
        simulators: dict[str, Any],
        gold: dict[str, Any],
        answered: list[str],
        right: list[str],
    ) -> bool:
        """Whether the states are equal, and all that the right calls answered has been answered."""
        return bool(
            self._checker.state_checker(simulators, gold)["valid"]
            and self._checker.response_checker(answered, right, 0)["valid"]
        )

    def _class(self, name: str) -> Any:
        return getattr(import_module(self._utils.CLASS_FILE_PATH_MAPPING[name]), name)

    def _read(self, data: Path) -> dict[str, Item]:
        found = {}
        for category in CATEGORIES:
            for file in sorted(data.glob(f"BFCL_v*_multi_turn_{category}.json")):
                gold = {
                    each["id"]: each["ground_truth"]
                    for each in _lines(data / "possible_answer" / file.name)
                }
                for each in _lines(file):
                    found[each["id"]] = self._described(each, gold[each["id"]], data)
        if not found:
            raise ValueError(f"no dialogues in {data}")
        return found

    def _described(self, entry: dict[str, Any], gold: list[list[str]], data: Path) -> Item:
        later = {int(turn): names for turn, names in entry.get("missed_function", {}).items()}
        held_back = {name for names in later.values() for name in names}
        module = self._utils.CLASS_FILE_PATH_MAPPING
        tools = [
            _tool(function)
            for name in entry["involved_classes"]
            for function in _lines(
                data / "multi_turn_func_doc" / f"{module[name].rpartition('.')[2]}.json"
            )
        ]
        named = {each["function"]["name"]: each for each in tools}
        return Item(
            identity=entry["id"],
            question=entry["question"],
            config=entry["initial_config"],
            classes=entry["involved_classes"],
            gold=gold,
            functions=[each for each in tools if each["function"]["name"] not in held_back],
            later={at: [named[n] for n in names if n in named] for at, names in later.items()},
        )


class BfclEnvironment:
    """One dialogue. The end of each turn that is right earns an equal share of 1."""

    def __init__(self, official: Simulators) -> None:
        self._official = official

    def reset(self, row: Mapping[str, Any], seed: int) -> Start:
        self._item = self._official.item(row)
        self._simulators = self._official.begin(self._item)
        self._gold = self._official.begin(self._item)
        self._methods = _methods(self._simulators)
        self._answered: list[str] = []
        self._called = False
        self._right: list[bool] = []
        return Start(tuple(self._item.question[0]), tuple(self._item.functions))

    def call(self, calls: Sequence[ToolCall]) -> Step:
        self._called = self._called or bool(calls)
        done = [_run(self._methods, each.name, (), each.parameters) for each in calls]
        self._answered += [text for text, _ in done]
        results = tuple((call.name, text) for call, (text, _) in zip(calls, done, strict=True))
        return Step(results, errors=sum(not fine for _, fine in done))

    def finish(self, reply: str, ending: Ending) -> Finish:
        """The end of a user's turn; where there is another, what the user says next."""
        if ending is not Ending.ANSWERED:
            return Finish(success=False)
        self._right.append(self._is_right())
        turns = len(self._item.question)
        reward = self._right[-1] / turns
        if len(self._right) == turns:
            return Finish(reward, success=all(self._right))
        self._called = False
        return Finish(reward, self._said(len(self._right)))

    def close(self) -> None:
        """There is nothing to close."""

    def _is_right(self) -> bool:
        methods = _methods(self._gold)
        gold = [_parsed(each) for each in self._item.gold[len(self._right)]]
        right = [_run(methods, name, args, named)[0] for name, args, named in gold]
        if not gold:  # a turn that cannot be answered yet; the official checker accepts anything
            return True
        return self._called and self._official.agree(
            self._simulators, self._gold, self._answered, right
        )

    def _said(self, turn: int) -> str:
        said = "\n".join(each["content"] for each in self._item.question[turn])
        more = self._item.later.get(turn)
        if not more:
            return said
        listed = "\n".join(json.dumps(each["function"], ensure_ascii=False) for each in more)
        return f"{listed}\n{MORE_FUNCTIONS}"


def _methods(simulators: Mapping[str, Any]) -> dict[str, Callable[..., Any]]:
    return {
        name: method
        for each in simulators.values()
        for name, method in inspect.getmembers(each, inspect.ismethod)
        if not name.startswith("_")
    }


def _run(
    methods: Mapping[str, Callable[..., Any]],
    name: str,
    arguments: Sequence[Any],
    parameters: Mapping[str, Any],
) -> tuple[str, bool]:
    """(what the official executor would answer, whether it went well)"""
    method = methods.get(name)
    if method is None:
        return f"Error during execution: name {name!r} is not defined", False
    try:
        value = method(*arguments, **parameters)
    except MemoryError:
        raise
    except Exception as error:
        return f"Error during execution: {error}", False
    fine = not (isinstance(value, dict) and "error" in value)
    if isinstance(value, dict):
        try:
            return json.dumps(value), fine
        except (TypeError, ValueError):
            return str(value), fine
    return str(value), fine


def _parsed(written: str) -> tuple[str, list[Any], dict[str, Any]]:
    """The name, arguments and parameters of a right call; all of them are literals."""
    call = ast.parse(written, mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise EnvironmentFailure(f"BFCL's right call {written!r} is no call")
    named = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    return call.func.id, [ast.literal_eval(each) for each in call.args], named


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    described = {key: function[key] for key in ("name", "description")}
    parameters = _schema(function["parameters"])
    return {"type": "function", "function": {**described, "parameters": parameters}}


def _schema(value: Any) -> Any:
    if isinstance(value, list):
        return [_schema(each) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _schema(each) for key, each in value.items()}
    if isinstance(made.get("type"), str):
        made["type"] = _TYPES.get(made["type"], made["type"])
    return made


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return [json.loads(line) for line in file if line.strip()]

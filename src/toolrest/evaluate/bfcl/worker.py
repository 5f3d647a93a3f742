"""The process in which bfcl-eval runs: one JSON request a line, one JSON answer a line.

It loads the questions, checks single-turn answers, runs the simulated APIs and checks dialogues. It
has no network, starts no process, writes no file, and has a limit on memory; the parent kills it
when a request takes too long. The official executor evaluates strings as Python, so it is handed
none that was not rebuilt here from the name of an existing method and literal values.

bfcl-eval's checker imports `bfcl_eval.constants.model_config`, and with it every vendor's SDK; a
stub stands in its place.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import keyword
import os
import re
import shutil
import signal
import sys
import tempfile
import types
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

MEMORY = 4 * 1024**3
"""Address space, bytes."""
MOST_KEPT = 1000
"""Dialogues whose simulators stay at most: more than all of BFCL's, played side by side."""
LONGEST_CALL = 1_000_000
"""Characters of a call with its values; a longer one is answered with an error."""
_FORBIDDEN = (
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg"),
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn"),
    *("os.spawn", "os.kill", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod"),
    *("os.link", "os.symlink", "os.truncate", "os.putenv", "shutil.rmtree", "ctypes.dlopen"),
)
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
"""Linux's CLONE_NEWUSER and CLONE_NEWNET: a network of its own, with nothing in it."""
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux's prctl."""
_LANGUAGES = {"java": "Java", "javascript": "JavaScript"}
_PACKAGE = "bfcl_eval.eval_checker"


def _import_official() -> types.SimpleNamespace:
    """The parts of bfcl-eval that are used, with a stub for the list of models."""
    os.environ["BFCL_PROJECT_ROOT"] = tempfile.mkdtemp(prefix="toolrest-bfcl-")
    stub: Any = types.ModuleType("bfcl_eval.constants.model_config")
    plain = types.SimpleNamespace(underscore_to_dot=False)
    stub.MODEL_CONFIG_MAPPING = defaultdict(lambda: plain)
    sys.modules[stub.__name__] = stub
    turns = importlib.import_module(f"{_PACKAGE}.multi_turn_eval.multi_turn_utils")
    try:
        docs = importlib.import_module("bfcl_eval.constants.executable_backend_config")
    except ModuleNotFoundError:
        docs = importlib.import_module("bfcl_eval.constants.category_mapping")
    names = importlib.import_module("bfcl_eval.constants.category_mapping")
    config = importlib.import_module("bfcl_eval.constants.eval_config")
    shutil.rmtree(config.PROJECT_ROOT)
    for module in turns.CLASS_FILE_PATH_MAPPING.values():
        if not module.endswith("web_search") and "memory" not in module:
            importlib.import_module(module)
    return types.SimpleNamespace(
        check=importlib.import_module(f"{_PACKAGE}.ast_eval.ast_checker").ast_checker,
        check_turns=importlib.import_module(
            f"{_PACKAGE}.multi_turn_eval.multi_turn_checker"
        ).multi_turn_checker,
        turns=turns,
        documents=docs.MULTI_TURN_FUNC_DOC_FILE_MAPPING,
        prefix=names.VERSION_PREFIX,
        data=Path(config.PROMPT_PATH),
        checker=Path(str(turns.__file__)).parent.parent,
        languages=_languages(),
    )


def _languages() -> dict[str, Any]:
    """The checker's values for languages: words in v3, enum members in v4."""
    try:
        enum = importlib.import_module("bfcl_eval.constants.enums").Language
    except ModuleNotFoundError:
        return {"": "Python", **_LANGUAGES}
    return {"": enum.PYTHON, "java": enum.JAVA, "javascript": enum.JAVASCRIPT}


def _shut_in() -> None:
    """No network, no process, no written file, bounded memory, from here on; and an end when the
    parent ends.
    """
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ValueError, OSError):
        pass  # a system without them, or with tighter ones already
    if sys.platform == "linux":
        # Where this is not allowed it returns an error, and the hook below stays.
        libc = ctypes.CDLL(None)
        libc.unshare(_NEW_USER | _NEW_NETWORK)
        libc.prctl(_DIE_WITH_PARENT, signal.SIGKILL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"{event} is not allowed here")
        if event == "open" and _writes(arguments):
            raise PermissionError("writing a file is not allowed here")

    sys.addaudithook(watch)


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _key(category: str, identity: str, steps: list[list[dict[str, Any]]]) -> str:
    """Names a dialogue after these steps."""
    return json.dumps([category, identity, steps])


def _memory() -> int:
    """What this process holds, bytes; 0 on systems that do not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Official:
    """The requests that the parent process can send."""

    def __init__(self) -> None:
        self._bfcl = _import_official()
        self._runs = 0
        self._kept: dict[str, str] = {}

    def version(self) -> dict[str, Any]:
        """The version of bfcl-eval, its release (v3 or v4), and the hashes of its questions with
        their answers and of its checker with the simulators.
        """
        return {
            "version": metadata.version("bfcl-eval"),
            "release": self._bfcl.prefix.removeprefix("BFCL_").lower(),
            "data": _hash(self._bfcl.data, "*.json"),
            "checker": _hash(self._bfcl.checker, "*.py"),
        }

    def load(self, category: str) -> list[dict[str, Any]]:
        """The items of a category, without their answers."""
        return [
            {key: value for key, value in item.items() if key not in ("path", "ground_truth")}
            for item in self._items(category).values()
        ]

    def gold(self, category: str) -> dict[str, Any]:
        """{item: right answers} of a category."""
        return {key: item.get("ground_truth") for key, item in self._items(category).items()}

    def check(self, category: str, identity: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """The official AST check of calls, {name: {parameter: value}}."""
        item = self._items(category)[identity]
        language = category.removeprefix("simple_")
        found = self._bfcl.check(
            item["function"],
            calls,
            item["ground_truth"],
            self._bfcl.languages.get(language, self._bfcl.languages[""]),
            category,
            "toolrest",
        )
        return {"valid": found["valid"], "error": found.get("error"), "type": _type(found)}

    def methods(self, category: str, identity: str) -> list[str]:
        """The methods that a dialogue's simulators have."""
        return sorted(self._methods(tuple(self._items(category)[identity]["involved_classes"])))

    def execute(self, category: str, identity: str, steps: list[list[dict[str, Any]]]) -> list[str]:
        """Run all steps on the simulated APIs; return the results of the last step.

        The simulators of a dialogue stay, as in BFCL's own runner, so that only the last step is
        run. Where they are gone, in a new process or with too many dialogues, all steps are.
        """
        item = self._items(category)[identity]
        run = self._kept.pop(_key(category, identity, steps[:-1]), None)
        waiting = steps[-1:]
        if run is None:
            run, waiting = self._next_run(), [[], *steps]
        results: list[str] = []
        try:
            for step in waiting:
                results = self._bfcl.turns.execute_multi_turn_func_call(
                    self._written(step, item),
                    item["initial_config"],
                    item["involved_classes"],
                    run,
                    identity,
                    long_context="long_context" in category,
                    is_evaL_run=False,
                )[0]
        except BaseException:
            self._forget(run)
            raise
        self._keep(_key(category, identity, steps), run)
        return results

    def _next_run(self) -> str:
        """What the executor calls a dialogue."""
        self._runs += 1
        return f"run{self._runs}"

    def _keep(self, key: str, run: str) -> None:
        """Keep a run's simulators for the step after these. Forget those that have waited longest,
        where they are too many, and all where they are too large.
        """
        self._forget(self._kept.pop(key, None))
        self._kept[key] = run
        if _memory() > MEMORY // 4:
            while self._kept:
                self._forget(self._kept.popitem()[1])
        while len(self._kept) > MOST_KEPT:
            self._forget(self._kept.pop(next(iter(self._kept))))

    def check_turns(
        self, category: str, identity: str, turns: list[list[list[dict[str, Any]]]]
    ) -> dict[str, Any]:
        """The official check of a dialogue: per turn, per step, its calls."""
        item = self._items(category)[identity]
        played = [step for steps in turns for step in steps]
        self._forget(self._kept.pop(_key(category, identity, played), None))
        run = self._next_run()
        gold = item["ground_truth"]
        if len(turns) != len(gold):
            return {
                "valid": False,
                "error": f"{len(turns)} of {len(gold)} turns were played",
                "type": "multi_turn:force_terminated",
            }
        written = [[self._written(step, item) for step in steps if step] for steps in turns]
        found = self._bfcl.check_turns(written, gold, item, category, run)
        self._forget(run)
        return {
            "valid": found["valid"],
            "error": found.get("error_message"),
            "type": _type(found),
        }

    def _forget(self, run: str | None) -> None:
        """Drop the simulators of a run, which the executor keeps in its module by their names."""
        if run is None:
            return
        kept = vars(self._bfcl.turns)
        for name in [name for name in kept if name.startswith(f"{run}_")]:
            del kept[name]

    def _written(self, calls: list[dict[str, Any]], item: dict[str, Any]) -> list[str]:
        """Write calls as Python for the executor."""
        methods = self._methods(tuple(item["involved_classes"]))
        return [_write(name, values, methods) for call in calls for name, values in call.items()]

    @cache  # noqa: B019 (one object a process)
    def _methods(self, classes: tuple[str, ...]) -> frozenset[str]:
        found: set[str] = set()
        for name in classes:
            module = importlib.import_module(self._bfcl.turns.CLASS_FILE_PATH_MAPPING[name])
            found |= {method for method in dir(getattr(module, name)) if not method.startswith("_")}
        return frozenset(found)

    @cache  # noqa: B019 (one object a process)
    def _items(self, category: str) -> dict[str, dict[str, Any]]:
        name = f"{self._bfcl.prefix}_{category}.json"
        items = _lines(self._bfcl.data / name)
        answers = self._bfcl.data / "possible_answer" / name
        if answers.is_file():
            for item, answer in zip(items, _lines(answers), strict=True):
                item["ground_truth"] = answer["ground_truth"]
        for item in items:
            if "involved_classes" in item:
                self._list_functions(item)
        return {item["id"]: item for item in items}

    def _list_functions(self, item: dict[str, Any]) -> None:
        """The functions of a dialogue, and those that are shown only later by turn."""
        folder = self._bfcl.data / "multi_turn_func_doc"
        functions: list[dict[str, Any]] = []
        for name in item["involved_classes"]:
            functions += _lines(folder / self._bfcl.documents[name])
        later: dict[str, list[dict[str, Any]]] = {}
        for turn, names in item.get("missed_function", {}).items():
            later[turn] = []
            for name in names:
                place = next((i for i, f in enumerate(functions) if f["name"] == name), None)
                if place is not None:
                    later[turn].append(functions.pop(place))
        item["function"] = functions
        item["missed_function"] = later


def _hash(folder: Path, pattern: str) -> str:
    """A hash of a folder's files and their names."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(folder)}:{content};".encode())
    return found.hexdigest()[:16]


def _lines(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:  # text would end lines at a lone carriage return too
        return [json.loads(line) for line in file if line.strip()]


def _type(found: dict[str, Any]) -> str:
    return str(found.get("error_type") or "")


def _write(name: str, values: dict[str, Any], methods: frozenset[str]) -> str:
    """`name(a=1, b='x')`; of what is no call of a method, an expression that only raises."""
    if name not in methods:
        return _error(f"name {name[:100]!r} is not defined")
    if not all(key.isidentifier() and not keyword.iskeyword(key) for key in values):
        return _error("invalid syntax: a parameter's name is no identifier")
    try:
        text = f"{name}({', '.join(f'{key}={value!r}' for key, value in values.items())})"
    except (RecursionError, ValueError) as error:
        return _error(f"a value cannot be written: {error}")
    if len(text) > LONGEST_CALL:
        return _error("the call is too long")
    return text


def _error(message: str) -> str:
    """A call of something that is no function, which says why in what is raised."""
    return f"(lambda: (_ for _ in ()).throw(NameError({re.sub('[^ -~]', '?', message)!r})))()"


def serve(requests: Any, answers: Any) -> None:
    """Answer requests, [name, arguments], until they end."""
    official = Official()
    _shut_in()
    known: dict[str, Callable[..., Any]] = {
        name: getattr(official, name)
        for name in ("version", "load", "gold", "check", "methods", "execute", "check_turns")
    }
    for line in requests:
        try:
            name, arguments = json.loads(line)
            reply: dict[str, Any] = {"result": known[name](**arguments)}
        except Exception as error:  # a checker may raise on anything that a policy writes
            reply = {"raised": f"{type(error).__name__}: {str(error)[:300]}"}
        answers.write(json.dumps(reply, default=str) + "\n")
        answers.flush()


def main() -> None:
    """Serve on standard input and output; what bfcl-eval prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


if __name__ == "__main__":
    main()

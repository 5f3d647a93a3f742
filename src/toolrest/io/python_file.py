"""A Python file of the user's, which is run to have what it defines."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from toolrest.errors import InputError, reason


def _module_name(path: Path, kind: str) -> str:
    own = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{kind}_{path.stem}_{own}"


def python_file_module(path: Path, kind: str) -> ModuleType | None:
    """What `run_python_file` has made of a file in this process; None: it has not been run."""
    return sys.modules.get(_module_name(path, kind))


def run_python_file(path: Path, kind: str, where: str) -> ModuleType:
    """Run a file as a module of its own, which `sys.modules` has, as dataclasses and pickle need.

    Args:
        kind: what the file is run for. The module's name begins with it, and is another for each
            path: files of one stem are two modules.
        where: how the user named the file, for errors.

    Raises:
        InputError: it is no Python file, or it raises or ends the process.
    """
    name = _module_name(path, kind)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{where}: {path} is no Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if not isinstance(error, Exception | SystemExit):
            raise
        raise InputError(
            f"{where}: {path} cannot be run ({type(error).__name__}: {reason(error)})"
        ) from error
    return module

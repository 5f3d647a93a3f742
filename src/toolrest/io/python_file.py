"""A Python file of the user's, which is run to have what it defines."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from toolrest.errors import InputError, reason


def run_python_file(path: Path, name: str, where: str) -> ModuleType:
    """Run a file as a module of its own.

    Args:
        name: the module's.
        where: how the user named the file, for errors.

    Raises:
        InputError: it is no Python file, or it raises or ends the process.
    """
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{where}: {path} is no Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{where}: {path} cannot be run ({type(error).__name__}: {reason(error)})"
        ) from error
    return module

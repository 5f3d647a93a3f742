"""Folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolrest.errors import InputError
from toolrest.io.files import sync_tree


def check_new_folder(path: Path, option: str) -> None:
    """Refuse a place where no folder can be made anew.

    Args:
        option: of the command that names it, for the message.

    Raises:
        InputError: something is there that is not an empty folder, or it is the folder that the
            command runs in, or its parent is no folder that can be written in.
    """
    if os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{option} {path}: it is there and not an empty folder; name another")
    if path.exists() and path.samefile(Path.cwd()):
        raise InputError(
            f"{option} {path}: the folder that you are in, which would be another one afterwards; "
            f"name one in it ({option} NAME), or call from the folder above"
        )
    above = path.absolute().parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path}: {above} is no folder that can be written in")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to write in, which is at `path` once the `with` block has ended without an error;
    otherwise nothing is left of it.

    Args:
        path: nothing, or an empty folder.
    """
    path = path.absolute()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        sync_tree(part)
        part.replace(path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise

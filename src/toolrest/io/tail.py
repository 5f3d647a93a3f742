"""What is new at the end of a file that another process writes."""

from __future__ import annotations

import os
from pathlib import Path

from toolrest.io.files import open_regular

_MOST = 16 << 20
"""Bytes of one reading; what is more is read the next time."""


class Tail:
    """Reads each whole line of a growing file once.

    A last line without an end is waited for. A file that was replaced or cut is read anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode: int | None = None
        self._offset = 0
        self.restarted = False
        """Whether the last reading was of a file that was replaced or cut since the one before."""

    def read(self) -> list[str]:
        """The lines that are new, without their ends; none where there is no file."""
        self.restarted = False
        try:
            with open_regular(self._path) as file:
                status = os.fstat(file.fileno())
                if self._inode is not None and (
                    status.st_ino != self._inode or status.st_size < self._offset
                ):
                    self.restarted, self._offset = True, 0
                self._inode = status.st_ino
                if status.st_size == self._offset:
                    return []
                file.seek(self._offset)
                found = file.read(_MOST)
        except OSError:  # not there yet, or not any more
            return []
        whole = found[: found.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode("utf-8", "replace").split("\n")[:-1]

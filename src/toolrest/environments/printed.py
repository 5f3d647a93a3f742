"""What environments print, kept in a file that has a largest size."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

MOST_PRINTED = 50_000_000
"""Bytes of the file; one that prints without end would else fill the disk in a minute."""
_MARK = b"\n.. nothing of what was printed later is kept: this file has its largest size ..\n"
_END_SECONDS = 2.0


class Printed:
    """A pipe to a file. What is over the file's largest size is read and dropped, so that nobody
    who prints has to wait.
    """

    def __init__(self, file: Path) -> None:
        """
        Args:
            file: it is added to.
        """
        with file.open("ab"):
            pass
        reads, self.end = os.pipe()
        """`end` is the file descriptor to print to; whoever has it gives it on and closes it."""
        self._file = file
        self._thread = threading.Thread(
            target=self._keep, args=(reads,), daemon=True, name="environment-printed"
        )
        self._thread.start()

    def _keep(self, reads: int) -> None:
        try:
            with contextlib.suppress(OSError), self._file.open("ab", buffering=0) as file:
                room = MOST_PRINTED - file.tell()
                while part := os.read(reads, 1 << 18):
                    if room <= 0:
                        continue
                    file.write(part[:room])
                    room -= len(part)
                    if room <= 0:
                        file.write(_MARK)
            while os.read(reads, 1 << 18):  # a full disk
                pass
        finally:
            os.close(reads)

    def wait(self) -> None:
        """Wait, not for long, until all has been written that was printed by processes that have
        ended.
        """
        self._thread.join(_END_SECONDS)

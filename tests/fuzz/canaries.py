"""What a hostile file must not set off: code that runs, files read elsewhere, the network, a hang.

Python's own audit events are watched, so that nothing has to be patched and nothing is passed by.
"""

import faulthandler
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

LIMIT = 60.0
"""Seconds after which a command hangs; the process is ended, since C code cannot be interrupted."""
_OURS = ("git", "uname")
"""Our own look at the commit, and Python's at the machine."""
_NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
_watched: list["Monitor"] = []


class Monitor:
    """What happened that must not."""

    def __init__(self, outside: Path) -> None:
        self.outside = str(outside.resolve())
        self.seen: list[str] = []

    def tell(self, event: str, values: tuple) -> None:
        """Told every audit event."""
        if event in _NETWORK:
            address = values[1] if event == "socket.connect" else values[0]
            if not isinstance(address, str | bytes) or event != "socket.connect":
                self.seen.append(f"network: {event} {address!r}")
        elif event == "open" and isinstance(values[0], str | bytes):
            if os.fsdecode(values[0]).startswith(self.outside):
                self.seen.append(f"read outside: {os.fsdecode(values[0])}")
        elif event in ("os.system", "os.exec", "os.posix_spawn"):
            self.seen.append(f"a program: {event} {values!r}")
        elif event == "subprocess.Popen" and os.path.basename(str(values[0])) not in _OURS:
            self.seen.append(f"a program: {values[:2]!r}")


def _hook(event: str, values: tuple) -> None:
    for watch in _watched:
        watch.tell(event, values)


sys.addaudithook(_hook)


@contextmanager
def watched(outside: Path, limit: float = LIMIT):
    """Nothing that must not happen does meanwhile, and it does not take longer than `limit`.

    Args:
        outside: a folder that nothing may read.
    """
    watch = Monitor(outside)
    _watched.append(watch)
    faulthandler.dump_traceback_later(limit, exit=True)
    begun = time.monotonic()
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        _watched.remove(watch)
    assert not watch.seen, watch.seen
    assert time.monotonic() - begun < limit


def leave_code(folder: Path, mark: Path) -> None:
    """Modules in a folder that make another folder when they run."""
    text = f"import os\nos.makedirs({str(mark)!r}, exist_ok=True)\n"
    text += (
        "class C: pass\nM = T = C\ndef generate(*a, **k): pass\ndef reward(*a, **k): return []\n"
    )
    (folder / "custom_generate").mkdir(exist_ok=True)
    for name in ("evil.py", "custom_generate/generate.py", "configuration_evil.py"):
        if not os.path.lexists(folder / name):
            (folder / name).write_text(text)

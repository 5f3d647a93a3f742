"""Which processes are there."""

import time
from pathlib import Path


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def all_gone(pids, seconds: float = 5.0) -> bool:
    """Whether none of them is running, now or soon."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(map(is_running, pids)):
            return True
        time.sleep(0.01)
    return False


def children_of(pid: int) -> list[int]:
    """Its children."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

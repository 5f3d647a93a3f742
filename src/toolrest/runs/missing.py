"""What to name instead of a folder that is no run's."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from toolrest.runs.folder import RUNS

_SHOWN = 4


def no_run(path: Path) -> str:
    """Why a path is no run's folder, and which one to name, as a message goes on after it."""
    for above in list(path.parents)[:3]:
        if path.is_dir() and above != Path() and (above / "recipe.yaml").is_file():
            kind = "a checkpoint" if path.name.startswith("checkpoint-") else "a folder of a run"
            return f"{kind}; name its run, {above}"
    why = "it has no recipe.yaml" if path.is_dir() else "there is no such folder"
    where = path.parent if path.parent.is_dir() and path.parent != Path() else RUNS
    names = sorted(each.parent.name for each in where.glob("*/recipe.yaml"))
    if not names:
        return f"no run is there ({why})"
    near = get_close_matches(path.name, names, n=1)
    hint = f"did you mean {where / near[0]}? " if near else ""
    more = ", .." if len(names) > _SHOWN else ""
    return f"no run is there ({why}); {hint}{where} has: {', '.join(names[:_SHOWN])}{more}"

"""Where metrics go besides the run's own files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from toolrest.runs.folder import RunFolder

PROJECT = "toolrest"
"""What runs are listed under at W&B and in Trackio."""


@contextmanager
def reporting(run: RunFolder) -> Iterator[None]:
    """Within it TensorBoard's files lie in the run's folder, and W&B's project is ours; what the
    user's environment says of them stays. W&B's files hold links, which no run's folder may.
    """
    ours = {
        "TENSORBOARD_LOGGING_DIR": str(run.path / "tensorboard"),
        "WANDB_PROJECT": PROJECT,
    }
    added = [name for name in ours if name not in os.environ]
    os.environ.update({name: ours[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)

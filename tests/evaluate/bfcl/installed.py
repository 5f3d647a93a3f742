"""Where the two versions of bfcl-eval are."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

V3 = Path(sys.prefix) / "bfcl-v3"
"""Where scripts/add_tools.sh puts v3, beside v4 in the environment itself."""

V3_JUNE = Path(sys.prefix) / "bfcl-v3-june"
"""The same release of June 2025."""


def folder_of(release):
    """Where a release is installed, as `OfficialBFCL` takes it."""
    if release == "v3":
        if not V3.is_dir():
            pytest.skip(f"bfcl-eval 2025.8.5 is not in {V3} (scripts/add_tools.sh puts it there)")
        return V3
    if find_spec("bfcl_eval") is None:
        pytest.skip("bfcl-eval 2026.3.23 is not installed")
    return None

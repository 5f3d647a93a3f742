"""bfcl-eval in both versions; a version that is not there is skipped, with the reason."""

import pytest
from installed import folder_of

from toolrest.core.dialects import get_dialect
from toolrest.evaluate.bfcl.episodes import Speech
from toolrest.evaluate.bfcl.official import OfficialBFCL


@pytest.fixture(scope="session", params=["v3", "v4"])
def official(request):
    with OfficialBFCL(folder=folder_of(request.param)) as found:
        assert found.release == request.param
        yield found


@pytest.fixture(scope="session")
def speech():
    return Speech("template", get_dialect("hermes"))

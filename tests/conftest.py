import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("toolrest", deadline=None)
settings.load_profile("toolrest")


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory):
    """Nothing that tests keep stays in the user's cache folder; processes that they start too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the real RLLA files."""
    if not os.environ.get("TOOLREST_DATA"):
        pytest.skip("TOOLREST_DATA does not name the folder with the RLLA files")
    folder = Path(os.environ["TOOLREST_DATA"])
    assert (folder / "rlla_test.parquet").is_file(), f"no rlla_test.parquet in {folder}"
    return folder


@pytest.fixture(scope="session")
def embedded_tokenizer():
    from toolrest.policy.tokenizer import load_tokenizer
    from toolrest.recipe import Recipe

    return load_tokenizer(Recipe())


@pytest.fixture
def embedded_model():
    from toolrest.policy.weights import load_policy
    from toolrest.recipe import Recipe

    return load_policy(Recipe())

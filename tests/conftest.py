import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from toolrest.dialects import Dialect, get_dialect
from toolrest.regions import Region, label_tokens
from toolrest.vocabulary import Vocabulary

settings.register_profile("toolrest", deadline=None)
settings.load_profile("toolrest")

LETTERS = {
    "F": Region.FORMAT,
    "N": Region.NAME,
    "P": Region.PARAMETERS,
    "T": Region.REASONING,
    "R": Region.RESPONSE,
    ".": Region.OTHER,
}


def label_pieces(pieces: list[str | bytes], **options) -> str:
    """Label a response given as its tokens; one letter a token (see LETTERS)."""
    table = [p.encode() if isinstance(p, str) else p for p in pieces]
    ids = torch.arange(len(table)).unsqueeze(0)
    labels = label_tokens(
        ids,
        torch.ones_like(ids, dtype=torch.bool),
        Vocabulary.from_table(table),
        get_dialect("rlla"),
        **options,
    )
    to_letter = {region: letter for letter, region in LETTERS.items()}
    return "".join(to_letter[Region(label)] for label in labels[0].tolist())


@pytest.fixture
def rlla() -> Dialect:
    return get_dialect("rlla")


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
    from toolrest.policy import load_tokenizer
    from toolrest.recipe import Recipe

    return load_tokenizer(Recipe())


@pytest.fixture
def embedded_model():
    from toolrest.policy import load_policy
    from toolrest.recipe import Recipe

    return load_policy(Recipe())

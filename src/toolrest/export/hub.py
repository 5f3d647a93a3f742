"""Puts an exported folder on the hub, with the user's own token."""

from __future__ import annotations

from pathlib import Path

from toolrest.errors import InputError
from toolrest.io.redaction import first_line


def check_hub(repository: str) -> None:
    """Check, before anything is written, that the hub knows the user.

    Raises:
        InputError: the name is none of the hub's, or there is no valid token.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except ValueError as error:
        raise InputError(
            f"--push {repository}: no name of the hub ({first_line(error)})"
        ) from error
    try:
        HfApi().whoami()
    except Exception as error:  # the hub's and its transport's errors have no common class
        raise InputError(
            f"--push {repository}: the hub does not know you ({first_line(error)}); log in by "
            "`hf auth login`, or set HF_TOKEN"
        ) from error


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder as a model, in one commit; returns its address.

    Args:
        private: whether a repository that is made for it is private.

    Raises:
        InputError: the hub refuses; the folder is still there.
    """
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        hub.create_repo(repository, private=private, exist_ok=True, repo_type="model")
        made = hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Export of toolrest"
        )
    except Exception as error:  # the hub's and its transport's errors have no common class
        raise InputError(
            f"--push {repository}: not uploaded ({first_line(error)}); {folder} is whole, and "
            f"`hf upload {repository} {folder}` tries again"
        ) from error
    return str(getattr(made, "commit_url", made))

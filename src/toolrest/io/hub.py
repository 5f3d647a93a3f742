"""Whether the hub can be reached, asked once and briefly: libraries retry for most of a minute."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from toolrest.errors import InputError
from toolrest.io.foreign import user_path
from toolrest.io.redaction import first_line

_SECONDS = 5
_OF_FILES = (".json", ".jsonl", ".csv", ".parquet", ".gz", ".yaml", ".yml")
"""How names of files end."""


def why_unreachable() -> str | None:
    """Why no connection to the hub can be made; None where one can, or a proxy stands between."""
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    place = urlsplit(ENDPOINT)
    if place.scheme in getproxies() or place.hostname is None:
        return None
    port = place.port or (80 if place.scheme == "http" else 443)
    try:
        socket.create_connection((place.hostname, port), _SECONDS).close()
    except OSError as error:
        return f"{place.hostname} cannot be reached: {error.strerror or error}"
    return None


def is_cached(policy: str) -> bool:
    """Whether the hub's cache on this machine has the policy's config."""
    from huggingface_hub import try_to_load_from_cache

    try:
        return isinstance(try_to_load_from_cache(policy, "config.json"), str)
    except ValueError:  # no name that the hub could have
        return False


def why_absent(policy: str) -> tuple[str, str] | None:
    """Why a policy of the hub cannot be had here, and what mends it; None where it can, or may."""
    if is_cached(policy):
        return None
    why = why_unreachable()
    if why is None:
        return None
    return (
        f"{policy} is neither a folder nor in the hub's cache, and {why}",
        f"hf download {policy} where there is a network; then copy the cache (HF_HOME), or the "
        "folder and give policy=FOLDER",
    )


def unasked(policy: str) -> str | None:
    """Ask the hub for a policy; None: it has it, or it is in the cache here.

    Returns:
        Why it could not be asked.

    Raises:
        InputError: it has none of that name, or shows it to others only.
    """
    if is_cached(policy):
        return None
    why = why_unreachable()
    if why is not None:
        return why
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().model_info(policy, timeout=_SECONDS)
    except RepositoryNotFoundError as error:
        raise InputError(
            f"policy={policy}: neither a folder here nor a model that the hub shows you; mend the "
            "name, or log in with `hf auth login` if it is private or gated"
        ) from error
    except Exception as error:  # the hub's and its transport's errors have no common class
        return f"the hub gave no answer ({first_line(error)})"
    return None


def is_hub_name(path: str) -> bool:
    """Whether a path names no file and may name something on the hub."""
    if path.count("/") != 1 or path[0] in "./~" or path.lower().endswith(_OF_FILES):
        return False
    try:
        return not user_path(path, path).exists()
    except InputError:
        return False


def calm_hub() -> None:
    """Keep the hub's client from reporting every retry."""
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()

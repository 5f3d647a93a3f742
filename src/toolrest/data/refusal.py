"""A prompt that a policy's chat template does not write."""

from toolrest.errors import InputError


class TemplateRefusal(InputError):
    """The chat template refuses a prompt, and says why.

    Whoever reads many rows counts it and goes on; for a single one it is wrong input.
    """

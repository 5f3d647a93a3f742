"""A run as an engine is given it, without the data and the checks of a whole command."""

from toolrest.engines.common.data import Samples
from toolrest.engines.common.job import Job
from toolrest.runs.folder import RunFolder


class Quiet:
    """A view that keeps the steps and the warnings that it is told."""

    def __init__(self):
        self.steps, self.warnings = [], []

    def stage(self, text, total=None):
        pass

    def advance(self, done):
        pass

    def step(self, step, metrics):
        self.steps.append((step, metrics))

    def note(self, text):
        pass

    def warn(self, text):
        self.warnings.append(text)


def make_job(recipe, folder, tokenizer, samples, **more):
    """A job of these training rows in a folder."""
    more.setdefault("view", Quiet())
    return Job(
        recipe=recipe,
        run=RunFolder(folder),
        tokenizer=tokenizer,
        samples=Samples(list(samples), [], []),
        **more,
    )

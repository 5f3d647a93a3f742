"""An environment that ends each episode after one turn, whatever the policy writes."""

from toolrest.environments.base import Ending, Finish, Start, Step

ANSWERED, CUT, BROKEN = 1.0, -0.5, -0.25


def worth(calls):
    """What some calls earn, from their names alone."""
    return sum(0.1 * len(call.name) for call in calls)


class OneTurn:
    reusable = True

    def reset(self, row, seed):
        return Start(tuple(row["prompt"]))

    def call(self, calls):
        return Step(tuple((each.name, "done") for each in calls), worth(calls), done=True)

    def finish(self, reply, ending):
        ends = {Ending.ANSWERED: ANSWERED, Ending.BROKEN: BROKEN, Ending.DONE: 0.0}
        return Finish(ends.get(ending, CUT))

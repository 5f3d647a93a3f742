"""A class as TRL's example scripts have them, whose rewards read `environments`."""


class Scored:
    def reset(self, **row) -> str:
        self.reward, self.score = 5.0, 0.0
        return "Move."

    def move(self, direction: str) -> str:
        """
        Play one move.

        Args:
            direction: Where to.

        Returns:
            What came of it.
        """
        self.score += 1.0
        return f"moved {direction}"


class Own(Scored):
    def get_reward(self) -> float:
        return 0.25


def score(environments, **kwargs):
    return [env.score + kwargs["bonus"][at] for at, env in enumerate(environments)]


def nothing(environments, **kwargs) -> list[float | None]:
    return [None for _ in environments]


async def later(environments, bonus):
    return [env.score * factor for env, factor in zip(environments, bonus, strict=True)]


def raises(environments):
    raise KeyError("score")


def too_many(environments, **kwargs):
    return [1.0, 2.0]


def no_number(environments, **kwargs):
    return [float("nan")]


def with_texts(completions, environments, **kwargs):
    return [0.0 for _ in completions]


def of_texts(completions, **kwargs):
    return [0.0 for _ in completions]


def main():
    class Inside:
        def reset(self, **row) -> str:
            return "Move."

    return Inside

"""Run episodes through a backend; no prompt is sent twice."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

from toolrest.errors import InputError
from toolrest.evaluate.episode import Answer, Backend, Episode, Outcome, Request

_IN_A_ROW = 16
"""After so many unreadable answers one after the other, the endpoint is at fault."""


class Answers(Protocol):
    """Keeps the answers of an evaluation; see `AnswerStore`, or `AnswersInMemory`."""

    def get(self, key: str) -> Answer | None:
        """The answer of a key; None: there is none."""
        ...

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer."""
        ...

    def has_readable(self) -> bool:
        """Whether one of them could be read."""
        ...


class AnswersInMemory:
    """Answers that are not kept beyond their process."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}

    def get(self, key: str) -> Answer | None:
        return self._answers.get(key)

    def add(self, key: str, answer: Answer) -> None:
        self._answers[key] = answer

    def has_readable(self) -> bool:
        return any(answer.stop != "unreadable" for answer in self._answers.values())


def run_episodes(
    episodes: Sequence[Episode],
    backend: Backend,
    store: Answers,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
    on_answer: Callable[[Answer], object] = lambda answer: None,
) -> list[Outcome]:
    """Ask each prompt of each episode and return the outcomes, in the episodes' order.

    Unreadable answers are kept back until a readable one shows that the endpoint works; then they
    count.

    Args:
        on_outcome: called when an episode is done.
        on_answer: called when a new answer has come in.

    Raises:
        InputError: no answer is readable, or `_IN_A_ROW` of them one after the other are not.
    """
    unread: list[tuple[_RunningEpisode, str, Answer]] = []

    def count(running: _RunningEpisode, key: str, answer: Answer) -> None:
        store.add(key, answer)
        on_answer(answer)
        running.receive(answer)
        waiting.appendleft(running)

    found: dict[str, Outcome] = {}
    waiting = deque(_RunningEpisode(episode) for episode in episodes)
    while waiting or unread:
        if not waiting:
            if not store.has_readable():
                raise InputError(_no_answers(unread))
            while unread:
                count(*unread.pop(0))
        asked: dict[str, tuple[_RunningEpisode, Request]] = {}
        while waiting and len(asked) < backend.window:
            running = waiting.popleft()
            request = running.next_request(store, backend)
            if request is None:
                outcome = running.episode.outcome()
                found[running.episode.identity] = outcome
                on_outcome(outcome)
            else:
                asked[request.key] = running, request
        if not asked:
            continue
        answers = backend.answer([request for _, request in asked.values()])
        try:
            for key, answer in answers:
                if key not in asked:  # given out again: a signal came as it was taken
                    continue
                running, _ = asked.pop(key)
                if answer.stop == "unreadable":
                    unread.append((running, key, answer))
                    if len(unread) >= _IN_A_ROW:
                        raise InputError(_no_answers(unread))
                    continue
                count(running, key, answer)
                while unread:
                    count(*unread.pop(0))
        except (KeyboardInterrupt, InputError):
            _keep_the_rest(answers, store)
            raise
    return [found[episode.identity] for episode in episodes]


def _no_answers(unread: list[tuple[_RunningEpisode, str, Answer]]) -> str:
    count, (_, _, last) = len(unread), unread[-1]
    which = "the answer" if count == 1 else f"{count} answers in a row"
    return (
        f"{which} of the endpoint cannot be read, the last as {last.why}; see that it speaks the "
        "interface that --api names. Answers so far are kept, and the same command goes on"
    )


def _keep_the_rest(answers: Generator[tuple[str, Answer]], store: Answers) -> None:
    """After Ctrl-C, or where the endpoint is at fault, store the answers that are under way."""
    try:
        pair = answers.throw(KeyboardInterrupt())
        while True:
            key, answer = pair
            if answer.stop != "unreadable" and store.get(key) is None:
                store.add(key, answer)
            pair = next(answers)
    except (StopIteration, KeyboardInterrupt):
        return


def _hash(sent: Any) -> str:
    text = json.dumps(sent, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _RunningEpisode:
    """An episode and the number of answers that it has had."""

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self._step = 0

    def next_request(self, store: Answers, backend: Backend) -> Request | None:
        """The next request without an answer in the store; None when the episode is done."""
        while (prompt := self.episode.request()) is not None:
            sent = backend.sent(prompt)
            key = f"{self.episode.identity}/{self._step}/{_hash(sent)}"
            known = store.get(key)
            if known is None:
                return Request(key, prompt, sent)
            self.receive(known)
        return None

    def receive(self, answer: Answer) -> None:
        self.episode.receive(answer)
        self._step += 1

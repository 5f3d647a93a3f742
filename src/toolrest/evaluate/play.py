"""Plays episodes through a backend, nothing asked twice."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from toolrest.evaluate.answers import AnswerStore
from toolrest.evaluate.episode import Answer, Backend, Episode, Outcome, Request


def play(
    episodes: Sequence[Episode],
    backend: Backend,
    store: AnswerStore,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
    on_answer: Callable[[Answer], object] = lambda answer: None,
) -> list[Outcome]:
    """The outcome of every episode, in order.

    Args:
        on_outcome: called when an episode is done.
        on_answer: called when a new answer has come in.
    """
    found: dict[str, Outcome] = {}
    waiting = deque(_Seat(episode) for episode in episodes)
    while waiting:
        asked: dict[str, tuple[_Seat, Request]] = {}
        while waiting and len(asked) < backend.window:
            seat = waiting.popleft()
            request = seat.next_request(store, backend)
            if request is None:
                outcome = seat.episode.outcome()
                found[seat.episode.identity] = outcome
                on_outcome(outcome)
            else:
                asked[request.key] = seat, request
        if not asked:
            continue
        answers = backend.answer([request for _, request in asked.values()])
        try:
            for key, answer in answers:
                store.add(key, answer)
                on_answer(answer)
                seat, _ = asked.pop(key)
                seat.receive(answer)
                waiting.appendleft(seat)
        except KeyboardInterrupt:
            _keep_the_rest(answers, store)
            raise
    return [found[episode.identity] for episode in episodes]


def _keep_the_rest(answers: Generator[tuple[str, Answer]], store: AnswerStore) -> None:
    """Keep what the backend still has under way when it is told to stop."""
    try:
        pair = answers.throw(KeyboardInterrupt())
        while True:
            store.add(*pair)
            pair = next(answers)
    except (StopIteration, KeyboardInterrupt):
        return


def _hash(sent: Any) -> str:
    text = json.dumps(sent, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Seat:
    """An episode, and how far it is."""

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self._step = 0

    def next_request(self, store: AnswerStore, backend: Backend) -> Request | None:
        """The next request whose answer is not in the store; None where the episode is done."""
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

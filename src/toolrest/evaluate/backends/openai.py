"""Gets answers of a model behind an OpenAI-compatible endpoint, many at once."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.evaluate.backends.connection import Stopped, Unreachable, Unreadable
from toolrest.evaluate.backends.endpoint import Endpoint
from toolrest.evaluate.backends.findings import Findings
from toolrest.evaluate.backends.hf import PromptCodec
from toolrest.evaluate.backends.openai_reply import chat_answer, completion_answer
from toolrest.evaluate.backends.reply import Reply
from toolrest.evaluate.episode import Answer, Request
from toolrest.io.redaction import redacted

_TRIES = 8
"""Times a request is tried again after a dropped connection, a 429 or a busy server's 5xx, waiting
longer each time or as long as the server says."""
_GRACE = 5.0
"""Seconds that requests under way still have after a signal to stop."""
_TOO_LARGE = 413
_HARMLESS = Prompt([{"role": "user", "content": "Hi"}])
"""What a server that works has an answer to."""
_TOO_LONG = ("context length", "context_length", "maximum context", "too long", "max_model_len")


@dataclass(frozen=True)
class Served:
    """A model behind an endpoint."""

    model: str
    """Its name there."""
    base_url: str
    """Of the endpoint, such as http://localhost:8000/v1."""
    api_key: str | None = field(default=None, repr=False)
    """The endpoint's key; None: it needs none, as local servers."""
    template_options: Mapping[str, Any] = field(default_factory=dict)
    """What the server's chat template is told, as vLLM and SGLang take it."""


class OpenAIBackend:
    """Answers at temperature 0 through the chat or the completions interface.

    Args:
        served: the model that answers.
        max_tokens: an answer that has not ended by then is cut.
        at_once: requests in flight.
        codec: writes the prompt for the completions interface; None: the chat interface, whose
            server writes it.
        findings: takes what the server does otherwise than it is asked.

    Raises:
        InputError: the address or the key is none.
    """

    def __init__(
        self,
        served: Served,
        max_tokens: int,
        at_once: int = 16,
        codec: PromptCodec | None = None,
        findings: Findings | None = None,
    ) -> None:
        self._findings = findings or Findings()
        self._endpoint = Endpoint(served.base_url, served.api_key, _TRIES, self._findings.note)
        self._model = served.model
        self._base_url = redacted(served.base_url)
        self._looked = False
        self._max_tokens = max_tokens
        self._at_once = at_once
        self._codec = codec
        self._template_options = dict(served.template_options)

    @property
    def window(self) -> int:
        return self._at_once * 4

    def sent(self, prompt: Prompt) -> Any:
        if self._codec is not None:
            return self._codec.ids(prompt)
        return [_sent(prompt.messages), prompt.tools, self._template_options]

    def show(self, prompt: Prompt) -> str:
        if self._codec is not None:
            return self._codec.show(prompt)
        sent = {"messages": prompt.messages} | ({"tools": prompt.tools} if prompt.tools else {})
        return json.dumps(sent, indent=2, ensure_ascii=False)

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[str, Answer]]:
        """See `Backend.answer`. When one fails, what is under way is still taken; on Ctrl-C for a
        few seconds more, and a second Ctrl-C leaves it. An answer that was given out at the moment
        of a Ctrl-C is given out again.

        Raises:
            InputError: the endpoint refuses, or is gone after all tries.
        """
        self._look_for_tools(requests)
        failure: BaseException | None = None
        until: float | None = None
        pool = ThreadPoolExecutor(self._at_once)
        jobs = {pool.submit(self._one, request.prompt): request.key for request in requests}
        left, done = set(jobs), set[Future[Answer]]()
        whole = False
        try:
            while left or done:
                try:
                    if not done:
                        patience = None if until is None else max(0.0, until - time.monotonic())
                        done, left = wait(left, patience, return_when=FIRST_COMPLETED)
                    if not done and until is not None:
                        break
                    while done:
                        job = next(iter(done))
                        error = None if job.cancelled() else job.exception()
                        if error is not None:
                            failure = failure or error
                        elif not job.cancelled():
                            yield jobs[job], job.result()
                        done.discard(job)
                except KeyboardInterrupt as stopped:
                    if isinstance(failure, KeyboardInterrupt):
                        raise
                    failure = stopped
                    until = time.monotonic() + _GRACE
                if failure is not None:
                    left = {job for job in left if not job.cancel()}
            whole = failure is None
        finally:
            if not whole:
                self._endpoint.stop()
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            raise failure

    def _look_for_tools(self, requests: Sequence[Request]) -> None:
        """Once, before anything is spent: whether the server's template shows tools to the policy,
        by the tokens of a prompt with them and without.
        """
        prompt = next((each.prompt for each in requests if each.prompt.tools), None)
        if self._looked or self._codec is not None or prompt is None:
            return
        self._looked = True
        with_tools = self._prompt_tokens(prompt)
        without = None if with_tools is None else self._prompt_tokens(replace(prompt, tools=None))
        if with_tools is not None and without is not None:
            self._findings.count_tools(with_tools, without)

    def _prompt_tokens(self, prompt: Prompt) -> int | None:
        """The number of a prompt's tokens by the server's count; None if it does not report it."""
        try:
            reply = self._post("/chat/completions", self._chat(prompt) | {"max_tokens": 1})
            return chat_answer(reply.value).prompt_tokens if reply.status == 200 else None
        except Unreachable as error:
            raise self._failed("it cannot be reached", str(error)) from error
        except Unreadable:  # the request that counts will say why
            return None

    def _post(self, path: str, request: dict[str, Any]) -> Reply:
        """Send a request without the fields that the server refuses; return the reply."""
        while True:
            sent = self._findings.fitted(request)
            reply = self._endpoint.post(path, sent)
            if _too_long(reply) or not self._findings.learn(sent, reply.status, reply.message()):
                return reply

    def _one(self, prompt: Prompt) -> Answer:
        """The answer to a prompt; whatever the server does to it ends here."""
        try:
            return self._asked(prompt)
        except Stopped:
            raise KeyboardInterrupt from None
        except Unreachable as error:
            raise self._failed("it cannot be reached", str(error)) from error
        except Unreadable as error:
            return Answer("", "unreadable", why=self._endpoint.hidden(str(error)))

    def _asked(self, prompt: Prompt) -> Answer:
        if self._codec is None:
            reply = self._post("/chat/completions", self._chat(prompt))
            return self._refusal(reply) or chat_answer(reply.value)
        ids = self._codec.ids(prompt)
        speech = self._codec.speech
        reply = self._post("/completions", self._completion(ids))
        refusal = self._refusal(reply)
        if refusal is not None:
            return refusal
        ends = self._codec.tokenizer.convert_ids_to_tokens(list(speech.stop_ids))
        return completion_answer(reply.value, ends, speech.opening(ids))

    def _refusal(self, reply: Reply) -> Answer | None:
        """That the prompt was too long, or that the server fails at it each time; None where there
        is an answer.

        Raises:
            InputError: any other refusal.
        """
        if reply.status == 200:
            return None
        if _too_long(reply):
            return Answer("", "too_long")
        said = reply.said(self._endpoint.hidden)
        if reply.each_time and self._still_answers():
            return Answer("", "unreadable", why=f"an error {reply.status} each time: {said}")
        if reply.status in (400, 422):
            if self._template_options and "chat_template_kwargs" in reply.message():
                raise self._failed(
                    "--template-option is sent as chat_template_kwargs, which is refused; leave it "
                    "out",
                    said,
                )
            raise self._failed("the request is refused", said)
        if reply.status in (401, 403):
            raise self._failed("the key (OPENAI_API_KEY) is not taken", said)
        raise self._failed(f"it answers {reply.status}", said)

    def _still_answers(self) -> bool:
        """Whether the server gives a token for something else, so that it is the item that it
        fails at.
        """
        if self._codec is None:
            path, request = "/chat/completions", self._chat(_HARMLESS)
        else:
            path, request = "/completions", self._completion(self._codec.ids(_HARMLESS))
        return self._post(path, request | {"max_tokens": 1}).status == 200

    def _failed(self, what: str, why: str) -> InputError:
        return InputError(f"--base-url {self._base_url}: {what} ({self._endpoint.hidden(why)})")

    def _chat(self, prompt: Prompt) -> dict[str, Any]:
        extra: dict[str, Any] = {} if prompt.tools is None else {"tools": prompt.tools}
        if self._template_options:
            extra["chat_template_kwargs"] = self._template_options
        return self._common() | {"messages": _sent(prompt.messages)} | extra

    def _completion(self, ids: list[int]) -> dict[str, Any]:
        assert self._codec is not None
        ends = [*self._codec.speech.stop_ids]
        own = {"prompt": ids, "skip_special_tokens": False, "stop_token_ids": ends}
        return self._common() | own

    def _common(self) -> dict[str, Any]:
        return {"model": self._model, "temperature": 0.0, "max_tokens": self._max_tokens}


def _too_long(reply: Reply) -> bool:
    if reply.status == _TOO_LARGE:
        return True
    return reply.status in (400, 422) and any(w in reply.message().lower() for w in _TOO_LONG)


def _sent(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in the interface's form, with the calls' arguments as JSON texts."""
    sent = []
    for message in messages:
        made = {k: v for k, v in message.items() if k not in ("reasoning_content", "tool_calls")}
        if "tool_calls" in message:
            made["tool_calls"] = [
                call
                | {
                    "function": call["function"]
                    | {"arguments": json.dumps(call["function"]["arguments"])}
                }
                for call in message["tool_calls"]
            ]
        sent.append(made)
    return sent

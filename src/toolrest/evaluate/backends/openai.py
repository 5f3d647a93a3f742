"""Answers of a model behind an OpenAI-compatible endpoint, many at once."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib.util import find_spec
from typing import Any, Literal

from toolrest.data.wording import Prompt
from toolrest.errors import InputError
from toolrest.evaluate.backends.hf import Rendering
from toolrest.evaluate.episode import Answer, Request
from toolrest.redaction import first_line

_TRIES = 8
"""Times a request is tried again after a dropped connection, a 429 or a 5xx, waiting longer each
time or as long as the server says."""
_SECONDS = 600.0
_TOO_LARGE = 413
_TOO_LONG = ("context length", "context_length", "maximum context", "too long", "max_model_len")


class OpenAIBackend:
    """Answers at temperature 0 through the chat or the completions interface.

    Args:
        model: its name at the endpoint.
        base_url: of the endpoint, such as http://localhost:8000/v1.
        max_tokens: an answer that has not ended by then is cut.
        at_once: requests in flight.
        api_key: the endpoint's key; None: it needs none, as local servers.
        rendering: writes the prompt for the completions interface; None: the chat interface, whose
            server writes it.
        template_options: what the server's chat template is told, as vLLM and SGLang take it.

    Raises:
        InputError: the openai package is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str,
        max_tokens: int,
        at_once: int = 16,
        rendering: Rendering | None = None,
        api_key: str | None = None,
        template_options: Mapping[str, Any] | None = None,
    ) -> None:
        if find_spec("openai") is None:
            raise InputError(
                "--backend openai needs the openai package: pip install 'toolrest[openai]'"
            )
        import openai

        self._errors = openai
        try:
            self._client = openai.OpenAI(
                base_url=base_url,
                api_key=api_key or "none",
                max_retries=_TRIES,
                timeout=_SECONDS,
            )
        except Exception as error:  # the client's and its transport's errors have no common class
            raise InputError(f"--base-url {base_url}: not an address ({error})") from error
        self._model = model
        self._base_url = base_url
        self._max_tokens = max_tokens
        self._at_once = at_once
        self._rendering = rendering
        self._template_options = dict(template_options or {})

    @property
    def window(self) -> int:
        """See `Backend.window`."""
        return self._at_once * 4

    def sent(self, prompt: Prompt) -> Any:
        """See `Backend.sent`."""
        if self._rendering is not None:
            return self._rendering.ids(prompt)
        return [_sent(prompt.messages), prompt.tools, self._template_options]

    def show(self, prompt: Prompt) -> str:
        """See `Backend.show`."""
        if self._rendering is not None:
            return self._rendering.show(prompt)
        sent = {"messages": prompt.messages} | ({"tools": prompt.tools} if prompt.tools else {})
        return json.dumps(sent, indent=2, ensure_ascii=False)

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[str, Answer]]:
        """See `Backend.answer`. When one fails, or on Ctrl-C, what is under way is still taken; a
        second Ctrl-C leaves it.

        Raises:
            InputError: the endpoint refuses, or is gone after all tries.
        """
        failure: BaseException | None = None
        pool = ThreadPoolExecutor(self._at_once)
        jobs = {pool.submit(self._one, request.prompt): request.key for request in requests}
        left, done = set(jobs), set[Future[Answer]]()
        try:
            while left or done:
                try:
                    if not done:
                        done, left = wait(left, return_when=FIRST_COMPLETED)
                    while done:
                        job = done.pop()
                        if job.cancelled():
                            continue
                        error = job.exception()
                        if error is None:
                            yield jobs[job], job.result()
                        else:
                            failure = failure or error
                except KeyboardInterrupt as stopped:
                    if isinstance(failure, KeyboardInterrupt):
                        raise
                    failure = stopped
                if failure is not None:
                    left = {job for job in left if not job.cancel()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failure is not None:
            raise failure

    def _one(self, prompt: Prompt) -> Answer:
        openai = self._errors
        try:
            if self._rendering is None:
                return self._chat(prompt)
            return self._complete(self._rendering.ids(prompt))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if any(words in str(error).lower() for words in _TOO_LONG):
                return Answer("", "too_long")
            raise self._failed(error, "the request is refused") from error
        except openai.AuthenticationError as error:
            raise self._failed(error, "the key (OPENAI_API_KEY) is not taken") from error
        except openai.APIConnectionError as error:
            raise self._failed(error, "it cannot be reached") from error
        except openai.APIStatusError as error:
            if error.status_code == _TOO_LARGE:
                return Answer("", "too_long")
            raise self._failed(error, f"it answers {error.status_code}") from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise self._failed(error, "its answer is not one of that interface") from error

    def _failed(self, error: Exception, what: str) -> InputError:
        return InputError(f"--base-url {self._base_url}: {what} ({first_line(error)})")

    def _chat(self, prompt: Prompt) -> Answer:
        extra: dict[str, Any] = {} if prompt.tools is None else {"tools": prompt.tools}
        if self._template_options:
            extra["extra_body"] = {"chat_template_kwargs": self._template_options}
        reply: Any = self._client.chat.completions.create(
            model=self._model,
            messages=_sent(prompt.messages),
            temperature=0.0,
            max_tokens=self._max_tokens,
            **extra,
        )
        choice = reply.choices[0]
        calls = choice.message.tool_calls
        return Answer(
            choice.message.content or "",
            _stop(choice.finish_reason),
            *_usage(reply),
            calls=[_call(call) for call in calls] if calls else None,
        )

    def _complete(self, ids: list[int]) -> Answer:
        assert self._rendering is not None
        speech = self._rendering.speech
        reply: Any = self._client.completions.create(
            model=self._model,
            prompt=ids,
            temperature=0.0,
            max_tokens=self._max_tokens,
            extra_body={"skip_special_tokens": False, "stop_token_ids": [*speech.stop_ids]},
        )
        choice = reply.choices[0]
        text = choice.text
        for end in self._rendering.tokenizer.convert_ids_to_tokens(list(speech.stop_ids)):
            text = text.removesuffix(end)
        return Answer(
            text, _stop(choice.finish_reason), *_usage(reply), opening=speech.opening(ids)
        )


def _sent(messages: list[dict[str, Any]]) -> Any:
    """Messages as the interface has them: arguments of calls are JSON texts there."""
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


def _call(call: Any) -> dict[str, Any]:
    """A call that the server has read; its arguments stay a text where they are no JSON."""
    try:
        arguments = json.loads(call.function.arguments)
    except (ValueError, RecursionError):
        arguments = call.function.arguments
    return {"name": call.function.name, "arguments": arguments}


def _stop(reason: str | None) -> Literal["end", "length"]:
    return "length" if reason == "length" else "end"


def _usage(reply: Any) -> tuple[int | None, int | None]:
    usage = reply.usage
    return (None, None) if usage is None else (usage.prompt_tokens, usage.completion_tokens)

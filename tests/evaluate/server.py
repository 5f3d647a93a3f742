"""A scripted OpenAI-compatible server that drops, refuses and fails now and then."""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Script:
    """What the server has seen, and when it misbehaves.

    Args:
        drops_tools: its template does.
        counts: it says how many tokens there were.
        unknown: fields that it refuses; `refusal`: (status, body) of that, with the field for %s.
        broken: a word in a prompt at which it fails each time.
    """

    def __init__(
        self,
        flaky=False,
        pause=0.0,
        drops_tools=False,
        counts=True,
        unknown=(),
        refusal=(422, {"detail": "Unexpected fields: %s"}),
        broken=None,
    ):
        self.flaky = flaky
        self.drops_tools = drops_tools
        self.counts = counts
        self.unknown, self.refusal = unknown, refusal
        self.broken = broken
        self.pause = threading.Event()
        self.seconds = pause
        self.lock = threading.Lock()
        self.asked = Counter()
        self.answered = Counter()
        self.at_once = self.most_at_once = 0
        self.keys = set()
        self.bodies = []

    def trouble(self, body):
        """None, or how the request fails: each kind for some of the first tries."""
        with self.lock:
            self.asked[body] += 1
            number = sum(self.asked.values())
            first = self.asked[body] == 1
        if not self.flaky or not first:
            return None
        return (None, "drop", 429, 500, None)[number % 5]


def reply(body):
    """A text for completions; for chat the first tool once, then words."""
    if "messages" not in body:
        return {"text": "I am done.", "finish_reason": "stop"}
    last = body["messages"][-1]
    if last["role"] == "user" and body.get("tools"):
        name = body["tools"][0]["function"]["name"]
        call = json.dumps({"name": name, "arguments": {}})
        text = f"<tool_call>\n{call}\n</tool_call>"
    else:
        text = "Done."
    message = {"role": "assistant", "content": text}
    return {"index": 0, "message": message, "finish_reason": "stop"}


@contextmanager
def serving(script):
    """The server's base URL while it runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(raw)
            with script.lock:
                script.at_once += 1
                script.most_at_once = max(script.most_at_once, script.at_once)
                script.keys.add(self.headers["Authorization"])
                script.bodies.append((self.path, body))
            try:
                self._answer(raw, body)
            finally:
                with script.lock:
                    script.at_once -= 1

        def _answer(self, raw, body):
            trouble = script.trouble(raw)
            script.pause.wait(script.seconds)
            if trouble == "drop":
                self.close_connection = True
                self.connection.shutdown(2)
                return
            if trouble is not None:
                self._send(trouble, {"error": {"message": "not now"}}, {"retry-after-ms": "20"})
                return
            if body.get("model") == "unknown":
                self._send(404, {"error": {"message": "no such model"}}, {})
                return
            if body.get("model") == "short":
                message = "This model's maximum context length is 10 tokens."
                self._send(400, {"error": {"message": message}}, {})
                return
            for field in script.unknown:
                if field in body:
                    status, value = script.refusal
                    self._send(status, json.loads(json.dumps(value).replace("%s", field)), {})
                    return
            if script.broken is not None and script.broken in json.dumps(body):
                self._send(500, {"error": f"cannot read the call, request {time.time_ns()}"}, {})
                return
            tools = 0 if script.drops_tools else 10 * len(body.get("tools") or ())
            made = {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [reply(body)],
            }
            if script.counts:
                made["usage"] = {"prompt_tokens": 7 + tools, "completion_tokens": 3}
            if body["max_tokens" if "max_tokens" in body else "max_completion_tokens"] > 1:
                with script.lock:  # others ask for the number of a prompt's tokens alone
                    script.answered[raw] += 1
            self._send(200, made, {})

        def _send(self, code, value, headers):
            data = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, each in headers.items():
                self.send_header(name, each)
            self.end_headers()
            self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_):
            """A client that goes away is part of the play."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()

"""A server of an OpenAI-compatible interface that misbehaves in every way that it is told."""

import gzip
import json
import socket
import socketserver
import struct
import threading
import time
import zlib
from contextlib import contextmanager, suppress

TEXT = "Done."


def reply(content=TEXT, usage=None, **message):
    """A right reply, but for what is given."""
    return {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content} | message,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3} if usage is None else usage,
    }


def call(name="look", arguments="{}", **more):
    return {
        "id": "1",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    } | more


def sent(body, status="200 OK", kind="application/json", **headers):
    """A whole response."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": kind, "Content-Length": len(data)}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + data


def fixed(*arguments, **options):
    """Always the same bytes."""
    data = sent(*arguments, **options)
    return lambda client: client.sendall(data)


def raw(data):
    return lambda client: client.sendall(data)


def endless(head, piece, pause=0.0):
    """Something, then a piece again and again."""

    def play(client):
        client.sendall(head)
        while True:
            client.sendall(piece)
            time.sleep(pause)

    return play


def reset(data):
    """Some bytes, then the connection is torn."""

    def play(client):
        client.sendall(data)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    return play


def hung_up(data):
    """Some bytes, then the end."""
    return lambda client: (client.sendall(data), client.shutdown(socket.SHUT_RDWR))


def silent(client):
    time.sleep(3600)


def bomb(pack):
    """Two gibibytes of blanks, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, pack)
    head = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    mebibyte = packer.compress(b" " * (1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + mebibyte * 2048 + packer.flush()


OK = b"HTTP/1.1 200 OK\r\n"
JSON = OK + b"Content-Type: application/json\r\n"
GOOD = json.dumps(reply()).encode()
CHUNKS = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (GOOD[:10], GOOD[10:])) + b"0\r\n\r\n"
NESTED = "[" * 50_000 + "]" * 50_000
REFUSAL = {"error": {"message": "no \x1b]52;c;aGk=\x07 \u202e way, key my-secret-key"}}

ANSWERS = {
    "as it should be": fixed(reply()),
    "parts": fixed(reply([{"type": "text", "text": "Do"}, {"type": "text", "text": "ne."}])),
    "parts and thoughts": fixed(
        reply([{"type": "thinking", "thinking": [{"text": "x"}]}, {"type": "text", "text": TEXT}])
    ),
    "parts without types": fixed(reply([{"text": TEXT}])),
    "texts as parts": fixed(reply(["Do", "ne."])),
    "reasoning beside": fixed(reply(reasoning_content="hm", reasoning="hm")),
    "usage of floats": fixed(reply(usage={"prompt_tokens": 7.0, "completion_tokens": 3.0})),
    "a wrong type": fixed(reply(), kind="text/html"),
    "no type": fixed(reply(), kind=None),
    "gzip": fixed(gzip.compress(GOOD), Content_Encoding="gzip"),
    "deflate": fixed(zlib.compress(GOOD), Content_Encoding="deflate"),
    "a byte order mark": fixed(b"\xef\xbb\xbf" + GOOD),
    "keys twice": fixed(b'{"usage": 3, "choices": [], ' + GOOD[1:]),
    "chunks": raw(JSON + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS),
    "no length": hung_up(JSON + b"Connection: close\r\n\r\n" + GOOD),
    "numbers as ids": fixed(reply() | {"id": 5, "created": "x", "model": None, "object": []}),
    "tool calls of null": fixed(reply(tool_calls=None, function_call=None, refusal=None)),
    "no tool calls": fixed(reply(tool_calls=[])),
}
"""Give the answer TEXT."""

COUNTS = {
    "usage of texts": {"prompt_tokens": "7", "completion_tokens": "3"},
    "usage below zero": {"prompt_tokens": -7, "completion_tokens": -3},
    "usage beyond all": {"prompt_tokens": 10**300, "completion_tokens": 1e300},
    "usage of truth": {"prompt_tokens": True, "completion_tokens": False},
    "usage of nothing": {},
    "usage of objects": {"prompt_tokens": {"a": 1}, "completion_tokens": [3]},
    "usage as a list": [7, 3],
    "usage as a text": "many",
}
"""Give the answer TEXT, and no number of tokens."""

ODD = {
    "content of a number": fixed(reply(5)),
    "content of truth": fixed(reply(True)),
    "content of an object": fixed(reply({"text": TEXT})),
    "parts of numbers": fixed(reply([1, 2])),
    "a part without text": fixed(reply([{"type": "text"}])),
    "a picture": fixed(reply([{"type": "image_url", "image_url": {"url": "x"}}])),
    "no choices": fixed({"usage": None}),
    "empty choices": fixed({"choices": []}),
    "choices of null": fixed({"choices": None}),
    "choices of an object": fixed({"choices": {"0": {}}}),
    "choices of texts": fixed({"choices": ["x"]}),
    "no message": fixed({"choices": [{}]}),
    "a message of text": fixed({"choices": [{"message": TEXT}]}),
    "tool calls of an object": fixed(reply(tool_calls={"function": {}})),
    "tool calls of numbers": fixed(reply(tool_calls=[1])),
    "tool calls without functions": fixed(reply(tool_calls=[{"id": "x"}])),
    "an error as an answer": fixed({"error": {"message": "no GPU is free"}}),
    "a list": fixed([reply()]),
    "a number": fixed(5),
    "null": fixed(None),
    "a page": fixed(b"<html><body>Sign in</body></html>", kind="text/html"),
    "a stream": fixed(b'data: {"choices": []}\n\ndata: [DONE]\n\n', kind="text/event-stream"),
    "no body": fixed(b""),
    "deep JSON": fixed(NESTED.encode()),
    "deep content": fixed(GOOD.replace(b'"Done."', NESTED.encode())),
    "a long number": fixed(GOOD.replace(b"7", b"7" * 9999)),
    "not UTF-8": fixed(GOOD.replace(b"Done.", b"\xff\xfe")),
    "UTF-16": fixed(GOOD.decode().encode("utf-16")),
    "half of it": fixed(GOOD[:-20]),
    "two of it": fixed(GOOD + GOOD),
    "packed by br": fixed(GOOD, Content_Encoding="br"),
    "packed twice": fixed(gzip.compress(gzip.compress(GOOD)), Content_Encoding="gzip, gzip"),
    "not packed": fixed(GOOD, Content_Encoding="gzip"),
    "a gzip bomb": fixed(bomb(31), Content_Encoding="gzip"),
    "a deflate bomb": fixed(bomb(15), Content_Encoding="deflate"),
    "an endless body": endless(JSON + b"\r\n", b" " * 65536),
    "endless chunks": endless(
        JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b" " * 65536 + b"\r\n"
    ),
}
"""Give an answer that cannot be read."""

GONE = {
    "torn at once": reset(b""),
    "torn in the head": reset(JSON),
    "torn in the body": reset(JSON + b"Content-Length: 1000\r\n\r\n" + GOOD),
    "a length too long": hung_up(JSON + b"Content-Length: 1000\r\n\r\n" + GOOD),
    "a length of terabytes": hung_up(JSON + b"Content-Length: 9999999999999\r\n\r\n" + GOOD),
    "gzip cut off": fixed(gzip.compress(GOOD)[:-20], Content_Encoding="gzip"),
    "chunks of rubbish": raw(JSON + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n" + GOOD),
    "a line of a mebibyte": raw(OK + b"A: " + b"a" * (1 << 20) + b"\r\n\r\n"),
    "ten thousand headers": raw(OK + b"A: b\r\n" * 10_000 + b"\r\n"),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n" * 10),
    "rubbish": raw(bytes(range(256)) * 20),
    "endless trailers": endless(
        JSON + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 10_000
    ),
    "endless continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "silence": silent,
    "a byte a second": endless(JSON + b"Content-Length: 100000\r\n\r\n", b" ", 0.3),
    "a header a second": endless(OK, b"A: b\r\n", 0.3),
    "a letter of a header a second": endless(OK + b"A: ", b"b", 0.3),
}
"""Give no whole answer, each time."""

REFUSES = {
    "400": (fixed(REFUSAL, "400 Bad Request"), "the request is refused"),
    "401": (fixed(REFUSAL, "401 Unauthorized"), "is not taken"),
    "403": (fixed(REFUSAL, "403 Forbidden"), "is not taken"),
    "404": (fixed(REFUSAL, "404 Not Found"), "answers 404"),
    "204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "answers 204"),
    "304": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "answers 304"),
    "a page of 404": (fixed(b"<html>" * 9999, "404 Not Found", "text/html"), "answers 404"),
    "500": (fixed(REFUSAL, "500 Oh"), "answers 500"),
    "503": (fixed(b"", "503 Busy"), "answers 503"),
    "429": (fixed(REFUSAL, "429 Slow"), "answers 429"),
    "429 for years": (fixed(REFUSAL, "429 Slow", Retry_After=94_608_000), "answers 429"),
    "429 to a date": (
        fixed(REFUSAL, "429 Slow", Retry_After="Fri, 31 Dec 9999 23:59:59 GMT"),
        "answers 429",
    ),
    "429 below zero": (fixed(REFUSAL, "429 Slow", Retry_After=-5), "answers 429"),
    "429 of no number": (fixed(REFUSAL, "429 Slow", Retry_After="nan"), "answers 429"),
    "429 of infinity": (fixed(REFUSAL, "429 Slow", Retry_After="1e999"), "answers 429"),
    "429 of words": (fixed(REFUSAL, "429 Slow", Retry_After="later \x1b[2J"), "answers 429"),
    "elsewhere": (
        fixed(b"", "307 Go", Location="http://127.0.0.2:1/v1/chat/completions"),
        "another server",
    ),
    "elsewhere by name": (fixed(b"", "308 Go", Location="//localhost/v1"), "another server"),
    "elsewhere by scheme": (fixed(b"", "307 Go", Location="file:///etc/passwd"), "another server"),
    "here by GET": (fixed(b"", "302 Go", Location="/other"), "give that address"),
    "round and round": (fixed(b"", "307 Go", Location="/v1/chat/completions"), "more than 3"),
    "to nowhere": (fixed(b"", "307 Go"), "answers 307"),
}
"""Are errors of one line with such words."""

MODES = (
    ANSWERS
    | {name: fixed(reply(usage=usage)) for name, usage in COUNTS.items()}
    | ODD
    | GONE
    | {name: mode for name, (mode, _) in REFUSES.items()}
)


class Served:
    """What came in."""

    def __init__(self, modes):
        self.modes = modes
        self.requests = []
        self.lock = threading.Lock()

    def next_mode(self, head):
        with self.lock:
            self.requests.append(head)
            return self.modes(len(self.requests) - 1)


@contextmanager
def serving(modes):
    """The base URL of a server; `modes`: how the n-th request is answered, or the one way."""
    served = Served(modes if not isinstance(modes, str) else lambda n: MODES[modes])

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with suppress(OSError):
                while self.one():
                    pass

        def one(self):
            head = b""
            while line := self.rfile.readline():
                head += line
                if line == b"\r\n":
                    break
            else:
                return False
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            )
            body = self.rfile.read(length)
            mode = served.next_mode((head, body))
            mode(self.connection)
            return True

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        allow_reuse_address = True
        request_queue_size = 128

        def handle_error(self, *_):
            """A client that goes away is part of the play."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", served
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    import sys

    with serving(sys.argv[1]) as (address, _):
        print(address, flush=True)
        silent(None)

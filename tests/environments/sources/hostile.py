"""An environment that does what its row says, where its row says."""

import asyncio
import os
import signal
import sys
import time

from toolrest.environments.base import Finish, Start, Step

TEN_MEGABYTES = "0123456789" * 1_000_000


class Hostile:
    def __init__(self):
        self.row = {}

    def reset(self, row, seed):
        self.row = row
        self.do("reset")
        return Start(({"role": "user", "content": "Go."},))

    async def call(self, calls):
        if self.row.get("how") == "async hang":
            await asyncio.sleep(1000)
        value = self.do("call")
        if self.row.get("how") == "changes its arguments":
            for each in calls:
                each.parameters.clear()
                each.parameters["x"] = object()
        return value or Step(tuple((each.name, "fine") for each in calls), reward=0.5)

    def finish(self, reply, ending):
        return self.do("finish") or Finish(reward=1.0)

    def close(self):
        if "closed" in self.row:
            with open(self.row["closed"], "a") as file:
                file.write("closed\n")
        self.do("close")

    def do(self, method):
        if self.row.get("where") == method:
            return HOWS[self.row["how"]](self.row)
        return None


def hang(row):
    time.sleep(1000)


def spin(row):
    while True:
        pass


def raises(row):
    raise ValueError("no such account\nin this bank")


def asks_to_exit(row):
    sys.exit(3)


def exits(row):
    os._exit(3)


def aborts(row):
    os.abort()


def interrupts(row):
    raise KeyboardInterrupt


def noted(row, pid):
    with open(row["pids"], "a") as file:
        file.write(f"{pid}\n")


def leaves_a_child(row):
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
    noted(row, pid)


def leaves_a_daemon(row):
    if os.fork() == 0:
        os.setsid()
        noted(row, os.getpid())
        if os.fork() == 0:
            noted(row, os.getpid())
        time.sleep(1000)
    while not os.path.exists(row["pids"]):
        time.sleep(0.01)


def comes_back_twice(row):
    os.fork()


def ignores_signals(row):
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(each, signal.SIG_IGN)
    spin(row)


def big(row):
    return Step((("look", TEN_MEGABYTES),))


def big_json(row):
    return Step((("look", ["0123456789"] * 1_000_000),))


def no_json(row):
    return Step((("look", {1, 2}),))


def nested(row):
    value = []
    for _ in range(100_000):
        value = [value]
    return Step((("look", value),))


def wrong_kind(row):
    return "all went well"


def too_many(row):
    return Step((("look", "a"), ("look", "b")))


def no_number(row):
    return Step((("look", "a"),), reward=float("nan"))


def prints(row):
    print("noise" * 100_000, flush=True)
    print('{"value": null}', file=sys.stderr, flush=True)
    os.write(1, b'{"value": null}\n')
    assert sys.stdin.read() == ""


def grows(row):
    kept = []
    while True:
        kept.append(bytearray(20_000_000))


def sleeps(row):
    time.sleep(0.05)


def nothing(row):
    return None


HOWS = {
    "hang": hang,
    "spin": spin,
    "raise": raises,
    "sys.exit": asks_to_exit,
    "os._exit": exits,
    "abort": aborts,
    "interrupt": interrupts,
    "fork": leaves_a_child,
    "daemon": leaves_a_daemon,
    "fork twice": comes_back_twice,
    "ignores signals": ignores_signals,
    "big": big,
    "big json": big_json,
    "no json": no_json,
    "nested": nested,
    "wrong kind": wrong_kind,
    "too many": too_many,
    "no number": no_number,
    "prints": prints,
    "grows": grows,
    "sleeps": sleeps,
    "async hang": nothing,
    "changes its arguments": nothing,
}

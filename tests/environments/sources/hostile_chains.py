"""The embedded chains, going wrong at their ends in ways of their own; each notes its processes."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

from toolrest.world.chains import Chains

NOTES = os.environ.get("HOSTILE_NOTES", os.devnull)


def note(pid):
    with open(NOTES, "a") as file:
        file.write(f"{pid}\n")


class Threads(Chains):
    """Leaves threads that are no daemons, and never lets an interpreter end by itself."""

    def finish(self, reply, ending):
        for _ in range(3):
            threading.Thread(target=time.sleep, args=(1000,)).start()
        return super().finish(reply, ending)

    def close(self):
        note(os.getpid())
        time.sleep(1000)


class Servers(Chains):
    """Starts a program in a session of its own in `reset`, and shuts its own standard output."""

    def reset(self, row, seed):
        program = "import time; time.sleep(1000)"
        note(subprocess.Popen([sys.executable, "-c", program], start_new_session=True).pid)
        note(os.getpid())
        os.close(1)
        os.close(2)
        return super().reset(row, seed)


class Sockets(Chains):
    """Closes every file that it did not open: the way to the trainer among them."""

    def finish(self, reply, ending):
        note(os.getpid())
        os.closerange(3, 256)
        return super().finish(reply, ending)


class Stopped(Chains):
    """Stops itself as a shell does by Ctrl-Z, so that nobody answers and nothing ends."""

    def finish(self, reply, ending):
        note(os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)
        return super().finish(reply, ending)


class Waits(Chains):
    """An `async` reward that swallows being cancelled, and then goes on for ever."""

    async def finish(self, reply, ending):
        note(os.getpid())
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                continue


class Odd(Exception):
    def __str__(self):
        raise RuntimeError("an error without words")


class Wordless(Chains):
    """Raises what cannot be printed."""

    def finish(self, reply, ending):
        note(os.getpid())
        raise Odd


class Deep(Chains):
    """A reward that never comes back to its beginning."""

    def finish(self, reply, ending):
        note(os.getpid())
        return self.finish(reply, ending)


class Endless(Chains):
    """Prints without end, faster than anybody reads."""

    def finish(self, reply, ending):
        note(os.getpid())
        while True:
            print("noise" * 1000, flush=True)

"""Runs commands in forks of one process that has imported what they import.

A command's own imports take longer than the little that tests let it do. Each runs as `python -m`
does, in its own process with its own folder, streams and variables; only what Python reads before
it imports anything (`PYTHONPATH` and the like) is that of the first.
"""

import json
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path


class Warm:
    """A process that commands are forked from."""

    def __init__(self, environment):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, words, folder, environment, seconds):
        """As `subprocess.run` of `python -m WORDS`, without standard input, in text."""
        out, told = Path(folder) / ".stdout", Path(folder) / ".stderr"
        asked = {"words": words, "folder": str(folder), "environment": environment}
        asked |= {"out": str(out), "told": str(told), "seconds": seconds}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        texts = [path.read_text(encoding="utf-8") for path in (out, told)]
        out.unlink(), told.unlink()
        return subprocess.CompletedProcess(words, code, *texts)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def main():
    import toolrest.engines.trl.job
    import toolrest.engines.trl.launch
    import toolrest.evaluate.evaluation  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            become(asked)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(asked):
    """Be the command, and end with its code."""
    import signal

    streams = [os.open(os.devnull, os.O_RDONLY)]
    streams += [
        os.open(asked[key], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for key in ("out", "told")
    ]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    signal.alarm(asked["seconds"])
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    module, *words = asked["words"]
    sys.argv[1:] = words
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()

"""`toolrest` in processes that are forked from one that has imported everything already, which is
most of what a short command takes. Each is a process of its own: it has its folder, variables and
streams, runs the command's own entry point to the interpreter's end, and can be killed.

A `Forking` is that first process. What a command itself starts by `sys.executable`, as a
comparison's cells or a run's processes, is forked, too. What is read as
modules are imported is what the first process was given.

    python forking.py PLACE WORD...     a process that stands for one that is forked
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

MAIN = "from toolrest.cli.main import main; main()"
"""What a comparison starts its cells by."""
LAUNCH, WORKER = "accelerate.commands.accelerate_cli", "toolrest.cli.worker"
"""What a run of several processes starts by their modules."""
TORCHRUN = "torch.distributed.run"


class Forking:
    """The process that others are forked from; `with` it.

    Args:
        variables: what it has beside this process's.
    """

    def __init__(self, **variables):
        self._variables = variables

    def __enter__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="forking-"))
        self._place = self._folder / "place"
        program = self._folder / "python"
        program.write_text(
            f'#!/bin/sh\nstand_in="{sys.executable} -S -E {__file__} {self._place}"\n'
            f'[ "$1" = -u ] && shift\ncase "$1 $2" in\n'
            f'"-c {MAIN}") shift 2; exec $stand_in toolrest "$@" ;;\n'
            f'"-m {LAUNCH}" | "-m {WORKER}") shift; exec $stand_in "$@" ;;\n'
            f'*_in_processes.py\\ *) exec $stand_in "$@" ;;\n'
            f'*) exec {sys.executable} "$@" ;;\nesac\n'
        )
        program.chmod(0o755)
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import forking; "
            f"forking.serve({str(self._place)!r}, {str(program)!r})"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | self._variables,
            stdin=subprocess.PIPE,  # its end is this process's
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        shutil.rmtree(self._folder)

    def start(self, *words, cwd, env=None):
        """A `toolrest` of these words that runs."""
        return self._forked(["toolrest", *words], cwd, env)

    def run(self, *words, cwd, env=None, timeout=300):
        """The same at its end, as `subprocess.run` gives it."""
        return self.start(*words, cwd=cwd, env=env).completed(timeout)

    def run_file(self, file, *words, cwd, env=None, processes=None, timeout=300):
        """The end of a file of Python that is run, by torchrun if a number of processes is told."""
        command = [str(file), *words]
        if processes is not None:
            count = ("--nproc-per-node", str(processes))
            command = [TORCHRUN, *count, "--master-port", "0", "--standalone", *command]
        return self._forked(command, cwd, env).completed(timeout)

    def _forked(self, words, cwd, env):
        assert self._process.poll() is None, f"the server ended: {self._process.returncode}"
        return Forked(self._place, words, cwd, os.environ | (env or {}))


class Forked:
    """A process that was forked, as `subprocess.Popen` has one; it is read once it has ended."""

    def __init__(self, place, words, cwd, env):
        self.words, self.returncode = words, None
        self._out, self._err = written(), written()
        with open(os.devnull) as nothing:
            streams = [nothing.fileno(), self._out.fileno(), self._err.fileno()]
            self._server, self.pid = asked(place, words, str(cwd), dict(env), streams)

    def poll(self):
        if self.returncode is None and select.select([self._server], [], [], 0)[0]:
            self.returncode = ended(self._server)
        return self.returncode

    def wait(self, timeout):
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                self.kill()
                raise subprocess.TimeoutExpired("toolrest", timeout, stderr=self._text(self._err))
            self.poll()
        return self.returncode

    def communicate(self, timeout=300):
        """What it said, once it has ended; it is killed after `timeout` seconds."""
        self.wait(timeout)
        return self._text(self._out), self._text(self._err)

    def completed(self, timeout):
        """Its end, as `subprocess.run` gives it."""
        out, err = self.communicate(timeout)
        return subprocess.CompletedProcess(self.words, self.returncode, out, err)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait(300)

    @staticmethod
    def _text(file):
        file.seek(0)
        return file.read()


def written():
    """A file for what a process says."""
    return tempfile.TemporaryFile("w+", encoding="utf-8")


def asked(place, words, folder, variables, streams):
    """(what tells its end, its number) of a process that the server there has forked."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(str(place))
    request = json.dumps([list(words), folder, variables]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "big")], streams)
    server.sendall(request)
    pid = int.from_bytes(server.recv(8, socket.MSG_WAITALL), "big")
    assert pid, "the server has gone"
    return server, pid


def ended(server):
    """The exit code that it tells; below zero: by a signal."""
    said = server.recv(8, socket.MSG_WAITALL)
    assert said, "the server has gone"
    return int.from_bytes(said, "big", signed=True)


def serve(place, program):
    """Fork what is asked for, until the process that began this has gone."""
    import gc

    load_everything()
    sys.executable = program
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it ends with its starter alone
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(64)
        gc.collect()
        gc.freeze()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        running = {}
        while True:
            waited = [listener, 0, *(client for client, _ in running.values())]
            ready = select.select(waited, [], [], 0.02 if running else None)[0]
            for pid, (client, gone) in list(running.items()):
                if client in ready and not gone:  # it tells nothing: its other end is closed
                    os.kill(pid, signal.SIGKILL)
                    running[pid] = (client, True)
            if 0 in ready:
                break
            if listener in ready:
                client, _ = listener.accept()
                begun = forked(client, [listener, *(other for other, _ in running.values())])
                if begun is None:  # the child: on to the command
                    break
                running[begun] = (client, False)
            collect(running)
        if 0 in ready:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            return
    begin()


def collect(running):
    """Tell the ends of those that have ended."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        client, _ = running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError):  # nobody asks
            client.sendall(code.to_bytes(8, "big", signed=True))
        client.close()


def forked(client, others):
    """The number of the child that does what the client asks for; None in the child."""
    size, streams, _, _ = socket.recv_fds(client, 8, 3)
    request = client.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
    words, folder, variables = json.loads(request)
    pid = os.fork()
    if pid:
        for stream in streams:
            os.close(stream)
        with suppress(OSError):  # it has gone
            client.sendall(pid.to_bytes(8, "big"))
        return pid
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored, under nohup
    for each in (client, *others):
        each.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:2] = [folder]  # as `python -m` has it, without this file's folder
    sys.argv = words
    return None


def begin():
    import runpy

    name = "toolrest.__main__" if sys.argv[0] == "toolrest" else sys.argv[0]
    if name.endswith(".py"):
        sys.path[0] = os.path.dirname(name)  # as `python FILE` has it
        runpy.run_path(name, run_name="__main__")
    else:
        runpy.run_module(name, run_name="__main__")


def load_everything():
    """What commands import; no thread is started by it."""
    import torture

    torture.load_everything()
    import accelerate.commands.launch  # noqa: F401
    import torch.distributed.run  # noqa: F401

    import toolrest.cli.main
    import toolrest.evaluate.environment
    import toolrest.evaluate.evaluation  # noqa: F401


def stand_in(place, words):
    """Be the process that is forked, to the one that started this."""
    server, pid = asked(place, words, os.getcwd(), dict(os.environ), [0, 1, 2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    code = ended(server)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    stand_in(sys.argv[1], sys.argv[2:])

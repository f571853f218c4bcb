"""Commands as processes that are forked from one that has everything imported: a start costs milliseconds, not seconds.

`run` gives what `subprocess.run` gives. A forked command is a process with an id, a folder, an environment and streams
of its own; what it skips is only the start of Python and the imports. Each process of pytest has one parent for all of
its commands: `python -m tests.acceptance.forked FD`, which ends when the socket FD is closed.
"""

import atexit
import gc
import json
import os
import pwd
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
#: What Python and its libraries read when they start: a command that is given one of these has to be started afresh.
READ_AT_START = ("PYTHON", "COVERAGE_", "LANG", "LC_", "TZ", "MALLOC_", "OMP_", "OPENBLAS_", "ARROW_")
_LENGTH = struct.Struct("I")
_NUMBER = struct.Struct("i")
_FDS = 4  # stdin, stdout, stderr, where the command's id and exit code are written to


# --- pytest's side


def can_fork(environment: Mapping[str, str] | None) -> bool:
    """Tell whether a command with these additions to its environment may be forked."""
    return not any(name.startswith(READ_AT_START) for name in environment or {})


def run(
    words: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout_s: float
) -> "subprocess.CompletedProcess[str]":
    """Run `bulk-patch` to its end with nobody at the keyboard, and return what it said.

    Args:
        words: What is typed after `bulk-patch`.
        cwd: Where.
        env: The whole environment.
        timeout_s: After this time it is killed, and `subprocess.TimeoutExpired` raised.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, open(os.devnull, "rb") as nothing:
        told, tell = os.pipe()
        with open(told, "rb", buffering=0) as answers:
            try:
                fds = [nothing.fileno(), out.fileno(), err.fileno(), tell]
                _parent().send({"words": list(words), "cwd": str(cwd), "env": dict(env)}, fds)
            finally:
                os.close(tell)
            (pid,) = _NUMBER.unpack(answers.read(_NUMBER.size))
            if not select.select([answers], [], [], timeout_s)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(words), timeout_s)
            (code,) = _NUMBER.unpack(answers.read(_NUMBER.size))
        texts = [_text(file) for file in (out, err)]
    return subprocess.CompletedProcess(list(words), code, *texts)


def _text(file: Any) -> str:
    file.seek(0)
    text: str = file.read().decode()
    return text.replace("\r\n", "\n").replace("\r", "\n")


class _Parent:
    """The process that commands are forked from, seen from pytest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, other = socket.socketpair()
        words = [sys.executable, "-m", "tests.acceptance.forked", str(other.fileno())]
        with other:
            # One thread: a process with several is not safe to fork.
            env = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
            self._process = subprocess.Popen(
                words, cwd=REPOSITORY, env=env, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL
            )
        atexit.register(self.close)

    def send(self, order: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Have a command forked."""
        data = json.dumps(order).encode()
        with self._lock:
            socket.send_fds(self._socket, [_LENGTH.pack(len(data))], fds)
            self._socket.sendall(data)

    def close(self) -> None:
        """Let it end."""
        self._socket.close()
        self._process.wait(10)


_parents: dict[int, _Parent] = {}  # by process: a test that forks has none yet
_starting = threading.Lock()


def _parent() -> _Parent:
    with _starting:
        return _parents.setdefault(os.getpid(), _parents.get(os.getpid()) or _Parent())


# --- the parent's side


def _preload() -> None:
    from tests.chaos.stage import preload

    preload()


def _serve(control: socket.socket) -> None:
    """Fork a command for each order, until nobody gives any."""
    watchers: set[int] = set()
    while True:
        length, fds, *_ = socket.recv_fds(control, _LENGTH.size, _FDS)
        watchers -= {pid for pid in watchers if os.waitpid(pid, os.WNOHANG)[0]}
        if not length:
            break
        (missing,) = _LENGTH.unpack(length)
        data = b""
        while len(data) < missing:
            data += control.recv(missing - len(data))
        watcher = os.fork()
        if watcher == 0:
            control.close()
            _watch(json.loads(data), fds)
        watchers.add(watcher)
        for fd in fds:
            os.close(fd)
    for pid in watchers:
        os.waitpid(pid, 0)


def _watch(order: Mapping[str, Any], fds: Sequence[int]) -> NoReturn:
    """Fork the command, and tell its id and then how it ended."""
    *streams, tell = fds
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        _become(order, streams)
    os.write(tell, _NUMBER.pack(pid))
    os.write(tell, _NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    os.kill(os.getpid(), signal.SIGKILL)  # it measured nothing, and has nothing to tidy up
    raise AssertionError


def _become(order: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    """Be the command: its streams, its folder, its environment, its words."""
    for fd, stream in enumerate(streams):
        os.dup2(stream, fd)
        os.close(stream)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    play_login(os.environ.pop("PLAYED_LOGIN", ""))
    from bulk_patch.cli import main

    sys.argv = [str(REPOSITORY / "bulk_patch" / "__main__.py"), *order["words"]]
    main(prog_name="bulk-patch")
    raise AssertionError


def play_login(name: str) -> None:
    """Be a second person: from now on the account of this process has another name, where one is given."""
    if name:
        pwd.getpwuid = lambda uid: SimpleNamespace(pw_name=name)  # type: ignore[assignment,return-value]


if __name__ == "__main__":
    _preload()
    gc.freeze()  # what a command would collect, and so copy, is not its own
    with socket.socket(fileno=int(sys.argv[1])) as _control:
        _serve(_control)

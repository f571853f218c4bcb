"""The sandbox as a process: served in the foreground, or as a child that never outlives the parent."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

import uvloop

from .faults import random_faults
from .seeds import load_customers
from .world import SandboxError

_PREDECESSOR_WAIT_S = 10.0
_PARENT_CHECK_S = 0.5
_STOP_WAIT_S = 5.0
_LONGEST_WORDS = 64 << 10  # characters


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """How to serve a sandbox.

    Attributes:
        port: Port on 127.0.0.1; 0 picks a free one.
        customers: CSV or Parquet file with the customers of a new world.
        rate: Requests let through in any second; None: no limit.
        latency_ms: Milliseconds that each request takes.
        faults: Faults at random; see `random_faults`.
        log: File that gets one JSON line a request.
        token: The bearer token asked for; None: one is drawn, and `serve` prints it after the base URL.
        seed: Number the random faults are drawn from.
        state: Folder the world is kept in; None: in memory.
    """

    port: int = 0
    customers: Path | None = None
    rate: int | None = None
    latency_ms: float = 0
    faults: str = ""
    log: Path | None = None
    token: str | None = None
    seed: int = 0
    state: Path | None = None

    def to_json(self) -> str:
        """Write the settings as one line."""
        return json.dumps(asdict(self), default=os.fspath)

    @classmethod
    def from_json(cls, line: str) -> "SandboxSettings":
        """Read what `to_json` wrote."""
        values = json.loads(line)
        for name in ("customers", "log", "state"):
            values[name] = values[name] and Path(values[name])
        return cls(**values)


def serve(settings: SandboxSettings) -> int:
    """Serve until SIGINT or SIGTERM; the first line on stdout is the base URL.

    Args:
        settings: How to serve.

    Returns:
        The process's exit code, 0.

    Raises:
        SandboxError: It cannot start.
        ValueError: ``settings.faults`` cannot be read.
    """
    drawn = replace(settings, token=secrets.token_hex(16)) if settings.token is None else settings
    return _run(drawn, wait_s=0.0, watch_parent=False, says_token=settings.token is None)


def serve_for_parent(lines: IO[str]) -> int:
    """Serve by the settings in the first line, until the parent closes the pipe or is gone.

    This is what a process started by `child` runs. The settings come through the pipe, because a command line
    can be read by everyone on the machine and the token is among them.
    """
    return _run(SandboxSettings.from_json(lines.readline()), wait_s=_PREDECESSOR_WAIT_S, watch_parent=True)


@contextmanager
def child(settings: SandboxSettings) -> Iterator[str]:
    """Serve in a child process, and end it with the block or with this process, however that ends.

    The child has a session of its own: a Ctrl-C at the terminal is for the parent, which still has answers to
    wait for. It waits some seconds for a predecessor on the same state folder, which may just be noticing its
    parent's death.

    Args:
        settings: How to serve.

    Yields:
        The base URL.

    Raises:
        SandboxError: The child did not start; with its own words.
    """
    home = str(Path(__file__).parents[2])  # where this very package is imported from, installed or not
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [sys.executable, "-P", "-m", __package__],  # -P: no module from the current folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
        text=True,
        start_new_session=True,
    ) as process:
        words = _Words(process.stderr)
        try:
            yield _hand_over(process, settings, words)
        finally:
            _stop(process)


def _hand_over(process: "subprocess.Popen[str]", settings: SandboxSettings, words: "_Words") -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # a child that is dead already explains itself below
        process.stdin.write(settings.to_json() + "\n")
        process.stdin.flush()
    base_url = process.stdout.readline().strip()
    if not base_url:
        process.wait()
        raise SandboxError(f"the sandbox did not start: {words.said()}")
    return base_url


class _Words:
    """Takes what a child says on stderr, so that it never waits for us, and keeps the beginning.

    Args:
        pipe: Its stderr.
    """

    def __init__(self, pipe: IO[str] | None) -> None:
        assert pipe is not None
        self._pipe = pipe
        self._kept = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def said(self) -> str:
        """Return what a child that has ended said."""
        self._reader.join(_STOP_WAIT_S)
        return self._kept.strip()

    def _read(self) -> None:
        with suppress(OSError, ValueError):  # it was closed meanwhile
            for line in self._pipe:
                self._kept = (self._kept + line)[:_LONGEST_WORDS]


def _stop(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout=_STOP_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _run(settings: SandboxSettings, *, wait_s: float, watch_parent: bool, says_token: bool = False) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, wait_s=wait_s, watch_parent=watch_parent, says_token=says_token))
    return 0


async def _serve(settings: SandboxSettings, *, wait_s: float, watch_parent: bool, says_token: bool) -> None:
    # Imported here, so that a parent, which only wants `child`, does not wait for a server's imports.
    from .server import Sandbox

    sandbox = Sandbox(
        None if settings.customers is None else load_customers(settings.customers),
        token=settings.token or secrets.token_hex(16),
        port=settings.port,
        rate_per_s=settings.rate,
        latency_ms=settings.latency_ms,
        fault=random_faults(settings.faults, settings.seed) if settings.faults else None,
        state=settings.state,
        log=settings.log,
        wait_s=wait_s,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    async with sandbox:
        print(sandbox.base_url, flush=True)
        if says_token:
            print(f"token: {sandbox.token}", flush=True)
        if watch_parent:
            threading.Thread(target=_await_end_of_stdin, args=(loop, stop), daemon=True).start()
            await _until_orphaned(stop)
        else:
            await stop.wait()


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # Not through sys.stdin: its lock, held by a thread that waits, makes the interpreter's exit fail.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with suppress(RuntimeError):  # the loop has ended by another way
        loop.call_soon_threadsafe(stop.set)


async def _until_orphaned(stop: asyncio.Event) -> None:
    """Wait for the pipe's end, or for another parent: a fork of the first may hold the pipe open."""
    parent = os.getppid()
    while not stop.is_set() and os.getppid() == parent:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _PARENT_CHECK_S)

"""The processes of one trial: the API and, one after the other, those of the product.

Everything is forked from a parent that has the package imported and no threads, so a process costs milliseconds.
"""

import asyncio
import importlib
import json
import os
import pkgutil
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bulk_patch
from bulk_patch.observe import SendProgress
from bulk_patch.sandbox import Fault, Seen
from bulk_patch.workflows.observer import NullObserver
from bulk_patch.workflows.options import RunOptions
from tests.chaos.evidence import Notebook
from tests.chaos.kill import LONGEST_S, count_to, shepherd, take_what_is_left
from tests.chaos.scene import JOB, NEW_TOKEN, TOKEN, Scene
from tests.support.private import write_private


def preload() -> None:
    """Import what the processes need, before the first fork."""
    for module in pkgutil.walk_packages(bulk_patch.__path__, "bulk_patch."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    from bulk_patch.reports.html.template import template

    template()  # compiled once for all processes
    importlib.import_module("structlog")  # with the first event otherwise, and `rich` under it draws from `random`


class Mischief:
    """What goes wrong with requests; a sandbox asks it for each. Subclasses choose."""

    def __init__(self) -> None:
        self.is_over = False
        self.requests = 0

    def __call__(self, seen: Seen) -> Fault | None:
        self.requests = max(self.requests, seen.n)
        return None if self.is_over else self.choose(seen)

    def choose(self, seen: Seen) -> Fault | None:
        """Return the fault of one request, if it gets one."""
        return None


# --- the API


class Api:
    """A sandbox in a process of its own, told what to do through a socket."""

    def __init__(self, folder: Path, scene: Scene, mischief: Mischief) -> None:
        self.steady_token = True  # no one has changed what it asks for
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _end_after(lambda: asyncio.run(_serve(folder / "world", scene, mischief, theirs)))
        theirs.close()
        self._words = ours.makefile("rw")
        self._socket = ours
        self.base_url = str(self._answer())

    def tell(self, what: str, **detail: Any) -> Any:
        """Tell it something, and return its answer."""
        self.steady_token = self.steady_token and what != "token"
        self._words.write(json.dumps({"what": what, **detail}) + "\n")
        self._words.flush()
        return self._answer()

    def stop(self) -> None:
        """End it once it has no request under way."""
        with suppress(OSError, ValueError):
            self.tell("stop")
        self._words.close()
        self._socket.close()
        os.waitpid(self._pid, 0)

    def _answer(self) -> Any:
        line = self._words.readline()
        if not line:
            raise RuntimeError("the API of a trial died")
        return json.loads(line)


async def _serve(world: Path, scene: Scene, mischief: Mischief, words: socket.socket) -> None:
    from bulk_patch.sandbox import Sandbox

    clock = _Clock()
    sandbox = Sandbox(
        scene.customers,
        token=TOKEN,
        fault=mischief,
        state=world,
        log=world / "requests.jsonl",
        latency_ms=scene.settings.latency_ms,
        clears=scene.settings.clears,
        clock=lambda: time.time(),  # the moved one
    )
    seeded = {one["id"]: sandbox.customer(one["id"]) for one in scene.customers}
    (world / "seeded.json").write_text(json.dumps(seeded))
    async with sandbox:
        reader, writer = await asyncio.open_connection(sock=words)
        writer.write(json.dumps(sandbox.base_url).encode() + b"\n")
        while line := await reader.readline():
            word = json.loads(line)
            answer: Any = None
            while len(sandbox.requests) < mischief.requests:  # a killed client's request may still be worked on
                await asyncio.sleep(0.005)
            match word["what"]:
                case "over":
                    mischief.is_over = True
                case "clock":
                    clock.move(word["to_s"])
                case "token":
                    sandbox.token = word["token"]
                case "edit":
                    sandbox.edit(word["customer_id"], **word["fields"])
                    answer = {"after": len(sandbox.requests), "t": time.time()}
            writer.write(json.dumps(answer).encode() + b"\n")
            if word["what"] == "stop":
                await writer.drain()
                return


class _Clock:
    """The wall clock of a forked process, which can be moved."""

    def __init__(self, moved_s: float = 0.0) -> None:
        self._real = time.time
        self.move(moved_s)

    def move(self, moved_s: float) -> None:
        """Let `time.time` be so many seconds ahead of the real time."""
        real = self._real
        time.time = lambda: real() + moved_s


# --- the product


class Announcer(NullObserver):
    """Writes down what a person would be shown, at once and unbuffered; may die with the word on its lips."""

    def __init__(self, file: Path, *, dies_at: int | None) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._left = dies_at

    def progress(self, progress: SendProgress) -> None:
        """Announce what counts as done."""
        line = {"ok": progress.ok, "refused": progress.refused}
        os.write(self._file, json.dumps(line).encode() + b"\n")
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


#: What a command of a trial is on the command line.
_TYPED: Mapping[str, Sequence[str]] = {
    "plan": ("plan",),
    "run": ("run", "--yes"),
    "continue": ("run", "--yes", "--continue"),
    "new": ("run", "--yes", "--new"),
    "retry": ("retry", "--yes"),
}


def perform(job: Path, output: Path, command: str, *, announcer: Announcer | None) -> int:
    """Do what a command does, in this process; return its exit code.

    Args:
        job: The job file.
        output: The `output/` folder.
        command: plan, run, continue, new or retry.
        announcer: Watches a call of the library; None: the command line.
    """
    if announcer is None:
        from bulk_patch.cli import main

        verb, *flags = _TYPED[command]
        try:
            main([verb, str(job), *flags, "--output", str(output)], prog_name="bulk-patch")
        except SystemExit as end:
            return int(end.code or 0)
        return 0
    from bulk_patch import BulkPatchError, load_job, run_job
    from bulk_patch.reports.runs import locate_run
    from bulk_patch.workflows.run import retry_run

    options = RunOptions(output=output, go_on=command == "continue", observer=announcer)
    try:
        loaded = load_job(job)
        if command == "retry":
            return retry_run(loaded, locate_run(str(job), output=output).run.id, options).exit_code or 0
        return run_job(loaded, options).exit_code or 0
    except BulkPatchError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code


@dataclass(slots=True)
class Stage:
    """One trial: its folder, its API, and one process of the product after the other."""

    folder: Path
    scene: Scene
    api: Api
    job: Path
    dice: random.Random
    notebook: Notebook
    clock_s: float = 0.0
    api_clock_s: float = 0.0
    steady_clock: bool = True
    overdue: list[str] = field(default_factory=list)

    @classmethod
    def set_up(cls, folder: Path, scene: Scene, mischief: Mischief, dice: random.Random) -> "Stage":
        """Start the API and write the job."""
        (folder / "spans").mkdir(parents=True)
        api = Api(folder, scene, mischief)
        return cls(folder, scene, api, scene.write(folder, api.base_url), dice, Notebook(folder))

    @property
    def output(self) -> Path:
        """Return the folder of the job's outputs."""
        return self.folder / "output" / JOB

    def play(
        self,
        command: str = "run",
        *,
        kill_after_s: float | None = None,
        kill_after_requests: int | None = None,
        signals: Sequence[tuple[float, int]] = (),
        kill_at_announcement: int | None = None,
        library: bool = False,
    ) -> int | None:
        """Run one process of the product to its end, or kill it.

        Args:
            command: run, continue or retry.
            kill_after_s: When it gets SIGKILL, if it is still there.
            kill_after_requests: After how many requests of its own, and `kill_after_s` more, it gets SIGKILL.
            signals: When it gets which other signals.
            kill_at_announcement: Which announcement of progress is its last word; implies `library`.
            library: Call the library, and announce progress, in place of the command line.

        Returns:
            Its exit code, None when it was killed.
        """
        number = len(self.notebook.spans)
        left = self.folder / "spans" / f"{number:02}"
        left.mkdir()
        seed = self.dice.random()
        started_at = time.time()
        pid = os.fork()
        if pid == 0:
            _redirect(left)
            _Clock(self.clock_s)
            random.seed(seed)
            announces = library or kill_at_announcement is not None
            announcer = Announcer(left / "shown.jsonl", dies_at=kill_at_announcement) if announces else None
            _end_after(lambda: perform(self.job, self.folder / "output", command, announcer=announcer))
        is_due = count_to(self.folder / "world" / "requests.jsonl", kill_after_requests)
        told = shepherd(pid, signals, kill_after_s, is_due)
        if told.overdue:
            self.overdue.append(f"process {number} ({command}) did not end within {LONGEST_S:g} s")
        span = {"command": command, "pid": pid, "started_at": started_at, "ended_at": time.time()}
        clocks = {"clock_s": self.clock_s, "api_clock_s": self.api_clock_s}
        self.notebook.spans.append({**span, **clocks, "exit_code": told.exit_code})
        take_what_is_left(self.output, left, since=started_at)
        return told.exit_code

    def edit(self, customer_id: str, fields: dict[str, Any]) -> None:
        """Let someone else change a customer."""
        done = self.api.tell("edit", customer_id=customer_id, fields=fields)
        self.notebook.edits.append({**done, "customer_id": customer_id, "fields": fields})

    def move_clocks(self, by_s: float, *, ours_only: bool = False) -> None:
        """Move the wall clock of later processes, and the API's with it."""
        self.clock_s += by_s
        self.steady_clock = False
        if not ours_only:
            self.api_clock_s += by_s
            self.api.tell("clock", to_s=self.api_clock_s)

    def rotate_token(self) -> None:
        """Let the API ask for another token; the file has it."""
        self.api.tell("token", token=NEW_TOKEN)
        write_private(self.folder / "token", NEW_TOKEN)

    def close(self, *, settled: bool, slack_s: float = 0.5) -> None:
        """End the API and write the story."""
        self.api.stop()
        told = {
            **self.scene.story(),
            "token": TOKEN,
            "slack_s": slack_s,
            "settled": settled,
            "steady_clock": self.steady_clock,
            "steady_token": self.api.steady_token,
            "seeded": json.loads((self.folder / "world" / "seeded.json").read_text()),
        }
        self.notebook.write(told)


def _redirect(left: Path) -> None:
    """Give a forked process its own stdout and stderr, and no stdin."""
    for number, name in ((1, left / "stdout"), (2, left / "stderr")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)


def _end_after(work: Callable[[], Any]) -> None:
    """Do the work of a forked process, and never come back to the parent's code."""
    code = 1
    try:
        code = work() or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)

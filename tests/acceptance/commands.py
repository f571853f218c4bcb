"""Run the real command line in real processes, in a copy of the sample tree, and look at what it leaves behind.

`Workspace` is the folder somebody works in. Commands run in it as `python -m bulk_patch …`, with nothing of the
caller's own environment that could help or hinder, and their output/ is the workspace's.
"""

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import forked
from tests.acceptance.next_lines import SAFE, missing_files, next_commands

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60
BEFORE = ("first: ", "waiting for approval ")  # lines above that of the next command start so
#: Root may write everywhere, unless it gives up the right to pass by permissions.
WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
needs_permissions = pytest.mark.skipif(
    bool(WITHOUT_RIGHTS) and shutil.which("setpriv") is None,
    reason="root may write everywhere, and without setpriv it cannot give that up",
)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def next(self) -> str:
        """Return what the command said to type next; "" when it named nothing."""
        return self._next_and_before()[0]

    @property
    def before(self) -> str:
        """Return what the command said to do or wait for before that; "" when nothing."""
        return self._next_and_before()[1]

    def _next_and_before(self) -> tuple[str, str]:
        lines = self.err.splitlines()
        for at, line in enumerate(lines):
            if line.startswith("next: "):
                above = lines[at - 1] if at else ""
                return line.removeprefix("next: "), above if above.startswith(BEFORE) else ""
        return "", ""


#: `python -c` this LOGIN WORDS: a command under another login.
_AS_LOGIN = """
import sys
from tests.acceptance.forked import play_login
play_login(sys.argv.pop(1))
from bulk_patch.cli import main
main(prog_name="bulk-patch")
"""


def login_of(words: Sequence[str | Path]) -> str:
    """Return the login of a second person who approves: the name that they give; "" for any other command."""
    typed = [str(word) for word in words]
    if typed[:1] != ["approve"] or "--operator" not in typed:
        return ""
    return typed[typed.index("--operator") + 1].strip().lower()


class _Started(subprocess.Popen[str]):
    """A command that does not outlive a test that failed beside it."""

    def __exit__(self, kind: type[BaseException] | None, *what: Any) -> None:
        if kind is not None:
            self.kill()
        super().__exit__(kind, *what)


class Workspace:
    """A folder with jobs/ and sample_inputs/ in which commands run.

    Args:
        root: The folder.
        token: What the environment's SYNCTERA_API_KEY holds; None: it is not set.
    """

    def __init__(self, root: Path, *, token: str | None = None) -> None:
        self.root = root
        ours = ("BULK_PATCH_", "SYNCTERA_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
        self.environment = kept | {"PYTHONPATH": paths} | ({"SYNCTERA_API_KEY": token} if token else {})

    @classmethod
    def copied(cls, root: Path) -> "Workspace":
        """Make one with the jobs and inputs of the repository."""
        for name in ("jobs", "sample_inputs"):
            shutil.copytree(REPOSITORY / name, root / name)
        return cls(root)

    # --- commands

    def run(
        self,
        *words: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        under: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
        **options: Any,
    ) -> Ended:
        """Run a command to its end, with nobody at the keyboard.

        Args:
            words: What is typed after `bulk-patch`.
            env: Added to the environment.
            cwd: Where to; None: in the workspace.
            under: A command that runs it, for example `WITHOUT_RIGHTS`.
            timeout_s: How long it may take.
            options: For `subprocess.run`.
        """
        environment = {**self.environment, **(env or {})}
        if login := login_of(words):
            environment.setdefault("PLAYED_LOGIN", login)
        if not under and not options and forked.can_fork(env):
            done = forked.run([*map(str, words)], cwd=cwd or self.root, env=environment, timeout_s=timeout_s)
        else:
            done = subprocess.run(
                [*under, *self.command(*words)],
                cwd=cwd or self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                **options,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        ended = Ended(done.returncode, done.stdout, done.stderr)
        self._check_next(ended, [*map(str, words)], cwd=cwd or self.root, under=under, env=env)
        return ended

    def _check_next(
        self, ended: Ended, words: list[str], *, cwd: Path, under: Sequence[str], env: Mapping[str, str] | None
    ) -> None:
        """Check that each `next:` line is one command that can be pasted, and run it where it changes nothing."""
        for command in next_commands(ended.out, ended.err):
            assert missing_files(command, cwd) == [], command
            if command[1] in SAFE and command[1:] != words:  # the same again is for once the cause is gone
                again = self.run(*command[1:], cwd=cwd, under=under, env=env)
                assert again.code == 0, again.err

    def start(self, *words: str | Path, **options: Any) -> "subprocess.Popen[str]":
        """Start a command; its output is kept in pipes unless `options` say otherwise."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return _Started(self.command(*words), cwd=self.root, env=self.environment, text=True, **{**pipes, **options})

    @staticmethod
    def command(*words: str | Path) -> list[str]:
        """Return what has to be executed for these words after `bulk-patch`."""
        if login := login_of(words):
            return [sys.executable, "-c", _AS_LOGIN, login, *map(str, words)]
        return [sys.executable, "-m", "bulk_patch", *map(str, words)]

    # --- what commands leave behind

    def job_folder(self, job: str) -> Path:
        """Return the folder that holds the runs of a job."""
        return self.root / "output" / job

    def runs(self, job: str) -> list[dict[str, Any]]:
        """Return the runs in a job's ledger, the oldest first."""
        return self.query(job, "SELECT * FROM runs ORDER BY number")

    def summary(self, job: str, run: str | None = None) -> dict[str, Any]:
        """Return the summary.json of a run; by default of the newest."""
        text = (self._run_folder(job, run) / "summary.json").read_text(encoding="utf-8")
        summary: dict[str, Any] = json.loads(text)
        return summary

    def results(self, job: str, run: str | None = None) -> list[dict[str, str]]:
        """Return the lines of a run's results.csv."""
        return read_csv(self._run_folder(job, run) / "results.csv")

    def failures(self, job: str, run: str | None = None) -> list[dict[str, str]]:
        """Return the lines of a run's failures.csv."""
        return read_csv(self._run_folder(job, run) / "failures.csv")

    def states(self, job: str, run: str | None = None) -> dict[int, str]:
        """Return row -> state as the ledger has it, for every row that is not unchanged."""
        rows = self.query(
            job,
            "SELECT rows.row, coalesce(progress.state, rows.state) AS state FROM rows LEFT JOIN progress USING (id) "
            "WHERE rows.id >> 32 = (SELECT number FROM runs WHERE id = :run)",
            run=run or self.runs(job)[-1]["id"],
        )
        return {row["row"]: row["state"] for row in rows}

    def notes(self, job: str) -> list[dict[str, Any]]:
        """Return what the ledger keeps for the auditor, in order; `actor` and `detail` as they were given."""
        notes = self.query(job, "SELECT * FROM notes ORDER BY number")
        return [note | {"actor": json.loads(note["actor"]), "detail": json.loads(note["detail"])} for note in notes]

    def query(self, job: str, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Ask a job's ledger behind the program's back."""
        with closing(sqlite3.connect(f"file:{self.job_folder(job) / 'ledger.db'}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(sql, values)]

    def sandbox_log(self, job: str) -> list[dict[str, Any]]:
        """Return the requests that the sandbox of `--sandbox` has logged; none when it was not started yet."""
        return read_log(self.job_folder(job) / "sandbox" / "requests.jsonl")

    def _run_folder(self, job: str, run: str | None) -> Path:
        return self.job_folder(job) / (run or self.runs(job)[-1]["id"])


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file strictly; every cell is text."""
    text = path.read_bytes().decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read whole lines of a JSON lines file that somebody may be writing."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().rpartition(b"\n")[0].splitlines()]


def assert_told(ended: Ended, code: int, *words: str) -> None:
    """Check that a command ended with this code and one message that says all of this, with a hint."""
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ended.err
    assert "\nhint: " in ended.err, ended.err
    last = [line for line in ended.err.splitlines() if not line.startswith(("next: ", *BEFORE))][-1]
    assert last.startswith(f"exit code {code}: ")
    for word in words:
        assert word in ended.err


def wait_until(is_so: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Return as soon as a condition holds."""
    ends_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.002)

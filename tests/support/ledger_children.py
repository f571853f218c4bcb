"""Programs that use a SQLite ledger in a process of their own, to be killed, locked out or starved of disk."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_START = """
import resource, sys, time
from pathlib import Path
from bulk_patch.errors import LedgerError
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import Outcome, State
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import *

path = Path(sys.argv[1])
"""

#: Holds the ledger until it is killed or its input ends.
HOLD = """
with SqliteLedger.open(path, job=JOB) as ledger:
    print("open", flush=True)
    sys.stdin.read()
"""

#: Is in the middle of a run: row 1 applied, row 2 claimed.
SEND = """
with SqliteLedger.open(path, job=JOB) as ledger:
    run_id = start(ledger, 5)
    claim_one(ledger, run_id)
    record(ledger, run_id, 1, State.APPLIED)
    claim_one(ledger, run_id)
    print("claimed", flush=True)
    sys.stdin.read()
"""

#: Is in the middle of a plan, with rows written and rows to come.
PLAN = """
def rows():
    yield from (make_row(row) for row in range(1, 25_001))
    print("planned", flush=True)
    sys.stdin.read()

with SqliteLedger.open(path, job=JOB) as ledger:
    calls.begin(ledger, make_run("unsealed"))
    calls.add(ledger, "unsealed", rows())
"""

#: Commits many small transactions, then waits.
WORK = """
with SqliteLedger.open(path, job=JOB) as ledger:
    run_id = start(ledger, 60)
    while rows := claim_rows(ledger, run_id, 4):
        calls.record(ledger, run_id, [Outcome(row, State.APPLIED) for row in rows], now=START)
    print("worked", flush=True)
    sys.stdin.read()
"""

#: Sends until the disk is full; prints how far it came and what the ledger said, twice.
FILL = """
with SqliteLedger.open(path, job=JOB) as ledger:
    run_id = start(ledger, 400)
    files = [path, path.with_name(path.name + "-wal")]
    limit = max(file.stat().st_size for file in files) + int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    applied = sending = 0
    try:
        while True:
            rows = claim_rows(ledger, run_id, 2)
            sending = len(rows)
            calls.record(ledger, run_id, [Outcome(row, State.APPLIED) for row in rows], now=START)
            applied, sending = applied + sending, 0
    except LedgerError as error:
        print(applied, sending)
        print(error.message)
    try:
        calls.note(ledger, run_id, ACTOR, "stopped", {}, now=START)
    except LedgerError as error:
        print(error.message, flush=True)
"""

#: Plans until the disk is full; prints what the ledger said.
FILL_WITH_PLAN = """
with SqliteLedger.open(path, job=JOB) as ledger:
    seal_plan(ledger, 3)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    calls.begin(ledger, make_run("second"))
    try:
        calls.add(ledger, "second", (make_row(row) for row in range(1, 1_000_000)))
    except LedgerError as error:
        print(error.message, flush=True)
"""


def command(program: str, *arguments: object) -> list[str]:
    """Return the command that runs a program of this module."""
    return [sys.executable, "-c", _START + program, *map(str, arguments)]


def run_to_end(program: str, *arguments: object) -> list[str]:
    """Run a program to its end; return the lines it printed."""
    done = subprocess.run(
        command(program, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextmanager
def running(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program until it has printed its first line; kill it (SIGKILL) at the end."""
    with subprocess.Popen(
        command(program, *arguments), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().strip() in {"open", "claimed", "planned", "worked"}
            yield child
        finally:
            child.kill()

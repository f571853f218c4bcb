"""A job that waits for a second person."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, new_emails, planned_at, write_job
from tests.support.ledger_edits import rechain

PLANNER, REVIEWER = ("--operator", "Robin"), ("--operator", "Alex")


def ask_for_approval(place: Workspace, *settings: str) -> None:
    """Let the job wait for a second person."""
    file = place.root / FILE
    lines = "\n".join(["[guards]", "approval = true", *settings])
    file.write_text(file.read_text(encoding="utf-8").replace("[guards]", lines), encoding="utf-8")


def plan_and_wait(place: Workspace, api: Sandbox, *settings: str, rows: int = 3) -> str:
    """Make a plan that waits for an approval; return the run's id."""
    write_job(place, new_emails(*range(1, rows + 1)))
    ask_for_approval(place, *settings)
    ended = place.run("plan", FILE, *planned_at(api), *PLANNER)
    assert ended.code == 0, ended.err
    run: str = place.runs(NAME)[-1]["id"]
    assert ended.next == f"bulk-patch approve {run}"
    return run


def change_ledger(place: Workspace, sql: str, **values: Any) -> None:
    """Change a ledger behind the program's back, and compute all hashes of its chain again."""
    path = place.job_folder(NAME) / "ledger.db"
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(sql, values).rowcount > 0
        database.commit()
    rechain(path, NAME)


def change_approval(place: Workspace, changes: Mapping[str, Any]) -> None:
    """Change facts of the only approval."""
    (note,) = [note for note in place.notes(NAME) if note["action"] == "approved"]
    change_ledger(
        place,
        "UPDATE notes SET detail = :detail WHERE action = 'approved'",
        detail=json.dumps(note["detail"] | changes),
    )

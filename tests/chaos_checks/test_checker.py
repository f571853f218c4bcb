"""The checker of the chaos tiers: quiet about a good run, and loud about every edit of its log or ledger."""

import json
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import check, examine
from tests.chaos.evidence import load

pytestmark = pytest.mark.chaos  # they are about the chaos tiers, not about the product

ROOT = Path(__file__).resolve().parents[2]
EDITS = 200

#: Columns of the ledger that are edited, by table.
COLUMNS = {
    "runs": "job target kind state secret created_at identity baseline input_sha256 input_size baseline_sha256 columns "
    "input_rows unchanged plan_sha256 plan_s sealed_at started_at reason ticket input_path details actor",
    "rows": "customer_id state fields read_back recheck cells body before",
    "progress": "state lane requested attempts generation ambiguous spent_in spent_sessions final first_intent_at "
    "key_intent_at done_at",
    "counts": "state rows open",
    "chunks": "first_row last_row rows sha256",
    "sessions": "run actor started_at ended_at by_itself",
    "generations": "id generation at",
    "notes": "run at actor action",
    "customers": "customer_id id",
}
#: Words and figures of the moment: a later copy may differ, so only the last one has a witness, the report.
LAST_COLUMNS = {
    "runs": "exit_code finished_at stop_reason stopped_by",
    "progress": "http_status api_code reason",
}
#: Tables that tell more are edited more often.
WEIGHTS = {"runs": 3, "rows": 3, "progress": 8, "counts": 2, "chunks": 1, "sessions": 2, "generations": 2}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Play a good run once, in a process of its own, since it forks."""
    folder = tmp_path_factory.mktemp("chaos") / "good"
    played = subprocess.run(
        [sys.executable, "-m", "tests.chaos.good", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    return folder


def test_a_good_run_has_no_violations(good: Path) -> None:
    assert [str(violation) for violation in check(load(good))] == []


def test_the_good_run_shows_a_kill_a_refusal_a_new_key_and_a_retry(good: Path) -> None:
    evidence = load(good)
    assert [span.exit_code for span in evidence.spans] == [None, 3, 3]  # rows that are invalid stay so
    assert evidence.last is not None
    (run,) = evidence.last.runs.values()
    assert len(run.generations) >= 2
    assert {line.status for line in evidence.log} >= {200, 401, 422}


def test_the_checker_knows_nothing_of_the_product() -> None:
    names = "{name for name in sys.modules if name.partition('.')[0] == 'bulk_patch'}"
    program = f"import sys, tests.chaos.checker, tests.chaos.sightings; print({names})"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_what_cannot_be_read_is_a_violation(good: Path, tmp_path: Path) -> None:
    folder = copy_of(good, tmp_path / "torn")
    (folder / "spans" / "01" / "ledger.db").write_bytes(b"no ledger")
    assert [violation.invariant for violation in examine(folder)] == ["evidence"]


def test_every_edit_of_log_or_ledger_is_reported(good: Path, tmp_path: Path) -> None:
    missed = []
    for number in range(EDITS):
        dice = random.Random(number)
        folder = copy_of(good, tmp_path / str(number))
        what = edit_log(folder, dice) if number % 4 == 0 else edit_ledger(folder, dice)
        if not examine(folder):
            missed.append(f"{number}: {what}")
        shutil.rmtree(folder)
    assert missed == []


# --- how a good run is spoiled


def copy_of(folder: Path, to: Path) -> Path:
    """Copy what the checker reads."""
    return Path(shutil.copytree(folder, to, ignore=shutil.ignore_patterns("output")))


def edit_log(folder: Path, dice: random.Random) -> str:
    """Edit the log, and for most edits the API's own copy of it with it; say how."""
    file = folder / "world" / "requests.jsonl"
    lines = file.read_text().splitlines()
    name, edit, in_both = dice.choice(LOG_EDITS)
    edited = edit(lines, dice)
    file.write_text("".join(f"{line}\n" for line in edited))
    if in_both:
        with closing(sqlite3.connect(folder / "world" / "state.db")) as state:
            state.execute("DELETE FROM requests")
            state.executemany(
                "INSERT INTO requests (position, n, line) VALUES (?, ?, ?)",
                [(place, place, line) for place, line in enumerate(edited, start=1)],
            )
            state.commit()
    return f"log: {name}"


def drop(lines: Sequence[str], dice: random.Random) -> list[str]:
    """Leave out one line."""
    gone = dice.randrange(len(lines))
    return [*lines[:gone], *lines[gone + 1 :]]


def repeat(lines: Sequence[str], dice: random.Random) -> list[str]:
    """Say one line twice."""
    place = dice.randrange(len(lines))
    return [*lines[:place], lines[place], *lines[place:]]


def swap(lines: Sequence[str], dice: random.Random) -> list[str]:
    """Change the order of two lines."""
    place = dice.randrange(len(lines) - 1)
    return [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]


def change(name: str, new: Callable[[Any, random.Random], Any]) -> Callable[[Sequence[str], random.Random], list[str]]:
    """Return an edit of one member of one PATCH."""

    def edit(lines: Sequence[str], dice: random.Random) -> list[str]:
        found = [json.loads(line) for line in lines]
        line = dice.choice([line for line in found if line["method"] == "PATCH" and line["fault"] is None])
        line[name] = new(line[name], dice)
        return [json.dumps(line, separators=(",", ":")) for line in found]

    return edit


def other_text(text: str, dice: random.Random) -> str:
    """Return a text with one letter or digit exchanged."""
    places = [place for place, letter in enumerate(text) if letter.isalnum()]
    if not places:
        return text + "x"
    place = dice.choice(places)
    new = dice.choice([letter for letter in "0123456789abcdef" if letter != text[place].lower()])
    return text[:place] + new + text[place + 1 :]


LOG_EDITS: Sequence[tuple[str, Callable[[Sequence[str], random.Random], list[str]], bool]] = (
    ("one line is gone", drop, True),
    ("one line is there twice", repeat, True),
    ("two lines changed places, in the file", swap, False),
    ("a key", change("key", other_text), True),
    ("bytes", change("body_sha256", other_text), True),
    ("a path", change("path", other_text), True),
    ("a customer", change("customer_id", other_text), True),
    ("a method", change("method", lambda was, dice: dice.choice(["GET", "PUT"])), True),
    ("a status", change("status", lambda was, dice: dice.choice([None, 202, 404, 500])), True),
    ("an effect", change("executed", lambda was, dice: not was), True),
    ("a replay", change("replayed", lambda was, dice: not was), True),
    ("a time", change("t", lambda was, dice: was + dice.choice([-1, 1]) * dice.uniform(100, 1e6)), True),
    ("a number", change("n", lambda was, dice: was + dice.randint(1, 1000)), True),
    ("a fault, in the file", change("fault", lambda was, dice: "failing: 500 own"), False),
)


def edit_ledger(folder: Path, dice: random.Random) -> str:
    """Change one value, or take out one line, in one of the ledger's copies; say which."""
    spans = sorted((folder / "spans").iterdir())
    span = dice.choice(spans)
    with closing(sqlite3.connect(span / "ledger.db")) as ledger:
        ledger.execute("DROP TRIGGER rows_stay")
        columns_by_table = dict(editable(ledger, is_last=span == spans[-1]))
        table = dice.choices(list(columns_by_table), [WEIGHTS.get(table, 1) for table in columns_by_table])[0]
        columns = columns_by_table[table]
        key = dice.choice(ledger.execute(f"SELECT {KEYS[table]} FROM {table}").fetchall())
        where = " AND ".join(f"{column.strip()} = ?" for column in KEYS[table].split(","))
        if dice.random() < 0.15:
            ledger.execute("PRAGMA foreign_keys = OFF")
            ledger.execute(f"DELETE FROM {table} WHERE {where}", key)
            what = f"{table} {key} is gone"
        else:
            column = dice.choice(columns)
            (was,) = ledger.execute(f"SELECT {column} FROM {table} WHERE {where}", key).fetchone()
            now = other_value(was, column, dice)
            ledger.execute("PRAGMA ignore_check_constraints = ON")
            ledger.execute(f"UPDATE OR REPLACE {table} SET {column} = ? WHERE {where}", (now, *key))
            what = f"{table}.{column} {key}: {was!r} became {now!r}"
        ledger.commit()
    return f"copy {span.name}: {what}"


KEYS = {
    "runs": "number",
    "rows": "id",
    "progress": "id",
    "counts": "run, state",
    "chunks": "run, first_row",
    "sessions": "number",
    "generations": "id, generation",
    "notes": "number",
    "customers": "customer_id, id",
}


def editable(ledger: sqlite3.Connection, *, is_last: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield the tables that hold something, with the columns to edit."""
    for table, columns in COLUMNS.items():
        if ledger.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
            yield table, columns.split() + (LAST_COLUMNS.get(table, "").split() if is_last else [])


def other_value(was: Any, column: str, dice: random.Random) -> Any:
    """Return another value of the same kind; for none, one of the kind that the column has."""
    if was is None:
        return {"body": b"{}", "before": b"{}"}.get(column, 3)
    match was:
        case bytes():
            place = dice.randrange(len(was))
            return was[:place] + bytes([was[place] ^ 1 << dice.randrange(8)]) + was[place + 1 :]
        case int() if column in ("read_back", "recheck", "ambiguous", "final", "requested", "by_itself"):
            return 1 - was
        case int():
            return was + dice.choice([-1, 1]) * dice.randint(1, 5)
        case float():
            return was + dice.choice([-1, 1]) * dice.uniform(100, 1e6)
        case _:
            return other_text(str(was), dice)

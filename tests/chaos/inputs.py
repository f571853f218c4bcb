"""Tier `input`: a value arrives exactly in the body that would be sent, or its row or file is refused; never changed.

Files drawn from a seed, and the nasty ones by name, go through `plan`; what the ledger then holds is read with plain
sqlite3 and compared with what another reader and the documents make of the same bytes.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from bulk_patch.inputs import csv, parquet
from tests.chaos.crew import Findings, Form, keep, make_folder, play_all
from tests.chaos.evidence import Copy, Run, read_ledger
from tests.chaos.input_files import Draft, as_csv, as_parquet, baseline_csv, draw, spoil
from tests.chaos.input_model import (
    ID,
    Cells,
    Expected,
    Settings,
    expect,
    fields_of,
    find_silent_changes,
    is_header_fine,
    is_id,
    merged_cells,
)
from tests.chaos.nasties import NASTIES, Nasty
from tests.support.private import write_private
from tests.support.reference_csv import judge

JOB = "input"


SEALING = frozenset({0, 3, 5})  # a plan was sealed: to be sent, only for people, or stopped by a guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What another reader makes of an input."""

    header: Sequence[str] = ()
    rows: Sequence[Cells] = ()
    fault_line: int = 0  # the file has to be refused for this line; -1: for some line
    refused: bool = False  # the file has to be refused

    @property
    def ids(self) -> list[str | None]:
        """Return the cells of the id column."""
        return [row[list(self.header).index(ID)] for row in self.rows]

    @property
    def has_no_ids(self) -> bool:
        """Tell whether no row of several has an id: a spreadsheet may have mangled them all."""
        return len(self.rows) >= 2 and not any(map(is_id, self.ids))


@dataclass(slots=True)
class Planned:
    """What `plan` did."""

    exit_code: int
    said: str
    copy: Copy | None
    texts: Mapping[str, str] = field(default_factory=dict)  # files for people, by name

    @property
    def is_refused(self) -> bool:
        """Tell whether the input was refused and nothing of it is planned."""
        has_runs = self.copy is not None and bool(self.copy.runs or self.copy.unsealed)
        return self.exit_code == 2 and not has_runs

    @property
    def sealed(self) -> Run | None:
        """Return the one run that was planned, if one was."""
        runs = list(self.copy.runs.values()) if self.copy is not None else []
        return runs[0] if self.exit_code in SEALING and len(runs) == 1 else None


def run(form: Form) -> Findings:
    """Plan every nasty file and as many drawn ones as the form asks for."""
    trials = [f"input/{name}" for name in NASTIES]
    trials += [f"input/{number}" for number in range(form.amount(short=150, long=2000))]
    return play_all(form, "input", trials, play)


def play(form: Form, trial: str) -> Findings:
    """Plan one file, and compare."""
    folder = make_folder()
    name = trial.partition("/")[2]
    problems = _play_nasty(folder, NASTIES[name]) if name in NASTIES else _play_drawn(folder, f"{form.seed}/{trial}")
    return Findings(1, keep(form, trial, folder, problems))


def _play_nasty(folder: Path, nasty: Nasty) -> list[str]:
    path = folder / nasty.file
    nasty.write(path)
    planned = _plan(folder, path, nasty.settings)
    found = []
    if nasty.refused:
        if not planned.is_refused:
            found.append(f"it is not refused: {planned.exit_code} {planned.said}")
        found += [f"{word!r} is not said: {planned.said}" for word in nasty.refused if word not in planned.said]
        return found
    sealed = planned.sealed
    if sealed is None:
        return [f"it is not planned: {planned.exit_code} {planned.said}"]
    became = {row: str(record["state"]) for row, record in sealed.rows.items()}
    if became != nasty.states or sealed.facts["unchanged"] != nasty.unchanged:
        found.append(f"rows became {became} and {sealed.facts['unchanged']} unchanged, not {nasty.states}")
    for row, body in nasty.bodies.items():
        sent = sealed.rows[row]["body"] if row in sealed.rows else None
        if sent is None or json.loads(sent) != body:
            found.append(f"row {row} would send {sent!r}, not {body!r}")
    return found


def _play_drawn(folder: Path, seed: str) -> list[str]:
    dice = random.Random(seed)
    csv.BLOCK_BYTES = dice.choice([13, 101, 4 << 20])  # the files are small: cut them all the same
    parquet.BATCH_ROWS = dice.choice([1, 3, 50_000])
    draft, first_line = draw(dice), ""
    if dice.random() < 0.25:
        path = folder / "input.parquet"
        kept, rows, hopeless = as_parquet(dice, draft, path)
        reading = Reading(header=kept, rows=rows, refused=hopeless)
    else:
        path = folder / "input.csv"
        data = as_csv(dice, draft)
        is_spoiled = dice.random() < 0.35
        data = spoil(dice, data) if is_spoiled else data
        path.write_bytes(data)
        reading = _read(data, draft, is_spoiled=is_spoiled)
        first_line = next(iter(data.decode(errors="replace").splitlines()), "")
    baseline = folder / "baseline.csv"
    if draft.settings.known_fields:
        baseline.write_text(baseline_csv(draft), encoding="utf-8")
    planned = _plan(folder, path, draft.settings, baseline=baseline if baseline.exists() else None)
    return [*_compare(reading, draft.settings, planned), *_leaks(draft, first_line, planned)]


def _read(data: bytes, draft: Draft, *, is_spoiled: bool) -> Reading:
    """Read a CSV file the other way."""
    whole, fault_line = judge(data)
    if fault_line:
        header_end = data.find(b"\n") + 1
        header_is_whole = data[:header_end].removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n") == _first_line(draft)
        # Where the header itself is at fault, that is said first.
        return Reading(fault_line=fault_line if header_is_whole or not is_spoiled else -1)
    if not whole:
        return Reading(refused=True)
    header, rows = whole[0], whole[1:]
    if not is_header_fine(header, draft.settings):
        return Reading(refused=True)
    kept = [at for at, name in enumerate(header) if not name.startswith("_")]
    return Reading(header=[header[at] for at in kept], rows=[[row[at] for at in kept] for row in rows])


def _first_line(draft: Draft) -> bytes:
    return ",".join(draft.header).encode()


def _plan(folder: Path, path: Path, settings: Settings, *, baseline: Path | None = None) -> Planned:
    """Let `plan` do its work in this process: nothing is sent, and no one listens at the address."""
    from bulk_patch import BulkPatchError, load_job, plan_job
    from bulk_patch.observe import start_logging
    from bulk_patch.workflows.options import RunOptions

    job = folder / "job.toml"
    job.write_text(_job_text(path, settings, baseline), encoding="utf-8")
    write_private(folder / "token", "unused-token")
    said = StringIO()
    with redirect_stderr(said), redirect_stdout(said), start_logging(quiet=False, verbose=True):
        try:
            code = plan_job(load_job(job), RunOptions(output=folder / "output")).exit_code or 0
        except BulkPatchError as error:
            said.write(f"error: {error.message}\nhint: {error.hint}\n")
            code = error.exit_code
    out = folder / "output" / JOB
    ledger = out / "ledger.db"
    runs = (file for file in sorted(out.glob("[0-9]*/*")) if file.suffix in (".log", ".json"))
    texts = {file.name: file.read_text(encoding="utf-8") for file in runs}
    return Planned(code, said.getvalue(), read_ledger(ledger) if ledger.exists() else None, texts)


def _job_text(path: Path, settings: Settings, baseline: Path | None) -> str:
    renamed = "\n".join(f"{json.dumps(column)} = {json.dumps(name)}" for column, name in settings.rename.items())
    kind = 'kind = "none"' if baseline is None else f'kind = "file"\npath = "{baseline.name}"'
    return f"""
name = "{JOB}"
[input]
delimiter = "comma"     # what `auto` takes of a spoiled file is another question than how exactly a file is read
skip_rows = 0
path = "{path.name}"
id = "{ID}"
blank = "{settings.blank}"
may_clear = {json.dumps(settings.may_clear)}
duplicates = "{settings.duplicates}"
[input.rename]
{renamed}
[baseline]
{kind}
[target]
kind = "synctera"
base_url = "http://127.0.0.1:9/v0"
token = "file:token"
[guards]
max_invalid = "100%"
"""


def _compare(reading: Reading, settings: Settings, planned: Planned) -> list[str]:
    """Compare what the ledger holds with what the other reader found."""
    sealed = planned.sealed
    if reading.refused or reading.fault_line or reading.has_no_ids:
        if not planned.is_refused:
            return [f"it is not refused, and should be: {planned.exit_code} {planned.said}"]
        said = f"line {reading.fault_line}: "
        is_silent = reading.fault_line > 0 and said not in planned.said
        return [f"{said!r} is not said: {planned.said}"] if is_silent else []
    if sealed is None:
        return [f"it is refused, and should not be: {planned.exit_code} {planned.said}"]
    expected = expect(reading.header, reading.rows, settings)
    return [*_balance(sealed, expected), *_find_wrong_rows(reading, expected, sealed, settings)]


def _balance(sealed: Run, expected: Sequence[Expected]) -> list[str]:
    """Every row is there once, or counted as unchanged."""
    found = []
    states = Counter(str(record["state"]) for record in sealed.rows.values())
    if sealed.facts["input_rows"] != len(expected):
        found.append(f"{sealed.facts['input_rows']} rows, and the file has {len(expected)}")
    if len(sealed.rows) + sealed.facts["unchanged"] != len(expected):
        found.append(f"{len(sealed.rows)} rows and {sealed.facts['unchanged']} unchanged, of {len(expected)}")
    counted = {state: line["rows"] for state, line in sealed.counts.items() if line["rows"] and state != "unchanged"}
    if counted != states:
        found.append(f"{counted} counted, {dict(states)} there")
    return found


def _find_wrong_rows(reading: Reading, expected: Sequence[Expected], sealed: Run, settings: Settings) -> list[str]:
    found = []
    kept = merged_cells(reading.header, reading.rows, settings)
    for row, (cells, its) in enumerate(zip(kept, expected, strict=True), start=1):
        record = sealed.rows.get(row)
        if record is None:
            if "unchanged" not in its.states:
                found.append(f"row {row}: it is unchanged, and should be {' or '.join(sorted(its.states))}")
            continue
        if problem := find_silent_changes(its, str(record["state"]), record["body"]):
            found.append(f"row {row}: {problem}")
        if json.loads(record["cells"]) != list(cells):
            found.append(f"row {row}: its cells are kept as {record['cells']!r}")
        its_id = reading.ids[row - 1] or ""
        if record["customer_id"] != (its_id.lower() if is_id(its_id) else its_id):  # what is no id is shown as read
            found.append(f"row {row}: the customer is {record['customer_id']}")
        if record["state"] == "invalid" and not (record["reason"] or record["planned_reason"]):
            found.append(f"row {row}: invalid without a reason")
    return found


def _leaks(draft: Draft, first_line: str, planned: Planned) -> list[str]:
    """Find values of cells in what is said and written for people; what stands where the columns' names do is none."""
    texts = {"what it said": planned.said, **planned.texts}
    named = " ".join([*draft.header, first_line, *fields_of(draft.header, draft.settings).values()])
    return [
        f"a cell's value is in {where}"
        for where, text in texts.items()
        for marker in draft.markers
        if marker in text and marker not in named
    ]

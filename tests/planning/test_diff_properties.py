"""What pandas decides frame by frame is what a person would decide row by row: for any input, baseline and settings.

The oracle below knows the rules of the interface and nothing of the code.
"""

import csv
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.job.settings import InputSettings, Job
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State
from bulk_patch.planning.changes import Change, build_changes
from bulk_patch.planning.diff import compare, prepare
from tests.support.examples import examples
from tests.support.job_files import count_rows, make_customer, make_job, make_target, plan_offline, write_parquet

TARGET = make_target()
NFC, NFD = (unicodedata.normalize(form, "Renée") for form in ("NFC", "NFD"))
CLEAR = "<CLEAR>"
STREET, FLAT = "legal_address.address_line_1", "legal_address.address_line_2"
ZIP, COUNTRY = "legal_address.postal_code", "legal_address.country_code"
REQUIRED = {STREET, COUNTRY}
#: Field -> cells that may stand in an input or a baseline, several of them the same in another spelling.
POOLS = {
    "last_name": [NFC, NFD, "Lee"],
    "email": ["a@b.co", "c@d.co"],
    STREET: ["1 Main", "2 Side"],
    FLAT: [NFC, NFD],
    ZIP: ["h2x1y4", "H2X 1Y4"],
    COUNTRY: ["CA", "GB"],
    "metadata.tier": ["gold", "7"],
    "metadata.a.b": ["x"],
}
BAD = {"last_name": " ", "email": "nowhere", ZIP: "9", COUNTRY: "ca"}
KNOWN_IDS = [make_customer(number) for number in range(12)]
IDS = [*KNOWN_IDS, KNOWN_IDS[0].upper(), KNOWN_IDS[1].upper(), "17", ""]
# To shrink takes minutes, and a failing case is small as it is.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
Row = Mapping[str, str | None]


@dataclass(frozen=True)
class Case:
    """One input, one baseline, one job."""

    live: bool  # the baseline is the API itself: complete, and who is not there does not exist
    fields: Sequence[str]
    rows: Sequence[tuple[str, Row]]
    known: Sequence[str] | None  # columns of the baseline file; None: there is none
    customers: Mapping[str, Row]
    blank: str
    duplicates: str
    may_clear: Sequence[str]
    renamed: bool
    parquet: bool
    frame_rows: int


@st.composite
def cases(draw: st.DrawFn, *, live: bool = False, repeats: bool = True) -> Case:
    parquet = draw(st.booleans())
    fields = draw(st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=5, unique=True))
    blank = draw(st.sampled_from(["keep", "keep", "clear", "reject"]))
    may_clear = draw(st.lists(st.sampled_from(sorted(POOLS)), min_size=blank == "clear", unique=True))
    ids = draw(st.lists(st.sampled_from(IDS), max_size=9, unique_by=None if repeats else str.lower))
    if len(ids) > 1 and KNOWN_IDS[-1] not in ids:
        ids[0] = KNOWN_IDS[-1]  # a column without any id is another story: the file is refused

    def cell(name: str) -> str | None:
        good = [*POOLS[name], *POOLS[name], *POOLS[name]]
        empty = CLEAR if name in may_clear else None if parquet else ""
        wrong = draw(st.sampled_from([CLEAR, "", BAD.get(name, "")])) if draw(st.integers(0, 19)) == 13 else good[0]
        return draw(st.sampled_from([*good, empty, wrong]))

    def of_the_baseline(name: str) -> str:
        return draw(st.sampled_from([*POOLS[name], *POOLS[name], *POOLS[name], ""]))

    has_baseline = live or draw(st.sampled_from([True, True, True, False]))
    known = [name for name in sorted(POOLS) if draw(st.sampled_from([True, True, True, True, False]))]
    people = [
        customer for customer in KNOWN_IDS if customer in ids and draw(st.sampled_from([True, True, True, False]))
    ]
    return Case(
        live=live,
        fields=fields,
        rows=[(customer, {name: cell(name) for name in fields}) for customer in ids],
        known=known if has_baseline else None,
        customers={customer: {name: of_the_baseline(name) for name in known} for customer in people}
        if has_baseline
        else {},
        blank=blank,
        duplicates=draw(st.sampled_from(["reject", "last"])),
        may_clear=may_clear,
        renamed=draw(st.booleans()),
        parquet=parquet,
        frame_rows=draw(st.integers(1, 5)),
    )


# --- the oracle


class Oracle:
    """Decides one row after the other, as the interface says."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.wanted = {number: self.read(row) for number, (_, row) in enumerate(case.rows, 1)}

    def read(self, row: Row) -> tuple[dict[str, str], bool]:
        """Return what a row asks for ("" clears), and whether a cell is wrong already."""
        wanted: dict[str, str] = {}
        is_bad = False
        for name, cell in row.items():
            if cell is None:
                continue
            text = unicodedata.normalize("NFC", cell)
            if text == CLEAR or (text == "" and self.case.blank == "clear"):
                is_bad |= name not in self.case.may_clear or name in REQUIRED
                wanted[name] = ""
            elif text == "":
                is_bad |= self.case.blank == "reject"
            else:
                is_bad |= not text.strip()
                wanted[name] = text
        return wanted, is_bad

    def decide(self) -> Iterator[tuple[State, Any, Any]]:
        """Yield state, body and before-image of each row."""
        for number, (text, _) in enumerate(self.case.rows, 1):
            same = [n for n, (given, _) in enumerate(self.case.rows, 1) if given.lower() == text.lower()]
            if text.lower() not in KNOWN_IDS:
                yield State.INVALID, None, None
            elif self.case.duplicates == "last":
                yield self.decide_merged(same) if number == same[-1] else (State.DUPLICATE, None, None)
            elif any(self.wanted[n][0] != self.wanted[same[0]][0] for n in same):
                yield State.INVALID, None, None
            elif number == same[0] or self.decide_alone(same[0])[0] is State.INVALID:
                yield self.decide_alone(same[0])
            else:
                yield State.DUPLICATE, None, None

    def decide_merged(self, numbers: Sequence[int]) -> tuple[State, Any, Any]:
        """Decide the last of rows of one id: it overrides field by field what earlier ones say."""
        customer, row = self.case.rows[numbers[-1] - 1]
        cells = dict(row)
        for name in cells:
            for number in numbers:
                cell = self.case.rows[number - 1][1][name]
                if cell is not None and (cell or self.case.blank != "keep"):
                    cells[name] = cell
        return Oracle(replace(self.case, rows=[(customer, cells)], duplicates="reject")).decide_alone(1)

    def decide_alone(self, number: int) -> tuple[State, Any, Any]:
        """Decide a row that stands for all of its id."""
        wanted, is_bad = self.wanted[number]
        there = self.case.customers.get(self.case.rows[number - 1][0].lower())
        if self.case.live and there is None:
            return State.INVALID, None, None
        country = wanted.get(COUNTRY) or (there or {}).get(COUNTRY) or ""
        if is_bad or any(text and not is_valid(name, text, country) for name, text in wanted.items()):
            return State.INVALID, None, None
        changed = [name for name in wanted if self.differs(name, wanted[name], there, country)]
        if not changed:
            return State.UNCHANGED, None, None
        body: dict[str, Any] = {}
        before: dict[str, Any] = {}
        for top in {name.partition(".")[0] for name in changed}:
            parts = {name for name in [*POOLS, *wanted] if name.startswith(f"{top}.")}
            is_known = there is not None and (self.case.live or any(part in there for part in parts or {top}))
            if not parts:
                body[top] = wanted[top]
                if is_known:
                    before[top] = (there or {}).get(top) or None
                continue
            old = {name.partition(".")[2]: text for name in parts if (text := (there or {}).get(name))}
            given = {name.partition(".")[2]: wanted[name] for name in parts if name in wanted}
            whole = {name: text for name, text in {**old, **given}.items() if text}
            if top == "metadata" and not is_known:
                return State.INVALID, None, None
            if top == "legal_address" and not {"address_line_1", "country_code"} <= whole.keys():
                return State.INVALID, None, None
            body[top] = whole
            if is_known:
                before[top] = old or None
        return State.PENDING, body, before or None

    def differs(self, name: str, text: str, there: Row | None, country: str) -> bool:
        """Tell whether a wanted value is another one than the baseline's."""
        if there is None or (name not in there and not self.case.live):
            return True
        old = unicodedata.normalize("NFC", there.get(name) or "")
        if name == ZIP and country == "CA":
            return tight(old) != tight(text)
        return old != text


def is_valid(name: str, text: str, country: str) -> bool:
    if name == ZIP:
        pattern = r"[A-Za-z]\d[A-Za-z] ?\d[A-Za-z]\d" if country == "CA" else "[A-Za-z0-9 ]{2,12}"
        return re.fullmatch(pattern, text) is not None
    return text not in ("nowhere", "ca")


def tight(postal_code: str) -> str:
    return postal_code.replace(" ", "").upper()


# --- frames


def decide_in_pandas(case: Case) -> list[tuple[State, Any, Any]]:
    """Decide a case whose ids do not repeat, in one frame."""
    cells = [{"customer_id": customer, **row} for customer, row in case.rows]
    columns = ["customer_id", *case.fields]
    frame = pd.DataFrame(cells, columns=columns, index=pd.RangeIndex(1, len(cells) + 1), dtype="str")
    wanted = prepare(
        frame,
        id_column="customer_id",
        fields={name: name for name in case.fields},
        settings=InputSettings.model_validate(
            {"path": "in.csv", "id": "customer_id", "blank": case.blank, "may_clear": case.may_clear}
        ),
        target=TARGET,
    )
    snapshot = make_picture(case)
    compared = compare(wanted, snapshot, TARGET)
    decided: dict[int, tuple[State, Any, Any]] = {}
    for built in build_changes(compared, wanted, snapshot, TARGET):
        if isinstance(built, Change):
            before = None if built.before is None else json.loads(built.before)
            decided[built.row] = (State.PENDING, json.loads(built.body), before)
        else:
            decided[built[0]] = (State.INVALID, None, None)
    assert decided.keys().isdisjoint(compared.problems)
    assert compared.unchanged == len(case.rows) - len(decided) - len(compared.problems)
    decided |= dict.fromkeys(compared.problems, (State.INVALID, None, None))
    return [decided.get(row, (State.UNCHANGED, None, None)) for row in frame.index]


def make_picture(case: Case) -> Snapshot | None:
    """Return what the baseline knows: of a live one made from records as the API answers them."""
    if case.known is None:
        return None
    rows: list[Row] = [
        {**(TARGET.evidence.flatten(make_record(row)) if case.live else row), "id": customer}
        for customer, row in case.customers.items()
    ]
    columns = None if case.live and rows else ["id"] if case.live else ["id", *case.known]
    frame = pd.DataFrame([dict(row) for row in rows], columns=columns, dtype="str")
    return Snapshot(frame.set_index("id"), complete=case.live, authoritative=case.live)


def make_record(row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {"kyc_status": "ACCEPTED", "addresses": [], "has_accounts": None}
    for name, text in row.items():
        top, _, part = name.partition(".")
        if text and part:
            record.setdefault(top, {"id": "made by the API"} if top == "legal_address" else {})[part] = text
        elif text:
            record[top] = text
    return record


@settings(max_examples=examples(200), deadline=None, phases=PHASES)
@given(case=cases(repeats=False) | cases(live=True, repeats=False))
def test_any_frame_is_decided_as_a_row_by_row_oracle_would(case: Case) -> None:
    assert decide_in_pandas(case) == list(Oracle(case).decide())


# --- the plan


def write_case(case: Case, folder: Path) -> Job:
    columns = {name: f"col {at}" if case.renamed else name for at, name in enumerate(case.fields)}
    path = folder / ("input.parquet" if case.parquet else "input.csv")
    if case.parquet:
        cells: dict[str, Any] = {columns[name]: [row[name] for _, row in case.rows] for name in case.fields}
        write_parquet(path, {"customer_id": [customer for customer, _ in case.rows], **cells})
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["customer_id", *columns.values()])
            writer.writerows([customer, *row.values()] for customer, row in case.rows)
    settings = [f"input.path={path}", f"input.blank={case.blank}", f"input.duplicates={case.duplicates}"]
    settings.append(f"input.may_clear={json.dumps(list(case.may_clear))}")
    if case.renamed:
        pairs = ", ".join(f"{json.dumps(column)} = {json.dumps(name)}" for name, column in columns.items())
        settings.append(f"input.rename={{{pairs}}}")
    if case.known is not None:
        with (folder / "baseline.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *case.known])
            writer.writerows([customer.upper(), *row.values()] for customer, row in case.customers.items())
        settings += ["baseline.kind=file", f"baseline.path={folder / 'baseline.csv'}"]
    return make_job(folder, *settings)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteLedger]:
    with SqliteLedger.open(tmp_path_factory.mktemp("ledger") / "ledger.db", job="moves") as opened:
        yield opened


numbers = itertools.count()


@settings(max_examples=examples(80), deadline=None, phases=PHASES)
@given(case=cases())
def test_the_plan_of_any_file_is_what_the_oracle_says_wherever_its_frames_end(
    case: Case, ledger: SqliteLedger, tmp_path_factory: pytest.TempPathFactory
) -> None:
    job = write_case(case, tmp_path_factory.mktemp("case"))
    planned = plan_offline(job, ledger, frame_rows=case.frame_rows, run_id=f"20261122-151203-{next(numbers):04x}")
    expected = {
        row: decided for row, decided in enumerate(Oracle(case).decide(), 1) if decided[0] is not State.UNCHANGED
    }
    assert planned.states == {row: state for row, (state, _, _) in expected.items()}
    assert planned.bodies == {row: body for row, (state, body, _) in expected.items() if state is State.PENDING}
    assert planned.befores == {row: was for row, (state, _, was) in expected.items() if state is State.PENDING}
    assert count_rows(planned) == planned.run.input_rows == len(case.rows)
    assert list(planned.rows) == sorted(planned.rows)
    assert not any(b"null" in row.body for row in planned.rows.values() if row.body is not None)

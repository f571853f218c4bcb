"""Rows made together are what they are when made one by one, byte for byte, whatever stands in them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.job.settings import InputSettings
from bulk_patch.planning.changes_in_bulk import build
from bulk_patch.planning.diff import compare, prepare
from tests.planning.test_diff import table
from tests.support.job_files import make_customer, make_target

TARGET = make_target()
STREET, FLAT, COUNTRY, AGENT = (
    f"legal_address.{part}" for part in ("address_line_1", "address_line_2", "country_code", "is_registered_agent")
)
TIER = "metadata.tier"
#: Fields that make sense only together.
BUNDLES = [
    *(("first_name",), ("email",), ("ssn",), ("ban_status", "note"), (STREET, FLAT, COUNTRY), (AGENT,)),
    *((TIER,), ("metadata.\ue000w0\ue000",), ("metadata.50%s",)),
]
CLEARABLE = ("first_name", "email", TIER, FLAT)
#: Texts that mean something in JSON, in a format string, or to the code that puts texts together.
TEXTS = ["Ann", 'a"b\\c', "%s %(x)d %%", "{0}", "\ue000w1\ue000", "\ue000b2\ue000", "Ze\u0301 \u2028", "null", "1"]
POOLS = {
    "email": ["a@b.co", "%s@%d.co"],
    "ssn": ["123-45-6789", "123-45-0001"],
    "ban_status": ["SUSPENDED", "ALLOWED"],
    AGENT: ["true", "false"],
    COUNTRY: ["US", "GB"],
}
Cells = Mapping[str, str | None]


@dataclass(frozen=True)
class Sheet:
    """Rows of few shapes, and what a baseline has of them."""

    rows: Sequence[Cells]
    held: Sequence[Cells] | None  # None: there is no baseline
    is_live: bool  # the baseline has objects as JSON text too
    watch: tuple[str, ...]


@st.composite
def sheets(draw: st.DrawFn) -> Sheet:
    def names() -> list[str]:
        bundles = draw(st.lists(st.sampled_from(BUNDLES), unique=True, min_size=1))
        return [name for bundle in bundles for name in bundle]

    def shapes(columns: list[str], others: Sequence[str | None]) -> list[dict[str, str | None]]:
        kinds = {name: ["x", "x", "x", *others] if name in CLEARABLE else ["x", "x", None] for name in columns}
        drawn = st.fixed_dictionaries({name: st.sampled_from(its) for name, its in kinds.items()})
        return draw(st.lists(drawn, min_size=1, max_size=3))

    def fill(shape: Cells) -> Cells:
        return {
            name: draw(st.sampled_from(POOLS.get(name, TEXTS))) if kind == "x" else kind for name, kind in shape.items()
        }

    wanted, there = shapes(names(), [None, "<CLEAR>"]), shapes(names(), [None, ""])
    rows = [fill(draw(st.sampled_from(wanted))) for _ in range(draw(st.integers(2, 20)))]
    return Sheet(
        rows=rows,
        held=[fill(draw(st.sampled_from(there))) for _ in rows] if draw(st.integers(0, 4)) else None,
        is_live=draw(st.booleans()),
        watch=draw(st.sampled_from([(), ("first_name",), (TIER, "first_name")])),
    )


@settings(max_examples=400, deadline=None)
@given(sheets())
def test_made_together_or_one_by_one_the_result_is_the_same(sheet: Sheet) -> None:
    assert build_all(sheet, many=2) == build_all(sheet, many=len(sheet.rows) + 1)


def test_rows_are_not_alike_when_one_customer_is_unknown_or_a_watched_text_is_empty() -> None:
    texts = [None, "", "Ann"]
    sheet = Sheet(
        rows=[{"email": f"new{number}@b.co"} for number in range(60)],
        held=[{"email": None, "first_name": texts[number % 3]} for number in range(60)],
        is_live=False,
        watch=("first_name",),
    )
    together = build_all(sheet, many=2)
    assert together == build_all(sheet, many=61)
    assert {its.before for its in together} == {
        *(None, b'{"email":null}', b'{"email":null,"first_name":""}', b'{"email":null,"first_name":"Ann"}'),
    }


def build_all(sheet: Sheet, *, many: int) -> list[Any]:
    frame = table([{"id": make_customer(number)} | dict(row) for number, row in enumerate(sheet.rows)])
    wanted = prepare(
        frame,
        id_column="id",
        fields={name: name for name in frame.columns.tolist() if name != "id"},
        settings=InputSettings.model_validate({"path": "in.csv", "id": "id", "may_clear": CLEARABLE}),
        target=TARGET,
    )
    snapshot = make_picture(sheet) if sheet.held is not None else None
    return build(compare(wanted, snapshot, TARGET), wanted, snapshot, TARGET, watch=sheet.watch, many=many)


def make_picture(sheet: Sheet) -> Snapshot:
    """Return what is held, one customer in five left out."""
    rows: list[Cells] = list(sheet.held or ())
    if sheet.is_live:
        rows = [TARGET.evidence.flatten(nest(row)) for row in rows]
    known = [{"id": make_customer(number), **row} for number, row in enumerate(rows) if number % 5]
    return Snapshot(table(known).set_index("id"), complete=sheet.is_live, authoritative=False)


def nest(row: Cells) -> dict[str, Any]:
    """Return cells as the record that an API would show."""
    record: dict[str, Any] = {}
    for name, text in row.items():
        top, _, part = name.partition(".")
        if text and part:
            record.setdefault(top, {})[part] = text == "true" if name == AGENT else text
        elif text:
            record[top] = text
    return record


@pytest.mark.parametrize("rows", [1, 7, 8, 500])
def test_the_rows_keep_their_order_and_their_numbers(rows: int) -> None:
    sheet = [{"email": f"new{row}@b.co", "first_name": "" if row % 3 else "Ann"} for row in range(rows)]
    built = build_all(Sheet(sheet, None, is_live=False, watch=()), many=8)
    assert [its.row for its in built] == list(range(1, rows + 1))
    assert [its.customer_id for its in built] == [make_customer(row) for row in range(rows)]
    assert all(f"new{its.row - 1}@b.co".encode() in its.body for its in built)


def test_a_thousand_rows_alike_are_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def needs(names: Collection[str]) -> str:
        asked.append(names)
        return ""

    monkeypatch.setattr(TARGET, "needs", needs)
    sheet = [{"email": f"new{row}@b.co"} for row in range(1000)]
    assert len(build_all(Sheet(sheet, None, is_live=False, watch=()), many=8)) == 1000
    assert len(asked) == 1

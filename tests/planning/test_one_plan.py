"""A table is one and the same plan, however it is written down."""

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_patch.inputs.source import frames
from bulk_patch.job.settings import Job
from bulk_patch.planning.build import scan_input
from bulk_patch.planning.changes import build_changes, frame_cells
from bulk_patch.planning.diff import compare, prepare
from tests.support.job_files import make_customer, make_job, make_target
from tests.support.workbooks import write_shared

HEADER = ["customer_id", "first_name", "metadata.a", "ZIP"]
DIALECTS = (  # delimiter, end of a line, encoding, lines above the header, quotes everywhere
    (",", "\n", "utf-8", "", False),
    (",", "\r\n", "utf-8-sig", "", True),
    (";", "\r\n", "utf-8", "", False),
    (";", "\n", "utf-8-sig", "Returned mail\n\n", True),
    ("\t", "\n", "utf-8", "", False),
    ("\t", "\r\n", "utf-16", "", True),
    ("|", "\n", "utf-8", "Title | of November\n", False),
    (",", "\n", "utf-16", "Title\n", True),
    (";", "\r\n", "utf-8", "sep=;\r\n", False),
    (",", "\r\n", "utf-32", "", False),
)
cells = st.one_of(
    st.sampled_from(["", "00123", "1E5", "NULL", "#N/A", "=1+1", '"', ";", "|", "a,b", "<CLEAR>", "02139", " ", "é"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff\uffff\ufffe"), max_size=6),
)
tables = st.lists(st.tuples(st.integers(0, 3), cells, cells, cells), min_size=1, max_size=6)


def write(rows: list[list[str]], dialect: tuple[str, str, str, str, bool]) -> bytes:
    delimiter, end, encoding, above, everywhere = dialect

    def cell(text: str) -> str:
        needed = everywhere or any(sign in text for sign in (delimiter, '"', "\n"))
        return '"' + text.replace('"', '""') + '"' if needed else text

    return (above + "".join(delimiter.join(map(cell, row)) + end for row in rows)).encode(encoding)


def seen(job: Job, path: Path) -> Any:
    """Return what the plan of a file says of every row: its cells, what is wrong with it, or what it would send."""
    job = job.model_copy(update={"input": job.input.model_copy(update={"path": path})})
    target = make_target()
    found = scan_input(job, target)
    (frame,) = frames(found)
    wanted = prepare(
        frame,
        id_column=found.id_column,
        fields=found.fields,
        settings=job.input,
        target=target,
        facts=found.facts,
    )
    compared = compare(wanted, None, target)
    changes = list(build_changes(compared, wanted, None, target))
    return found.rows, found.repeated_ids, list(frame_cells(frame)), compared.problems, compared.unchanged, changes


@settings(max_examples=5, deadline=None)
@given(table=tables)
def test_a_table_in_ten_dialects_and_as_a_workbook_is_one_plan(table: list[tuple[int, str, str, str]]) -> None:
    rows = [HEADER, *([make_customer(who), *texts] for who, *texts in table)]
    with TemporaryDirectory() as made:
        folder = Path(made)
        files = []
        for at, dialect in enumerate(DIALECTS):
            file = folder / (f"{at}.csv" if at % 3 else f"{at}.csv.gz")
            data = write(rows, dialect)
            file.write_bytes(data if at % 3 else gzip.compress(data))
            files.append(file)
        files.append(write_shared(folder / "book.xlsx", rows))
        job = make_job(folder, 'input.rename.ZIP="legal_address.postal_code"')
        plans = [seen(job, file) for file in files]
        assert [plan for plan in plans if plan != plans[0]] == []

"""A value arrives exactly as written or the file is refused with a line: judged by a parser that shares no code."""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulk_patch.errors import InputError
from bulk_patch.inputs import csv, parquet
from bulk_patch.inputs.source import Source, frames, scan
from bulk_patch.job.settings import InputSettings
from bulk_patch.targets import IdRule
from tests.support.reference_csv import Rows, judge

ANYTHING = IdRule(re.compile(r".*", re.DOTALL), "text", folds_case=True)


@contextmanager
def folder(block_bytes: int = 1 << 20) -> Iterator[Path]:
    """Give a folder of its own to one example, and let the reader cut files into such blocks."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "BLOCK_BYTES", block_bytes)
        patch.setattr(parquet, "BATCH_ROWS", block_bytes)
        yield Path(name)


def inspect(path: Path, id_column: str = "a") -> Source:
    return scan(InputSettings(path=path, id=id_column), knows=lambda _: True, ids=ANYTHING)


def read(source: Source, portion: int) -> Rows:
    rows: Rows = []
    for frame in frames(source, rows=portion):
        assert list(frame.index) == list(range(len(rows) + 1, len(rows) + len(frame) + 1))
        assert tuple(frame.columns) == source.columns
        rows += frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return rows


# Pieces that meet each other in every way that a file can be right or wrong.
PIECES = [b",", b'"', b"\n", b"\r\n", b"\r", b"x", b"1E5", b" ", b"NA", "é".encode(), b"\xff", b"\0", b"\xef\xbb\xbf"]
MOSTLY_SOUND = [b",", b",", b",", b"\n", b"\r\n", b"x,y\n", b'"x","y"\n', b'"', b'""', b'"\n"', b"x", b"\xef\xbb\xbf"]
bodies = st.one_of(st.lists(st.sampled_from(PIECES)), st.lists(st.sampled_from(MOSTLY_SOUND))).map(b"".join)


@given(
    body=bodies,
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    block_bytes=st.integers(1, 40),
    portion=st.integers(1, 4),
)
@example(body=b'x,"y\n,"x",\n', mark=b"", block_bytes=4, portion=1)
@example(body=b'"x""y","\r\n"\r\n\r\n,', mark=b"", block_bytes=1, portion=2)
def test_any_bytes_are_read_as_the_reference_reads_them_or_refused_with_its_line(
    body: bytes, mark: bytes, block_bytes: int, portion: int
) -> None:
    data = mark + b"a,b\n" + body
    with folder(block_bytes) as place:
        path = place / "input.csv"
        path.write_bytes(data)
        rows, faulty_line = judge(data)
        if faulty_line:
            with pytest.raises(InputError, match=f"line {faulty_line}: "):
                inspect(path)
        else:
            source = inspect(path)
            assert source.rows == len(rows) - 1
            assert read(source, portion) == rows[1:]


texts = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


@st.composite
def written_tables(draw: st.DrawFn) -> tuple[Rows, bytes]:
    """Draw rows, and one of the many correct ways to write them down."""
    width = draw(st.integers(1, 4))
    rows = draw(st.lists(st.lists(texts, min_size=width, max_size=width), max_size=8))
    lines = []
    for row in [list("abcd"[:width]), *rows]:
        cells = []
        for cell in row:
            must_quote = re.search(r'[",\n]', cell) or (width == 1 and not cell)
            quoted = must_quote or draw(st.booleans())
            cells.append('"' + cell.replace('"', '""') + '"' if quoted else cell)
        lines.append(",".join(cells) + draw(st.sampled_from(["\n", "\r\n", "\n\n", "\r\n\n"])))
    text = "".join(lines)
    ended = text.rstrip("\r\n").endswith('"')  # else no line break would mean that the last cell may be cut
    data = (text.rstrip("\r\n") if ended and draw(st.booleans()) else text).encode()
    return [row for row in rows if any(cell.strip(" \t\u00a0") for cell in row)], data


@given(table=written_tables(), block_bytes=st.integers(1, 60), portion=st.integers(1, 5))
def test_whatever_is_written_correctly_comes_back(table: tuple[Rows, bytes], block_bytes: int, portion: int) -> None:
    rows, data = table
    with folder(block_bytes) as place:
        path = place / "input.csv"
        path.write_bytes(data)
        source = inspect(path)
        assert read(source, portion) == rows
        counts = Counter(row[0].lower() for row in rows if row[0])
        assert source.repeated_ids == {one for one, count in counts.items() if count > 1}


@given(
    column=st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12),
    group_rows=st.integers(1, 5),
    batch_rows=st.integers(1, 5),
    portion=st.integers(1, 5),
    as_dictionary=st.booleans(),
)
def test_parquet_text_comes_back_and_null_is_not_the_empty_text(
    column: list[str | None], group_rows: int, batch_rows: int, portion: int, as_dictionary: bool
) -> None:
    with folder(batch_rows) as place:
        path = place / "input.parquet"
        cells = pa.array(column, pa.string())
        ids = [str(at) for at in range(len(column))]
        table = pa.table({"a": ids, "b": cells.dictionary_encode() if as_dictionary else cells})
        pq.write_table(table, path, row_group_size=group_rows)
        assert read(inspect(path), portion) == [list(row) for row in zip(ids, column, strict=True)]


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
@example(at=200, flip=1)  # pyarrow then finds no rows, and says nothing
def test_a_flipped_byte_of_a_parquet_with_checksums_is_refused_or_harmless(at: int, flip: int) -> None:
    rows = [[str(number), f"name {number}"] for number in range(40)]
    with folder() as place:
        path = place / "input.parquet"
        table = pa.table({name: [row[column] for row in rows] for column, name in enumerate("ab")})
        pq.write_table(table, path, write_page_checksum=True, store_schema=False)
        data = bytearray(path.read_bytes())
        at %= len(data)
        data[at] ^= flip
        path.write_bytes(data)
        try:
            found = read(inspect(path), 10)
        except InputError:
            return
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")  # it has no checksum
        assert at >= footer or found == rows

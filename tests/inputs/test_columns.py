import uuid

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulk_patch.inputs.columns import TEXT, arrow_of, hash_ids, is_plain, joined, series_of

IDS = st.one_of(
    st.none(), st.text(max_size=3), st.uuids().map(str), st.text("0123456789abcdef-", min_size=36, max_size=36)
)


def array_of(*texts: str | None) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


@given(st.lists(IDS, max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_an_id_has_one_hash_whatever_stands_beside_it(ids: list[str | None], start: int, length: int) -> None:
    alone = [hash_ids(array_of(one)).item() for one in ids]
    assert hash_ids(array_of(*ids)).tolist() == alone
    assert hash_ids(array_of(*ids).slice(start, length)).tolist() == alone[start : start + length]
    distinct = {one or "" for one in ids}
    assert len(set(alone)) == len(distinct)


def test_ids_that_differ_in_any_place_have_other_hashes() -> None:
    one = str(uuid.UUID(int=0))
    others = {one[:at] + letter + one[at + 1 :] for at in range(36) for letter in "0123456789abcdef-"}
    counted = {f"{number:036x}" for number in range(100_000)} | others
    assert len(set(hash_ids(array_of(*counted)).tolist())) == len(counted)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), True),
        (("", None), True),
        (("Ann", " ~", None), True),
        (("a\tb",), False),
        (("a\x7fb",), False),
        (("René",), False),
        (("zero\u200bwidth",), False),
    ],
)
def test_plain_is_printable_ascii(texts: tuple[str | None, ...], expected: bool) -> None:
    assert is_plain(array_of(*texts)) is expected


def test_of_a_slice_only_its_own_texts_count() -> None:
    texts = array_of("é", "plain", "é")
    assert [is_plain(texts.slice(at, 1)) for at in range(3)] == [False, True, False]


def test_a_column_becomes_arrow_and_back_without_a_copy() -> None:
    texts = array_of("a", None, "")
    column = series_of(texts, pd.RangeIndex(1, 4))
    assert (column.dtype, column.index.tolist(), column.isna().tolist()) == (TEXT, [1, 2, 3], [False, True, False])
    assert arrow_of(column).buffers()[2].address == texts.buffers()[2].address  # type: ignore[union-attr]


def test_what_is_in_pieces_is_joined() -> None:
    pieces = pa.chunked_array([array_of("a"), array_of("b", None)])
    assert joined(pieces).to_pylist() == ["a", "b", None]
    assert arrow_of(pd.concat([pd.Series(["a"], dtype="str"), pd.Series(["b"], dtype="str")])).to_pylist() == ["a", "b"]

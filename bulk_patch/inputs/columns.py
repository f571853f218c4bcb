"""Columns of text: pandas outside, Arrow kernels inside, where pandas would copy or make a string of every cell."""

import json
import secrets
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

TEXT = pd.StringDtype("pyarrow", na_value=np.nan)  # what pandas 3 calls `str`
_COLUMN = json.JSONEncoder(ensure_ascii=False, separators=("\n", ":"))
_UUID_BYTES = 36
_FACTORS = [np.uint64(secrets.randbits(64) | 1) for _ in range(_UUID_BYTES // 4)]
_SHIFT = np.uint64(32)


def arrow_of(values: pd.Series | pd.Index) -> pa.LargeStringArray:
    """Return a column as an Arrow array; a column in one piece is not copied."""
    # Asked of the column itself, pandas looks for Arrow's method among its labels first: a hash table of all of them.
    whole: pa.LargeStringArray = joined(pa.array(values.array, type=pa.large_string(), from_pandas=True))
    return whole


def joined(texts: Any) -> Any:  # the stubs know neither pieces of one type nor kernels that keep it
    """Return Arrow text as one array."""
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def series_of(texts: pa.LargeStringArray, index: pd.Index) -> pd.Series:
    """Return an Arrow array of text as a column; nothing is copied."""
    made: Any = TEXT  # its stub does not have what pandas asks of every type that Arrow's arrays become
    return pd.Series(made.__from_arrow__(texts), index=index)


def texts_of(values: pd.Series) -> list[str]:
    """Return a column of text as a list, missing cells as ""; ten times faster than `tolist`, which makes scalars."""
    return [text or "" for text in arrow_of(values).to_pylist()]


def encode_each(texts: list[str | None]) -> list[str]:
    """Return each text in JSON, in one call: a line feed in a text is escaped, so it can stand between two."""
    return _COLUMN.encode(texts)[1:-1].split("\n") if texts else []


def is_plain(texts: pa.LargeStringArray) -> bool:
    """Tell whether a column is all printable ASCII: most are, and need no closer look."""
    written = _written(texts)
    return not len(written) or bool(written.min() >= 0x20 and written.max() < 0x7F)


def nfc(values: pd.Series) -> pd.Series:
    """Normalise text to NFC, so that é as one code point equals é as two; ASCII is left alone."""
    texts = arrow_of(values)
    if is_plain(texts):
        return values
    other = pd.Series(pc.invert(pc.string_is_ascii(texts)).fill_null(False).to_numpy(False), index=values.index)
    if not other.any():
        return values
    return values.where(~other, values[other].str.normalize("NFC"))


def hash_ids(ids: pa.LargeStringArray) -> NDArray[np.int64]:
    """Hash ids, missing ones as empty ones; the same id has the same hash in this process only."""
    if ids.null_count:
        ids = joined(ids.fill_null(""))
    is_uuid = np.diff(_ends(ids)) == _UUID_BYTES
    if is_uuid.all():
        return _hash_uuids(_written(ids))
    hashes = np.fromiter(map(hash, ids.to_pylist()), np.int64, len(ids))
    if is_uuid.any():
        hashes[is_uuid] = hash_ids(joined(ids.filter(pa.array(is_uuid))))
    return hashes


def _hash_uuids(written: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Hash consecutive texts of 36 bytes with numpy alone, ten times as fast as Python's `hash`."""
    words = written.reshape(-1, _UUID_BYTES // 4, 4).view(np.uint32)[..., 0]
    hashes = np.zeros(len(words), np.uint64)
    for position, factor in enumerate(_FACTORS):  # each step can be undone, so different words stay different
        hashes ^= words[:, position]
        hashes *= factor
        hashes ^= hashes >> _SHIFT
    return hashes.view(np.int64)


def _ends(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Return the offset at which the first text starts in the buffer, and the offset at which each text ends."""
    offsets: Any = texts.buffers()[1]
    if not len(texts):
        return np.zeros(1, np.int64)
    return np.frombuffer(offsets, np.int64, count=len(texts) + 1, offset=texts.offset * 8)


def _written(texts: pa.LargeStringArray) -> NDArray[np.uint8]:
    """Return the bytes of all texts, concatenated."""
    data: Any = texts.buffers()[2]
    ends = _ends(texts)
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if ends[-1] > ends[0] else np.empty(0, np.uint8)

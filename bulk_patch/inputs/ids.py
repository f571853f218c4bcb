"""The ids of an input: that some are usable, and which occur more than once."""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bulk_patch.errors import InputError
from bulk_patch.inputs.columns import arrow_of, hash_ids, series_of
from bulk_patch.inputs.convert import convert_column
from bulk_patch.job.settings import InputSettings
from bulk_patch.targets import IdRule

_NO_ID = hash("")
_MANGLED = re.compile(r"[+-]?\d+([.,]\d*(e[+-]?\d+)?|e[+-]?\d+)")  # an id that a spreadsheet took for a number


Texts = TypeVar("Texts", bound="pa.Array[Any] | pa.ChunkedArray[Any]")


def normalised(texts: Texts, rule: IdRule) -> Texts:
    """Return a column of ids in the spelling by which they are compared and sent; missing ones stay missing."""
    return pc.utf8_lower(texts) if rule.folds_case else texts


def normalised_ids(texts: pa.LargeStringArray, settings: InputSettings, rule: IdRule) -> pa.LargeStringArray:
    """Return the same of a column of an input, converted as the job says."""
    if settings.id in settings.convert:
        texts = arrow_of(ids_of(series_of(texts, pd.RangeIndex(len(texts))), settings, rule))
    return normalised(texts, rule)


def normalised_series(texts: pd.Series, rule: IdRule) -> pd.Series:
    """Return the same of a pandas column; missing ids become ""."""
    ids = texts.fillna("")
    return ids.str.lower() if rule.folds_case else ids


def ids_of(cells: pd.Series, settings: InputSettings, rule: IdRule) -> pd.Series:
    """Return the ids of a column of cells as read: converted as the job says, normalised, missing ones as ""."""
    if (convert := settings.convert.get(settings.id)) is not None:
        cells, _ = convert_column(cells, convert)
    return normalised_series(cells, rule)


def check_ids(
    portions: Iterable[pa.LargeStringArray], settings: InputSettings, rule: IdRule
) -> tuple[int, NDArray[np.int64]]:
    """Count the rows and hash the ids, 8 bytes a row; refuse a column without a single usable id."""
    rows = mangled = padded = 0
    usable = False
    hashes = [np.empty(0, np.int64)]
    for ids in portions:
        rows += len(ids)
        hashes.append(hash_ids(ids))
        if not usable:
            texts = ids.to_pylist()
            usable = any(rule.matches(text or "") for text in texts)
        if not usable:
            padded += sum(1 for text in texts if text and rule.matches(text.strip()))
            mangled += sum(1 for text in texts if _MANGLED.fullmatch(text or ""))
    if rows < 2 or usable:
        return rows, np.concatenate(hashes)
    name = settings.path.name
    if padded:
        raise InputError(
            f"{name}: {padded} of {rows} ids in column {settings.id!r} have blanks around them, and none is usable",
            "export the column without blanks (in a spreadsheet: TRIM)",
        )
    if mangled:
        raise InputError(
            f"{name}: the ids in column {settings.id!r} are spreadsheet-mangled: none of {rows} is usable, "
            f"and {mangled} of them are numbers with a point or an exponent",
            "export the file again with that column as text; what a spreadsheet rounded cannot be recovered",
        )
    raise InputError(
        f"{name}: none of the {rows} rows has a usable id in column {settings.id!r}",
        f"an id must match {rule.pattern.pattern}; check that input.id names the right column",
    )


def find_repeated(hashes: NDArray[np.int64], read_ids: Callable[[], Iterable[pa.LargeStringArray]]) -> frozenset[str]:
    """Return the ids that occur more than once; the file is read again only if two hashes are equal."""
    hashes = hashes[hashes != _NO_ID]
    hashes.sort()
    suspects = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    once: set[str] = set()
    again: set[str] = set()
    for ids in read_ids() if len(suspects) else ():
        for text in ids.filter(pa.array(np.isin(hash_ids(ids), suspects))).to_pylist():
            if text:
                (again if text in once else once).add(text)
    return frozenset(again)

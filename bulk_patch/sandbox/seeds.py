"""Read the customers of a new world from a CSV or Parquet file with dotted columns."""

import csv
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from .fields import ADDRESS_PARTS, ADDRESSES, CLEARABLE, Document
from .rules import time_text
from .world import SandboxError

_BOOLEANS: Mapping[str, bool] = {
    "true": True,
    "1": True,
    "yes": True,
    "false": False,
    "0": False,
    "no": False,
}
_BOOLEAN_FIELDS = frozenset(("kyc_exempt", "has_accounts", "is_customer", "is_user")) | {
    f"{address}.is_registered_agent" for address in ADDRESSES
}
_INTEGER_FIELDS = frozenset(("vendor_info.vendor_data.loanpro.customer_id",))
_TIME_FIELDS = frozenset(("creation_time", "last_updated_time", "kyc_last_run", "customer_active"))
_TEXT_FIELDS = (
    CLEARABLE
    | {"id", "ssn_source", "status", "ban_status", "kyc_status", "tenant", "vendor_info.vendor_type"}
    | {f"{address}.{part}" for address in ADDRESSES for part in ADDRESS_PARTS}
)
_FIELDS = _BOOLEAN_FIELDS | _INTEGER_FIELDS | _TIME_FIELDS | _TEXT_FIELDS
_PLAIN_FIELDS = _TEXT_FIELDS - _BOOLEAN_FIELDS - _INTEGER_FIELDS - _TIME_FIELDS  # text stays as it is
_RENAMED: Mapping[str, str] = {"customer_id": "id", "person_id": "id", "verification_status": "kyc_status"}
_FREE_FIELD = re.compile(r"metadata\.[^.]+")
_CANONICAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ROWS_PER_BATCH = 10_000


def load_customers(path: Path) -> Iterator[Document]:
    """Read customers, one a row. Empty cells are absent; columns that are no customer field are left out.

    Args:
        path: A ``.csv`` or ``.parquet`` file with a column ``id`` or ``customer_id`` and columns such as
            ``legal_address.city`` and ``metadata.tier``.

    Yields:
        Customers as `Sandbox` takes them.

    Raises:
        SandboxError: The file cannot be read, or a row has no UUID or a cell that cannot be what its column
            holds.
    """
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    try:
        header, rows = _parquet_rows(path) if is_parquet else _csv_rows(path)
        places = [_place(column) for column in header]
        columns_checked = False
        for number, cells in enumerate(rows, start=1):
            if not columns_checked:
                _check_columns(path, header)
                columns_checked = True
            try:
                yield _customer(places, cells)
            except ValueError as error:
                raise SandboxError(f"{path}, row {number}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SandboxError(f"the customers in {path} cannot be read: {error}") from error


def _csv_rows(path: Path) -> tuple[list[str], Iterator[Sequence[Any]]]:
    def rows() -> Iterator[Sequence[Any]]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            next(lines, None)
            for cells in lines:
                if cells and len(cells) != len(header):
                    raise SandboxError(f"{path}: a row is wider or narrower than the header")
                if cells:
                    yield cells

    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, strict=True), [])
    return header, rows()


def _parquet_rows(path: Path) -> tuple[list[str], Iterator[Sequence[Any]]]:
    # Imported here, for a sandbox that is seeded from CSV starts without the wait.
    import pyarrow
    import pyarrow.parquet

    def rows() -> Iterator[Sequence[Any]]:
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=_ROWS_PER_BATCH):
                    yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
        except pyarrow.ArrowException as error:
            raise SandboxError(f"the customers in {path} cannot be read: {error}") from error

    try:
        header = pyarrow.parquet.read_schema(path).names
    except pyarrow.ArrowException as error:
        raise SandboxError(f"the customers in {path} cannot be read: {error}") from error
    return header, rows()


def _check_columns(path: Path, header: Sequence[str]) -> None:
    names = [_RENAMED.get(column, column) for column in header]
    if "id" not in names:
        raise SandboxError(f"{path} has no column id or customer_id")
    strangers = [name for name in names if name not in _FIELDS and not _FREE_FIELD.fullmatch(name)]
    if strangers:
        warnings.warn(f"{path}: no customer field, left out: {', '.join(strangers)}", stacklevel=3)


def _place(column: str) -> tuple[str, tuple[str, ...], str] | None:
    """Return the field of a column, the objects that it is in, and its own name; None: it is left out."""
    name = _RENAMED.get(column, column)
    if name not in _FIELDS and not _FREE_FIELD.fullmatch(name):
        return None
    *parents, leaf = name.split(".")
    return name, tuple(parents), leaf


def _customer(places: Sequence[tuple[str, tuple[str, ...], str] | None], cells: Sequence[Any]) -> Document:
    customer: Document = {}
    for where, cell in zip(places, cells, strict=True):
        # NaN, the only value unlike itself, is how a float column says nothing.
        if where is None or cell is None or cell == "" or cell != cell:
            continue
        name, parents, leaf = where
        place = customer
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = cell if type(cell) is str and name in _PLAIN_FIELDS else _value(name, cell)
    customer["id"] = _identity(customer.get("id"))
    return customer


def _value(name: str, cell: Any) -> Any:
    text = cell.isoformat() if hasattr(cell, "isoformat") else str(cell)
    if name in _BOOLEAN_FIELDS:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{name} must be true or false")
        return _BOOLEANS[text.lower()]
    if name in _INTEGER_FIELDS:
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{name} must be a whole number")
        return int(text)
    if name in _TIME_FIELDS:
        return _time(name, text)
    return text


@lru_cache(maxsize=4096)  # many customers have the same
def _time(name: str, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} must be an RFC 3339 time") from None
    return time_text((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _identity(text: Any) -> str:
    if type(text) is str and _CANONICAL.fullmatch(text):  # as nearly all are
        return text
    try:
        return str(UUID(text))
    except (ValueError, TypeError, AttributeError):
        raise ValueError("the id must be a UUID") from None

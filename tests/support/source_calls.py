"""Calls that the tests of the input share: scan a file, expect a refusal, read its cells."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_patch.errors import Exit, InputError
from bulk_patch.inputs.source import Source, frames, scan
from bulk_patch.job.settings import InputSettings
from bulk_patch.targets import IdRule

UUID = IdRule(re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "a UUID", folds_case=True)
ANN = "11111111-aaaa-4aaa-8aaa-111111111111"
BOB = "22222222-bbbb-4bbb-8bbb-222222222222"
KNOWN = ("first_name", "last_name", "legal_address.city", "legal_address.postal_code", "shipping_address.city")
HEADER = "customer_id,first_name,last_name\n"


def knows(field: str) -> bool:
    return field in KNOWN or field.startswith("metadata.")


def inspect(path: Path, *, id_column: str = "customer_id", rename: Mapping[str, str] | None = None) -> Source:
    settings = InputSettings(path=path, id=id_column, rename=dict(rename or {}))
    return scan(settings, knows=knows, ids=UUID, known=KNOWN)


def refuse(path: Path, **settings: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        inspect(path, **settings)
    assert caught.value.exit_code is Exit.USAGE
    return caught.value


def cells(path: Path, **settings: Any) -> list[list[Any]]:
    return [row for frame in frames(inspect(path, **settings)) for row in frame.astype(object).to_numpy().tolist()]


def write_parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table({"customer_id": [ANN, BOB], **columns}), path)
    return path

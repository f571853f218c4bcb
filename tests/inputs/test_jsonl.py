import gzip
import json
from pathlib import Path

import pytest

from bulk_patch.inputs import jsonl
from bulk_patch.inputs.source import frames
from tests.support.source_calls import ANN, BOB, cells, inspect, refuse


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "changes.jsonl"


def test_members_are_cells_and_numbers_keep_their_digits(file: Path) -> None:
    file.write_text(
        f'\ufeff{{"customer_id": "{ANN}", "first_name": 1.50, "metadata.a": 12345678901234567890}}\n\n'
        f'{{"first_name": "é\\u00e9\\n", "customer_id": "{BOB}", "metadata.a": true}}',
        encoding="utf-8",
    )
    assert cells(file) == [[ANN, "1.50", "12345678901234567890"], [BOB, "éé\n", "true"]]


def test_nested_objects_are_dotted_columns_and_what_is_missing_is_missing(file: Path) -> None:
    lines = [
        {"customer_id": ANN, "legal_address": {"city": "Oslo"}},
        {"customer_id": BOB, "first_name": None, "legal_address": {"postal_code": ""}},
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (frame,) = frames(inspect(file))
    assert list(frame.columns) == ["customer_id", "legal_address.city", "first_name", "legal_address.postal_code"]
    assert frame["legal_address.city"].isna().tolist() == [False, True]
    assert frame["first_name"].isna().all()
    assert frame["legal_address.postal_code"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"[1]", "not an object"),
        (b'{"first_name": [1]}', "a list"),
        (b'{"first_name": "a", "first_name": "b"}', "a member occurs twice"),
        (b'{"first_name": {"a": 1, "a": 2}}', "a member occurs twice"),
        (b'{"metadata": {"a": 1}, "metadata.a": 2}', "a member occurs twice"),
        (b'{"first_name": NaN}', "NaN is not JSON"),
        (b'{"first_name": "\\ud800"}', "half a surrogate pair"),
        (b'{"first_name": "M\xfcller"}', "not UTF-8"),
        (b'{"first_name": "Zaphod"', "not JSON, at character 25"),
        (b'{"first_name": "a"} {}', "not JSON"),
        (b'{"a":' * 100_000, "nested too deep"),
    ],
)
def test_a_line_with_two_readings_is_refused_without_its_cells(file: Path, line: bytes, what: str) -> None:
    file.write_bytes(f'{{"customer_id": "{ANN}"}}\n'.encode() + line + b"\n")
    error = refuse(file)
    assert "line 2: " in error.message
    assert what in error.message
    assert "Zaphod" not in error.message + error.hint


def test_a_packed_file_of_many_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "BATCH_ROWS", 7)
    file = tmp_path / "changes.ndjson.gz"
    rows = [{"customer_id": f"{ANN[:-3]}{at:03}", "first_name": str(at)} for at in range(50)]
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert cells(file) == [list(row.values()) for row in rows]
    assert inspect(file).reading == "read as JSON lines, unpacked (gzip)"


def test_an_empty_file_has_no_columns(file: Path) -> None:
    file.write_text("\n\n")
    assert "no header" in refuse(file).message

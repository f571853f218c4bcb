import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_patch.sandbox import Sandbox, SandboxError, load_customers
from tests.support.sandbox_calls import ANN, BEN

HEADER = "customer_id,first_name,legal_address.city,legal_address.is_registered_agent,metadata.tier,has_accounts"


def test_a_csv_with_dotted_columns_becomes_nested_customers(tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(f'\ufeff{HEADER}\r\n{ANN.upper()},"Ann, ""A""",Austin,TRUE,007,no\r\n{BEN},NULL,,,,\r\n', "utf-8")
    assert list(load_customers(file)) == [
        {
            "id": ANN,
            "first_name": 'Ann, "A"',
            "legal_address": {"city": "Austin", "is_registered_agent": True},
            "metadata": {"tier": "007"},
            "has_accounts": False,
        },
        {"id": BEN, "first_name": "NULL"},
    ]


def test_a_parquet_file_may_hold_typed_columns_and_nulls(tmp_path: Path) -> None:
    file = tmp_path / "customers.parquet"
    columns: dict[str, list[Any]] = {
        "id": [ANN, BEN],
        "dob": [datetime.date(1980, 2, 29), None],
        "metadata.score": [7, None],
        "kyc_exempt": [True, None],
        "last_updated_time": [datetime.datetime(2026, 1, 2, 3, 4, 5), None],
        "verification_status": ["REVIEW", ""],
        "email": [None, "ben@example.com"],
        "vendor_info.vendor_data.loanpro.customer_id": ["12", None],
        "vendor_info.vendor_type": ["LOANPRO", None],
    }
    pq.write_table(pa.table(columns), file)
    assert list(load_customers(file)) == [
        {
            "id": ANN,
            "dob": "1980-02-29",
            "metadata": {"score": "7"},
            "kyc_exempt": True,
            "last_updated_time": "2026-01-02T03:04:05.000000Z",
            "kyc_status": "REVIEW",
            "vendor_info": {"vendor_data": {"loanpro": {"customer_id": 12}}, "vendor_type": "LOANPRO"},
        },
        {"id": BEN, "email": "ben@example.com"},
    ]


def test_a_column_that_is_no_customer_field_is_left_out_with_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(f"id,segment\n{ANN},7\n")
    with pytest.warns(UserWarning, match="segment"):
        assert list(load_customers(file)) == [{"id": ANN}]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name\nAnn\n", "no column id"),
        ("id\n12\n", r"row 1: the id must be a UUID"),
        (f"id,email\n{ANN},a@example.com\n,b@example.com\n", r"row 2: the id must be a UUID"),
        (f"id,kyc_exempt\n{ANN},maybe\n", "kyc_exempt must be true or false"),
        (f"id,creation_time\n{ANN},yesterday\n", "creation_time must be"),
        (f"id,email\n{ANN}\n", "narrower"),
        (f"id\n{ANN},x\n", "wider"),
        (f'id,email\n{ANN},"x"y\n', "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_taken_in_is_refused_with_the_reason(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(text)
    with pytest.raises(SandboxError, match=complaint):
        list(load_customers(file))


@pytest.mark.parametrize("name", ["missing.csv", "missing.parquet", "broken.parquet"])
def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(SandboxError, match=name):
        list(load_customers(tmp_path / name))


def test_what_a_seed_does_not_say_is_filled_in_and_dated_in_the_past() -> None:
    with Sandbox([{"id": ANN}, {"id": BEN, "status": "PROSPECT", "kyc_status": "PENDING"}]) as sandbox:
        ann, ben = sandbox.customer(ANN), sandbox.customer(BEN)
    assert (ann["status"], ann["kyc_status"], ann["ban_status"], ann["is_customer"]) == (
        *("ACTIVE", "ACCEPTED", "ALLOWED"),
        True,
    )
    assert (ben["status"], ben["kyc_status"]) == ("PROSPECT", "PENDING")
    week_ago = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=7)).isoformat()
    assert ann["creation_time"] == ann["last_updated_time"] < week_ago

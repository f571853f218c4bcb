"""What desired values are compared with. A file is read strictly, the live customers over real HTTP."""

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from bulk_patch import plugins
from bulk_patch.baselines import Baseline
from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.errors import (
    BulkPatchError,
    CredentialError,
    Exit,
    IncompleteError,
    InputError,
    StoppedError,
)
from bulk_patch.inputs import source
from bulk_patch.inputs.parts import sha256_of
from bulk_patch.job.settings import InputSettings, Job
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.sandbox import Fault, Hook, Seen
from tests.support.job_files import ANN, BEN, CAM, make_job, make_target, write_csv, write_parquet
from tests.support.sending import Bench, faults, make_id, open_bench, page, refusal

# --- none


def ids_of(*ids: str) -> pd.Series:
    return pd.Series(ids, dtype="str")


def test_without_a_baseline_nothing_is_known_and_nothing_is_read(tmp_path: Path) -> None:
    baseline = make_baseline(make_job(tmp_path))
    assert asyncio.run(baseline.snapshot(ids_of(ANN))) is None
    assert (baseline.reads(1_000), baseline.sha256, baseline.taken_at) == (0, "", 0.0)


# --- a file


def make_baseline(job: Job, session: Any = None) -> Baseline:
    """Return the baseline of a job; one that asks no API needs no session."""
    baseline: Baseline = plugins.find("baseline", job.baseline.kind)(job, make_target(), session)
    return baseline


def with_file(folder: Path, path: Path) -> Baseline:
    return make_baseline(make_job(folder, "baseline.kind=file", f"baseline.path={path}"))


def look(baseline: Baseline, folder: Path) -> Snapshot:
    """Return what a baseline knows for an input that has every field."""
    names = make_target().field_names()
    asking = source.scan(
        InputSettings(path=write_csv(folder / "asking.csv", f"customer_id,{','.join(names)}"), id="customer_id"),
        knows=lambda name: True,
        ids=make_target().ids,
    )
    with SqliteLedger.open(folder / "ledger.db", job="asking") as ledger:
        asyncio.run(baseline.expect(asking, rows=10, folder=folder, ledger=ledger))
    snapshot = asyncio.run(baseline.snapshot(ids_of(ANN, BEN)))
    assert snapshot is not None
    return snapshot


def look_up(folder: Path, path: Path) -> dict[str, dict[str, str | None]]:
    """Return what a baseline file knows: customer to its texts."""
    snapshot = look(with_file(folder, path), folder)
    assert (snapshot.complete, snapshot.authoritative) == (False, False)
    columns = snapshot.frame.columns.tolist()
    cells = [[text if isinstance(text, str) else None for text in row] for row in snapshot.frame.to_numpy()]
    return {
        customer: dict(zip(columns, row, strict=True))
        for customer, row in zip(snapshot.frame.index, cells, strict=True)
    }


def refused(folder: Path, path: Path) -> str:
    with pytest.raises(InputError) as caught:
        look_up(folder, path)
    assert caught.value.exit_code is Exit.USAGE
    return f"{caught.value.message} ({caught.value.hint})"


@pytest.mark.parametrize("id_column", ["id", "customer_id"])
def test_the_id_column_is_called_id_or_as_in_the_input(tmp_path: Path, id_column: str) -> None:
    path = write_csv(tmp_path / "all.csv", f"email,{id_column}", f"a@b.co,{ANN.upper()}", f",{BEN}")
    assert look_up(tmp_path, path) == {ANN: {"email": "a@b.co"}, BEN: {"email": ""}}


def test_of_two_columns_that_could_be_the_id_the_one_with_ids_in_it_is(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", "id,customer_id,email", f"1,{ANN},a@b.co", f"2,{BEN},b@b.co")
    assert {customer: row["email"] for customer, row in look_up(tmp_path, path).items()} == {
        ANN: "a@b.co",
        BEN: "b@b.co",
    }
    path = write_csv(tmp_path / "all.csv", "id,customer_id,email", f"{ANN},1,a@b.co", f"{BEN},2,b@b.co")
    assert {customer: row["email"] for customer, row in look_up(tmp_path, path).items()} == {
        ANN: "a@b.co",
        BEN: "b@b.co",
    }


def test_a_file_without_an_id_column_is_refused_with_both_names(tmp_path: Path) -> None:
    words = refused(tmp_path, write_csv(tmp_path / "all.csv", "key,email", f"{ANN},a@b.co"))
    assert "all.csv has no column 'id' or 'customer_id'" in words


def test_what_is_wrong_with_a_file_is_told_of_the_column_that_it_has(tmp_path: Path) -> None:
    ragged = write_csv(tmp_path / "all.csv", "customer_id,email", f"{ANN},a@b.co,more")
    assert "line 2: 3 cells, and the header has 2" in refused(tmp_path, ragged)
    mangled = write_csv(tmp_path / "all.csv", "customer_id,email", "1.5E+30,a@b.co", "2.5E+30,a@b.co")
    assert "baseline file: all.csv: the ids in column 'customer_id' are spreadsheet-mangled" in refused(
        tmp_path, mangled
    )


def test_a_customer_twice_is_refused_also_in_two_spellings(tmp_path: Path) -> None:
    lines = [f"{ANN},a@b.co", f"{ANN.upper()},a@b.co", f"{BEN},b@b.co"]
    assert "1 ids occur more than once" in refused(tmp_path, write_csv(tmp_path / "all.csv", "id,email", *lines))


def test_lines_without_an_id_are_nobody(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", "id,email", ",x@b.co", f"{ANN},a@b.co", ",y@b.co", "17,z@b.co")
    assert look_up(tmp_path, path)[ANN] == {"email": "a@b.co"}
    assert "" not in look_up(tmp_path, path)


def test_a_file_with_a_header_and_no_rows_knows_nobody_and_its_columns(tmp_path: Path) -> None:
    snapshot = look(with_file(tmp_path, write_csv(tmp_path / "all.csv", "id,email")), tmp_path)
    assert (len(snapshot.frame), list(snapshot.frame.columns)) == (0, ["email"])


def test_columns_that_are_no_fields_may_be_called_and_hold_what_they_like(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "all.parquet",
        {
            "id": [ANN, BEN],
            "email": ["a@b.co", None],
            "balance": [1.5, 2.5],
            "creation_time": [dt.datetime(2020, 1, 1), None],
            "accounts": [[1, 2], []],
            "Some Remark": ["x", "y"],
            "_internal": ["x", "y"],
        },
    )
    found = look_up(tmp_path, path)
    assert [found[customer]["email"] for customer in (ANN, BEN)] == ["a@b.co", None]
    assert {"balance", "creation_time", "accounts", "_internal"}.isdisjoint(found[ANN])


def test_a_field_in_a_type_that_has_no_single_spelling_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "all.parquet", {"id": [ANN], "legal_address.postal_code": [2139.0]})
    assert "column 'legal_address.postal_code' is double" in refused(tmp_path, path)


def test_an_object_in_one_cell_is_not_taken_for_its_parts(tmp_path: Path) -> None:
    header = "id,legal_address,metadata,legal_address.city"
    path = write_csv(tmp_path / "all.csv", header, f'{ANN},"{{""city"": ""Waco""}}",not json,Austin')
    assert look_up(tmp_path, path) == {ANN: {"legal_address.city": "Austin"}}


def test_typed_columns_of_parquet_become_text(tmp_path: Path) -> None:
    columns = {"id": [ANN], "dob": [dt.date(1980, 2, 29)], "legal_address.postal_code": pa.array([2139], pa.int32())}
    columns |= {"legal_address.is_registered_agent": [True]}
    path = write_parquet(tmp_path / "all.parquet", columns)
    assert look_up(tmp_path, path)[ANN] == {
        "dob": "1980-02-29",
        "legal_address.postal_code": "2139",
        "legal_address.is_registered_agent": "true",
    }


def test_a_folder_of_parquet_parts_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    for name, customer in (("b", BEN), ("a", ANN)):
        write_parquet(tmp_path / "all" / f"{name}.parquet", {"id": [customer], "email": [f"{name}@b.co"]})
    assert look_up(tmp_path, tmp_path / "all") == {ANN: {"email": "a@b.co"}, BEN: {"email": "b@b.co"}}


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "there is no file" in refused(tmp_path, tmp_path / "gone.csv")


def test_a_file_is_known_by_its_hash_and_its_time(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", "id,email", f"{ANN},a@b.co")
    baseline = with_file(tmp_path, path)
    assert baseline.sha256 == sha256_of(path)
    assert baseline.taken_at == pytest.approx(path.stat().st_mtime, abs=0.01)
    assert baseline.reads(1_000) == 0


# --- the live customers


def live_job(folder: Path) -> Job:
    return make_job(folder, "baseline.kind=live")


def reading(
    folder: Path,
    ids: list[str],
    fault: Hook | None = None,
    *,
    check: Callable[[Bench], None] | None = None,
    **options: Any,
) -> Snapshot:
    """Read customers from a sandbox; whatever happens, nothing is changed there."""

    async def run() -> Snapshot | None:
        async with open_bench(fault, **options) as bench:
            try:
                return await make_baseline(live_job(folder), bench.session).snapshot(ids_of(*ids))
            finally:
                assert bench.seen("PATCH") == []
                if check is not None:
                    check(bench)

    snapshot = asyncio.run(run())
    assert snapshot is not None
    return snapshot


def ids_per_read(bench: Bench) -> list[int]:
    return [line["ids"] for line in bench.seen("GET")]


def test_a_hundred_customers_are_read_at_a_time_and_each_once(tmp_path: Path) -> None:
    ids = [make_id(row) for row in range(1, 251)]

    def check(bench: Bench) -> None:
        assert sorted(ids_per_read(bench)) == [50, 100, 100]

    snapshot = reading(tmp_path, [*ids, *ids[:7], "17", "", "../accounts"], rows=250, check=check)
    assert sorted(snapshot.frame.index) == sorted(ids)
    assert snapshot.frame.loc[make_id(3), "email"] == "old3@example.com"
    assert (snapshot.complete, snapshot.authoritative) == (True, True)


@pytest.mark.parametrize(("customers", "reads"), [(0, 0), (1, 1), (100, 1), (101, 2), (250, 3)])
def test_what_it_will_read_is_foretold(tmp_path: Path, customers: int, reads: int) -> None:
    assert make_baseline(live_job(tmp_path)).reads(customers) == reads


def test_customers_that_the_api_does_not_know_are_left_out(tmp_path: Path) -> None:
    snapshot = reading(tmp_path, [make_id(1), make_id(99)], rows=1)
    assert list(snapshot.frame.index) == [make_id(1)]


def test_nobody_known_at_all_is_a_picture_too(tmp_path: Path) -> None:
    snapshot = reading(tmp_path, [make_id(98), make_id(99)], rows=1)
    assert len(snapshot.frame) == 0
    assert snapshot.authoritative


def test_no_id_no_request(tmp_path: Path) -> None:
    def check(bench: Bench) -> None:
        assert bench.sandbox.requests == []

    assert len(reading(tmp_path, ["17", ""], check=check).frame) == 0


@pytest.mark.parametrize("status", [400, 414, 431])
def test_a_batch_that_the_api_finds_too_long_is_halved_until_it_fits(tmp_path: Path, status: int) -> None:
    ids = [make_id(row) for row in range(1, 151)]

    def check(bench: Bench) -> None:
        counts = ids_per_read(bench)
        assert sum(count for count, line in zip(counts, bench.seen("GET"), strict=True) if line["status"] == 200) == 150
        assert max(counts[2:]) <= 50

    too_long = refusal(status)
    snapshot = reading(tmp_path, ids, faults(reads=[too_long, too_long]), rows=150, check=check)
    assert len(snapshot.frame) == 150


def test_pages_of_a_list_are_followed_to_the_last(tmp_path: Path) -> None:
    first = {"customers": [{"id": make_id(1).upper(), "email": "one@b.co"}], "next_page_token": "00000001"}
    pages = faults(reads=[Fault(status=200, body=json.dumps(first).encode(), content_type="application/json")])
    snapshot = reading(tmp_path, [make_id(1), make_id(2)], pages, rows=2)
    assert snapshot.frame["email"].to_dict() == {make_id(1): "one@b.co", make_id(2): "old2@example.com"}


def test_read_only_parts_are_left_out_and_objects_are_there_whole(tmp_path: Path) -> None:
    home = {"address_line_1": "1 Main St", "country_code": "US"}

    async def run() -> Snapshot | None:
        async with open_bench() as bench:
            bench.sandbox.edit(make_id(1), legal_address=home, metadata={"a.b": 5}, ssn="773-11-1234")
            return await make_baseline(live_job(tmp_path), bench.session).snapshot(ids_of(make_id(1)))

    snapshot = asyncio.run(run())
    assert snapshot is not None
    known = {str(name): str(text) for name, text in snapshot.frame.loc[make_id(1)].items()}
    assert json.loads(known["legal_address"]) == home
    assert json.loads(known["metadata"]) == {"a.b": 5}
    assert (known["metadata.a.b"], known["ssn"]) == ("5", "1234")
    assert known["legal_address.address_line_1"] == "1 Main St"
    assert not any(name.endswith((".id", "address_type")) for name in known)


def always(fault: Fault) -> Hook:
    def hook(seen: Seen) -> Fault | None:
        return fault

    return hook


@pytest.mark.parametrize(
    ("fault", "kind", "told"),
    [
        pytest.param(refusal(404, "RESOURCE_NOT_FOUND"), InputError, "answers 404", id="404 of the API"),
        pytest.param(page(404), InputError, "answers 404", id="404 of a web server"),
        pytest.param(page(200), InputError, "a page that is not the API's", id="a page"),
        pytest.param(page(403), InputError, "a page that is not the API's", id="a firewall"),
        pytest.param(Fault(status=200, body=b"[]"), InputError, "a page that is not the API's", id="JSON of another"),
        pytest.param(refusal(403, "FORBIDDEN"), CredentialError, "FORBIDDEN", id="no permission"),
        pytest.param(refusal(401, "UNAUTHENTICATED"), CredentialError, "HTTP 401", id="401"),
        pytest.param(refusal(400), IncompleteError, "BAD_REQUEST_BODY", id="400 for a single id"),
        pytest.param(page(503), IncompleteError, "HTTP 503", id="down"),
        pytest.param(Fault(wire="reset"), IncompleteError, "no answer (reset)", id="reset"),
        pytest.param(
            Fault(status=429, headers={"Retry-After": "86400"}), IncompleteError, "asks to wait until", id="for a day"
        ),
        pytest.param(Fault(status=302, headers={"Location": "/x"}), StoppedError, "redirected", id="redirect"),
    ],
)
def test_what_cannot_be_read_ends_with_the_error_that_it_is(
    tmp_path: Path, fault: Fault, kind: type[BulkPatchError], told: str
) -> None:
    with pytest.raises(kind) as caught:
        reading(tmp_path, [make_id(1)], always(fault), retry={"attempts": 2})
    assert type(caught.value) is kind
    assert told in caught.value.message
    assert caught.value.hint


def test_a_port_that_nobody_listens_on_is_incomplete_and_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(IncompleteError, match=r"could not be read: unreachable \(refused\)") as caught:
        reading(tmp_path, [make_id(1)], base_url="http://127.0.0.1:1/v0", retry={"attempts": 2})
    assert "nothing was sent" in caught.value.hint


def test_a_session_that_has_stopped_reads_nobody_and_says_so(tmp_path: Path) -> None:
    async def read() -> None:
        async with open_bench() as bench:
            bench.session.stop()
            await make_baseline(live_job(tmp_path), bench.session).snapshot(ids_of(make_id(1)))

    with pytest.raises(IncompleteError, match="reads no more customers") as caught:
        asyncio.run(read())
    assert caught.value.hint


def test_a_wrong_token_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="refuses the token"):
        reading(tmp_path, [make_id(1)], token="cmd:echo wrong")


def test_an_api_that_recovers_is_read_all_the_same(tmp_path: Path) -> None:
    stumbles = faults(reads=[Fault(wire="reset"), Fault(status=500), Fault(status=429), page(502)])
    assert len(reading(tmp_path, [make_id(1)], stumbles).frame) == 1


def test_a_file_of_another_customer_says_nothing_of_this_one(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "all.csv", "id,email", f"{CAM},c@b.co")
    assert ANN not in look_up(tmp_path, path)

"""The job file. Judged by the interface: what is required, what is default, and what is refused with which words."""

from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import Exit, JobError
from bulk_patch.job.load import load_job, output_root
from bulk_patch.job.settings import Job, share_of
from tests.support.job_files import JOB, make_job

SECRET = "sk_live_51HxAbCdEfGh"
REQUIRED = """\
name = "moves"
[input]
path = "input.csv"
id = "customer_id"
[target]
kind = "synctera"
base_url = "https://api.example.com/v0"
token = "env:NOWHERE"
"""


def refused(folder: Path, *settings: str, text: str = JOB) -> str:
    with pytest.raises(JobError) as caught:
        make_job(folder, *settings, text=text)
    assert caught.value.exit_code is Exit.USAGE
    return f"{caught.value.message} ({caught.value.hint})"


def look_up(job: Job, name: str) -> Any:
    found: Any = job
    for part in name.split("."):
        found = getattr(found, part)
    return found


# --- what is required, and what is default


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("description", ""),
        ("input.blank", "keep"),
        ("input.clear", "<CLEAR>"),
        ("input.may_clear", ()),
        ("input.duplicates", "reject"),
        ("input.rename", {}),
        ("baseline.kind", "live"),
        ("baseline.max_age_h", 24),
        ("target.resource", "customers"),
        ("target.proxy", None),
        ("target.ca_file", None),
        ("limits.rate_per_s", 20),
        ("limits.concurrency", 16),
        ("limits.timeout_s", 75),
        ("retry.attempts", 8),
        ("retry.longest_delay_s", 60),
        ("retry.give_up_after_s", 1800),
        ("guards.fields", None),
        ("guards.max_changes", None),
        ("guards.max_invalid", "5%"),
        ("guards.max_failures", "2%"),
        ("guards.canary", 10),
        ("guards.watch", {}),
        ("guards.drift", "auto"),
        ("guards.approval", False),
        ("ledger.kind", "sqlite"),
        ("engine.kind", "local"),
        ("sandbox.customers", None),
    ],
)
def test_what_is_not_said_has_the_default_of_the_interface(tmp_path: Path, name: str, expected: object) -> None:
    assert look_up(make_job(tmp_path, text=REQUIRED), name) == expected


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('name = "moves"', "name"),
        ('path = "input.csv"', "input.path"),
        ('id = "customer_id"', "input.id"),
        ('kind = "synctera"', "target.kind"),
        ('base_url = "https://api.example.com/v0"', "target.base_url"),
        ('token = "env:NOWHERE"', "target.token"),
    ],
)
def test_each_required_setting_is_asked_for_by_its_name(tmp_path: Path, line: str, name: str) -> None:
    assert f"{name} is required" in refused(tmp_path, text=REQUIRED.replace(line, ""))


@pytest.mark.parametrize("table", ["input", "target"])
def test_a_missing_table_is_asked_for_too(tmp_path: Path, table: str) -> None:
    head, *tables = REQUIRED.split("[")
    text = "[".join((head, *(each for each in tables if not each.startswith(table))))
    assert f"{table} is required" in refused(tmp_path, text=text)


def test_the_sample_of_the_interface_is_a_job(tmp_path: Path) -> None:
    text = """
name = "address-corrections"
description = "Returned-mail corrections, November batch"
[input]
path = "../sample_inputs/address_corrections.csv"
id = "customer_id"
blank = "keep"
clear = "<CLEAR>"
may_clear = []
duplicates = "reject"
[input.rename]
"ZIP" = "legal_address.postal_code"
[baseline]
kind = "live"
max_age_h = 24
[target]
kind = "synctera"
base_url = "https://api-sandbox.synctera.com/v0"
resource = "customers"
token = "env:SYNCTERA_API_KEY"
[limits]
rate_per_s = 20
concurrency = 16
timeout_s = 75
[retry]
attempts = 8
longest_delay_s = 60
give_up_after_s = 1800
[guards]
fields = ["legal_address", "shipping_address"]
max_changes = 50000
max_invalid = "5%"
max_failures = "2%"
canary = 10
watch = { kyc_status = ["ACCEPTED"] }
drift = "auto"
approval = false
[ledger]
kind = "sqlite"
[engine]
kind = "local"
[sandbox]
customers = "../sample_inputs/customers.parquet"
"""
    job = make_job(tmp_path, text=text)
    assert job.guards.watch == {"kyc_status": ["ACCEPTED"]}
    assert job.guards.fields == ("legal_address", "shipping_address")
    assert job.input.path == tmp_path.parent / "sample_inputs" / "address_corrections.csv"


# --- paths


def test_paths_are_relative_to_the_job_file_whatever_the_current_directory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "jobs" / "moves.toml").write_text(
        REQUIRED.replace('"input.csv"', '"../in/moves.csv"').replace("[target]", '[target]\nca_file = "ca.pem"')
        + '[baseline]\nkind = "file"\npath = "/all.parquet"\n[sandbox]\ncustomers = "~/world.csv"\n'
    )
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    job = load_job("../jobs/moves.toml")
    assert job.input.path == tmp_path / "in" / "moves.csv"
    assert job.target.ca_file == tmp_path / "jobs" / "ca.pem"
    assert job.baseline.file() == Path("/all.parquet")
    assert job.sandbox.customers == tmp_path / "home" / "world.csv"


@pytest.mark.parametrize(
    ("job_file", "expected"),
    [
        ("work/jobs/moves.toml", "work/output"),
        ("work/moves.toml", "work/output"),
        ("work/jobs/deep/moves.toml", "work/jobs/deep/output"),
        (None, "here/output"),
    ],
)
def test_output_lies_beside_a_folder_called_jobs_or_else_beside_the_job_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job_file: str | None, expected: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    given = None if job_file is None else tmp_path / job_file
    assert output_root(given) == tmp_path / expected


def test_the_output_folder_that_was_given_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert output_root(tmp_path / "jobs" / "moves.toml", given=Path("elsewhere")) == tmp_path / "elsewhere"


# --- files that are no job


def test_a_job_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no job file at .*nowhere\.toml"):
        load_job(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'# a\nname = "caf\xe9"', "not UTF-8: line 2"),
        (b"\xff\xfen\x00a\x00", "is UTF-16"),
        ('name = "j"'.encode("utf-16-be"), "is UTF-16"),
        (b"PK\x03\x04xx", "is a zip or Excel file"),
        (b"customer_id,first_name\n6f1c,x\n", "is a table, not a job file"),
        (b"hello\n", "is text, not a job file"),
        (b'{"name": "j"}', "is JSON"),
        (
            b'name = "a"\n[limits]\nrate_per_s = 5\n\nrate_per_s = 6\n',
            "limits.rate_per_s stands twice, in lines 3 and 5",
        ),
        (b"[limits]\nrate_per_s = 5\n[retry]\n[limits]\n", "[limits] stands twice, in lines 1 and 4"),
        (b"name = j\n", "at name"),
    ],
)
def test_a_job_file_that_is_none_is_called_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "moves.toml").write_bytes(content)
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "moves.toml")
    assert words in caught.value.message
    assert caught.value.hint


def test_a_byte_order_mark_is_no_part_of_a_job_file(tmp_path: Path) -> None:
    (tmp_path / "moves.toml").write_bytes(b"\xef\xbb\xbf" + JOB.replace("\n", "\r\n").encode())
    assert load_job(tmp_path / "moves.toml").name == "moves"


def test_a_folder_is_no_job_file(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is a folder, not a job file"):
        load_job(tmp_path)


def test_bad_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "not valid TOML" in (words := refused(tmp_path, text=REQUIRED + "[limits]\nrate_per_s = twenty\n"))
    assert "line 10" in words


# --- unknown and unbuilt settings


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("limits.rate=5", "limits.rate is not a setting; did you mean rate_per_s?"),
        ("limits.rate_per_sec=5", "did you mean rate_per_s?"),
        ("input.renames={}", "input.renames is not a setting; did you mean rename?"),
        ("gaurds.canary=1", "gaurds is not a setting; did you mean guards?"),
        ("guards.maxchanges=1", "did you mean max_changes?"),
        ("baseline.max_age=1", "did you mean max_age_h?"),
        ("target.baseurl=x", "did you mean base_url?"),
        ("retry.attempt=1", "did you mean attempts?"),
        ("descriptoin=x", "descriptoin is not a setting; did you mean description?"),
        ("sandbox.zzz=1", "sandbox.zzz is not a setting; known here: customers"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path, setting: str, expected: str) -> None:
    assert expected in refused(tmp_path, setting)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    words = refused(tmp_path, "limits.rate=5", "retry.attempts=0", "guards.drift=never")
    assert "limits.rate is not a setting" in words
    assert "retry.attempts must be greater than or equal to 1" in words
    assert "guards.drift must be auto, check or off" in words


@pytest.mark.parametrize("name", ["file", "overrides", "sandbox_token"])
def test_what_the_program_keeps_in_a_job_is_not_a_setting(tmp_path: Path, name: str) -> None:
    assert f"{name} is not a setting" in refused(tmp_path, text=f'{name} = "x"\n{JOB}')


@pytest.mark.parametrize(
    "setting",
    [
        "ledger.url=postgresql://db/ledger",
        "ledger.kind=postgres",
        "engine.kind=dask",
        "target.kind=rest",
    ],
)
def test_what_is_not_built_yet_is_refused_and_never_ignored(tmp_path: Path, setting: str) -> None:
    words = refused(tmp_path, setting)
    assert setting.partition("=")[0] in words
    assert "is not built yet" in words


def test_an_unknown_kind_names_those_there_are(tmp_path: Path) -> None:
    assert "engine.kind 'warp' is not known; use one of: local" in refused(tmp_path, "engine.kind=warp")


# --- values


@pytest.mark.parametrize(
    "setting",
    [
        'limits.rate_per_s="20"',
        "limits.rate_per_s=0",
        "limits.rate_per_s=-1",
        "limits.rate_per_s=inf",
        "limits.rate_per_s=nan",
        "limits.rate_per_s=true",
        "limits.rate_per_s=fast",
        "limits.concurrency=0",
        "limits.concurrency=1001",
        "limits.concurrency=1.5",
        "limits.timeout_s=0",
        "limits.timeout_s=inf",
        "limits.timeout_s=nan",
        "retry.attempts=0",
        "retry.longest_delay_s=0",
        "retry.give_up_after_s=-1",
        "baseline.max_age_h=-1",
        "baseline.max_age_h=nan",
        "input.blank=skip",
        "input.duplicates=first",
        'input.clear=""',
        "input.may_clear=email",
        "input.rename=[]",
        'input.rename={"ZIP"=7}',
        "input=5",
        "guards.max_changes=-1",
        "guards.max_changes=5%",
        "guards.max_invalid=5.5",
        "guards.max_invalid=-1",
        "guards.max_invalid=true",
        'guards.max_invalid="5 %"',
        'guards.max_invalid="%"',
        'guards.max_failures="-2%"',
        "guards.canary=-1",
        "guards.drift=never",
        "guards.watch={kyc_status=[]}",
        'guards.watch={kyc_status="ACCEPTED"}',
        "guards.fields=email",
        'name="Moves"',
        'name="a_b"',
        'name="../up"',
        'name=""',
        'name="-a"',
        "name=7",
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_name(tmp_path: Path, setting: str) -> None:
    assert setting.partition("=")[0] in refused(tmp_path, setting)


@pytest.mark.parametrize(
    ("setting", "name", "expected"),
    [
        ("limits.rate_per_s=0.5", "limits.rate_per_s", 0.5),
        ("limits.rate_per_s=unlimited", "limits.rate_per_s", "unlimited"),
        ("limits.timeout_s=1", "limits.timeout_s", 1.0),
        ("baseline.max_age_h=0", "baseline.max_age_h", 0),
        ("retry.give_up_after_s=0", "retry.give_up_after_s", 0),
        ("guards.max_changes=0", "guards.max_changes", 0),
        ("guards.max_invalid=0", "guards.max_invalid", 0),
        ('guards.max_invalid="7.5%"', "guards.max_invalid", "7.5%"),
        ('guards.max_failures="100%"', "guards.max_failures", "100%"),
        ("guards.canary=0", "guards.canary", 0),
        ("guards.fields=[]", "guards.fields", ()),
        ('name="a"', "name", "a"),
        ('name="2026-moves"', "name", "2026-moves"),
    ],
)
def test_a_value_at_the_edge_is_taken(tmp_path: Path, setting: str, name: str, expected: object) -> None:
    assert look_up(make_job(tmp_path, setting), name) == expected


@pytest.mark.parametrize(
    ("limit", "total", "rows"), [(7, 100, 7), ("7", 100, 7), ("5%", 200, 10), ("0.5%", 1000, 5), ("100%", 500, 500)]
)
def test_a_limit_is_a_number_of_rows_or_a_share_of_them(limit: int | str, total: int, rows: float) -> None:
    assert share_of(limit, total) == rows


def test_a_baseline_file_and_its_kind_go_together(tmp_path: Path) -> None:
    assert "baseline.path is required" in refused(tmp_path, 'baseline={kind="file"}')
    assert 'baseline.path goes with kind = "file"' in refused(tmp_path, 'baseline={kind="live", path="/all.csv"}')
    assert make_job(tmp_path, "baseline.kind=file", "baseline.path=/all.csv").baseline.file() == Path("/all.csv")


def test_blank_cells_may_clear_only_where_fields_are_named(tmp_path: Path) -> None:
    assert "may_clear" in refused(tmp_path, "input.blank=clear")
    assert make_job(tmp_path, "input.blank=clear", 'input.may_clear=["email"]').input.blank == "clear"


def test_a_drift_check_needs_a_baseline_to_compare_with(tmp_path: Path) -> None:
    assert "guards.drift" in refused(tmp_path, "guards.drift=check")
    assert make_job(tmp_path, "guards.drift=check", "baseline.kind=live").guards.drift == "check"

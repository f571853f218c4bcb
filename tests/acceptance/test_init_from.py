"""`init --from FILE`: a commented job for a file that somebody has, which runs once a person has read it."""

import tomllib
from pathlib import Path

import pytest

from bulk_patch.job.load import load_job
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import id_of, people, write_rows
from tests.support.workbooks import write_xlsx

ROWS = [{"Customer ID": id_of(number), "E-mail": f"new{number}@example.org", "Remarks": "moved"} for number in (1, 2)]


def flat(rows: list[dict[str, object]]) -> list[dict[str, str]]:
    return [{key: str(value) for key, value in row.items() if key != "legal_address"} for row in rows]


def written(office: Workspace, name: str) -> dict[str, dict[str, object]]:
    path = office.root / "jobs" / f"{name}.toml"
    assert load_job(path).name == name
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_a_file_gets_a_job_that_checks_and_runs(office: Workspace) -> None:
    write_rows(office.root / "Returned Mail.csv", ROWS)
    write_rows(office.root / "world.csv", flat(people(3)))
    ended = office.run("init", "--from", "Returned Mail.csv", "--approval", "--sandbox", "world.csv")
    assert ended.code == 0, ended.err
    job = written(office, "returned-mail")
    assert job["input"]["id"] == "Customer ID"
    assert job["input"]["rename"] == {"E-mail": "email", "Remarks": ""}
    assert job["guards"]["fields"] == ["email"]
    assert (job["guards"]["max_changes"], job["guards"]["approval"]) == (2, True)
    assert (office.root / "jobs" / "job.schema.json").is_file()
    assert "'Remarks' is ignored" in ended.out
    (next_line,) = [line for line in ended.out.splitlines() if line.startswith("next: ")]
    assert next_line == "next: bulk-patch check jobs/returned-mail.toml"
    assert office.run("check", "jobs/returned-mail.toml", "--offline").code == 0
    planned = office.run("plan", "jobs/returned-mail.toml", "--sandbox")
    assert planned.code == 0, planned.err


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"Id;Email\n{id};a@example.org\n", "semicolons"),
        (b"Returned mail\n\nId,Email\n{id},a@example.org\n", "title line"),
        ("Id;First name\n{id};Jürgen\n".encode("cp1252"), "windows-1252"),
        ("Ref\tEmail\n{id}\ta@example.org\n".encode("utf-16"), "tabs"),
    ],
    ids=["semicolons", "title", "8 bit", "UTF-16"],
)
def test_how_the_file_is_written_is_told_and_the_job_reads_it(office: Workspace, data: bytes, read: str) -> None:
    encoding = "utf-16" if data[:2] == b"\xff\xfe" else "cp1252"
    text = data.decode(encoding).replace("{id}", id_of(1))
    (office.root / "mail.csv").write_bytes(text.encode(encoding))
    ended = office.run("init", "--from", "mail.csv")
    assert ended.code == 0, ended.err
    assert read in ended.out
    assert ("encoding" in written(office, "mail")["input"]) == (read == "windows-1252")
    checked = office.run("check", "jobs/mail.toml", "--offline")
    assert checked.code == 0, checked.out


@pytest.mark.parametrize(
    "header", ["Customer ID,,E-mail,", "Customer ID,Remarks,E-mail,Remarks"], ids=["without a name", "repeated"]
)
def test_columns_that_no_name_tells_apart_are_left_alone(office: Workspace, header: str) -> None:
    (office.root / "mail.csv").write_text(f"{header}\n{id_of(1)},,new1@example.org,\n", encoding="utf-8")
    ended = office.run("init", "--from", "mail.csv")
    assert ended.code == 0, ended.err
    assert written(office, "mail")["input"]["rename"] == {"E-mail": "email"}


def test_the_header_of_a_workbook_is_found_below_its_title(office: Workspace) -> None:
    rows = [["Returned mail"], [], ["Customer ID", "E-mail", "Born"], [id_of(1), "new1@example.org", "11/30/1968"]]
    write_xlsx(office.root / "mail.xlsx", rows)
    ended = office.run("init", "--from", "mail.xlsx")
    assert ended.code == 0, ended.err
    assert "1 title row skipped" in ended.out
    job = written(office, "mail")["input"]
    assert (job["id"], job["rename"]) == ("Customer ID", {"E-mail": "email", "Born": "dob"})
    assert job["convert"] == {"Born": "date:M/D/YYYY"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "nowhere.csv"), "no file at nowhere.csv"),
        (("--from", "no_ids.csv"), "no column holds ids"),
        (("--from", "empty.csv"), "header"),
        (("--from", "mail.csv", "--sandbox", "nowhere.csv"), "no file at nowhere.csv"),
        (("--approval",), "--from"),
    ],
)
def test_what_cannot_be_drafted_is_refused_and_nothing_is_written(
    office: Workspace, words: tuple[str, ...], said: str
) -> None:
    write_rows(office.root / "no_ids.csv", [{"customer_id": "17", "email": "a@example.org"}])
    write_rows(office.root / "mail.csv", ROWS)
    (office.root / "empty.csv").write_bytes(b"")
    before = set(office.root.rglob("*"))
    ended = office.run("init", *words)
    assert ended.code == 2
    assert said in ended.err
    assert set(office.root.rglob("*")) == before


def test_a_job_that_exists_is_left_alone(office: Workspace) -> None:
    write_rows(office.root / "mail.csv", ROWS)
    path: Path = office.root / "jobs" / "mail.toml"
    path.parent.mkdir()
    path.write_text("mine", encoding="utf-8")
    assert office.run("init", "--from", "mail.csv").code == 2
    assert path.read_text(encoding="utf-8") == "mine"

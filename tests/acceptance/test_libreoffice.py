"""Workbooks that LibreOffice has saved: the list that comes in, and failures.xlsx on its way back."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from openpyxl import load_workbook

from tests.acceptance.commands import Workspace

JOB, NAME = "jobs/returned-mail.toml", "returned-mail"
SAMPLE = Path("sample_inputs/returned_mail.xlsx")
CORRECTED = "2/28/2003"
#: Comma, quotation mark, UTF-8, from line 1, cells as they are shown.
CSV_UTF_8 = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true"
PATIENCE_S = 120

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(PATIENCE_S * 3)]


@pytest.fixture(scope="module")
def soffice() -> str:
    """Return the program; without it the tests are skipped, or fail where every service has to be there."""
    found = shutil.which("soffice")
    if found is None:
        if os.environ.get("BULK_PATCH_REQUIRE_SERVICES") == "1":
            pytest.fail("LibreOffice is not installed: apt-get install libreoffice-calc")
        pytest.skip("LibreOffice is not installed")
    return found


def save_again(soffice: str, path: Path, folder: Path, kind: str) -> Path:
    """Open a file in LibreOffice and save it in another folder.

    Args:
        soffice: The program.
        path: The file.
        folder: Where to.
        kind: `xlsx`, or a filter for CSV.
    """
    folder.mkdir(exist_ok=True)
    profile = f"-env:UserInstallation={(folder / 'profile').absolute().as_uri()}"
    command = [soffice, profile, "--headless", "--convert-to", kind, "--outdir", str(folder), str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
    return folder / f"{path.stem}.{kind.partition(':')[0]}"


def cells_of(path: Path) -> list[list[str]]:
    """Return the text cells of a workbook's only sheet."""
    sheet = load_workbook(path).active
    assert sheet is not None
    return [["" if cell is None else str(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]


def send(place: Workspace, *more: str) -> int:
    """Plan, approve by another and send; return the exit code."""
    assert place.run("plan", JOB, "--sandbox", "--operator", "Robin", *more).code == 0
    assert place.run("approve", newest(place), "--operator", "Alex").code == 0
    return place.run("run", JOB, "--sandbox", "--operator", "Robin", *more).code


def newest(place: Workspace) -> str:
    return str(place.runs(NAME)[-1]["id"])


def results_of(place: Workspace) -> list[list[str]]:
    """Return row, status and fields of results.csv of the newest run."""
    with (place.job_folder(NAME) / newest(place) / "results.csv").open(encoding="utf-8", newline="") as file:
        return [[line["row"], line["status"], line["fields"]] for line in csv.DictReader(file)]


def test_a_list_from_libreoffice_and_its_failures_go_round_without_losing_a_zero(
    workspace: Workspace, soffice: str, tmp_path: Path
) -> None:
    sample = workspace.root / SAMPLE
    init = ("init", "--from", str(SAMPLE), "--approval", "--sandbox", "sample_inputs/customers.parquet")
    assert workspace.run(*init).code == 0
    planned = {}
    for kind in ("as it is", "saved again"):
        if kind == "saved again":
            shutil.copy(save_again(soffice, sample, tmp_path / "saved", "xlsx"), sample)
        assert workspace.run("plan", JOB, "--sandbox", "--operator", "Robin").code == 0
        planned[kind] = results_of(workspace)
    assert planned["as it is"] == planned["saved again"]

    assert send(workspace) == 3
    failures = workspace.job_folder(NAME) / newest(workspace) / "failures.xlsx"
    # A ZIP code that begins with a zero, beside the date that no calendar has.
    book = load_workbook(failures)
    sheet = book.active
    assert sheet is not None
    places = {str(cell.value): at for at, cell in enumerate(sheet[1], 1)}
    for column, text in (("ZIP", "02139"), ("Born", CORRECTED)):
        cell = sheet.cell(2, places[column])
        cell.value = text
        assert cell.number_format == "@"
    book.save(failures)
    corrected = save_again(soffice, failures, tmp_path / "corrected", "xlsx")
    assert cells_of(corrected) == cells_of(failures)
    as_csv = save_again(soffice, failures, tmp_path / "as_csv", CSV_UTF_8)

    plans = []
    for path in (failures, corrected, as_csv):
        assert workspace.run("plan", JOB, "--sandbox", "--operator", "Robin", "--set", f"input.path={path}").code == 0
        plans.append(results_of(workspace))
    assert plans[0] == plans[1] == plans[2]
    assert send(workspace, "--set", f"input.path={corrected}") == 0
    shown = workspace.run("show", newest(workspace), "--reveal", "--operator", "Alex").out
    assert "2003-02-28" in shown
    assert "02139" in shown

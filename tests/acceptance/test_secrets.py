"""No value of any customer and no token where people, cron mails and log collectors look."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Hook, Seen, random_faults
from tests.acceptance.commands import Ended, Workspace
from tests.acceptance.small_job import FILE, NAME, aimed_at, id_of, write_job, write_rows

SECRET = "tok-zq7secret0token"
ROWS = 45
BAD = {"phone_number": "(zqbad) 555", "dob": "31.12.1980", "email": "zqbadmail", "ssn": "773-1-zq"}


def cells_of(row: int, *, mark: str) -> dict[str, str]:
    """Return cells that are valid, and each of which can be recognised."""
    return {
        "first_name": f"zq{mark}first{row}",
        "middle_name": f"zq{mark}middle{row}",
        "last_name": f"zq{mark}last{row}",
        "email": f"zq{mark}mail{row}@zqhost{mark}{row}.example",
        "phone_number": f"+1206555{7000 + row if mark == 'new' else 8000 + row}",
        "dob": f"19{40 + row % 50}-0{1 if mark == 'new' else 2}-{row % 28 + 1:02}",
        "ssn": f"77{3 if mark == 'new' else 4}-{row % 98 + 1:02}-{4000 + row}",
        "legal_address.address_line_1": f"{row} Zq{mark}street",
        "legal_address.city": f"Zq{mark}town{row}",
        "legal_address.state": "TX",
        "legal_address.postal_code": f"{70000 + row if mark == 'new' else 60000 + row}",
        "legal_address.country_code": "US",
        "metadata.hint": f"zq{mark}meta{row}",
    }


def customer(row: int) -> dict[str, Any]:
    """Return a customer whose every value is another one than the input's."""
    document: dict[str, Any] = {"id": id_of(row), "status": "ACTIVE"}
    for name, text in cells_of(row, mark="old").items():
        place = document
        *path, last = name.split(".")
        for step in path:
            place = place.setdefault(step, {})
        place[last] = text
    return document


def inputs() -> list[dict[str, str]]:
    """Return the input: most rows valid, some with a value that breaks its field's rule."""
    rows = [{"customer_id": id_of(row), **cells_of(row, mark="new")} for row in range(1, ROWS + 1)]
    for row, (name, text) in zip(rows[-len(BAD) :], BAD.items(), strict=True):
        row[name] = text
    return rows


def values() -> set[str]:
    """Return the values of all customers, before and after; codes that everybody has are left out."""
    rows = [cells_of(row, mark=mark) for row in range(1, ROWS + 1) for mark in ("new", "old")]
    return {text for row in rows for text in row.values()} - {"TX", "US"}


def markers() -> set[str]:
    """Return every text that must not be seen."""
    ssns = {text.replace("-", "") for text in values() if re.fullmatch(r"\d{3}-\d\d-\d{4}", text)}
    return values() | ssns | set(BAD.values()) | {SECRET}


def as_a_word(marker: str) -> str:
    """Return a pattern: a part of a longer number, such as a hash, is not what is looked for."""
    return rf"(?<![\w-]){re.escape(marker)}(?![\w-])"


def find_markers(text: str) -> set[str]:
    """Return the markers that stand in a text."""
    # A plain look first: a pattern for each marker would be compiled again for each text.
    return {marker for marker in markers() if marker in text and re.search(as_a_word(marker), text)}


def find_leaks(text: str) -> set[str]:
    """Return the markers that stand in a text, and whatever begins with `zq`, in any case."""
    return find_markers(text) | set(re.findall(r"(?i)zq\w*", text))


def everything_wrong() -> Hook:
    """Spoil requests in all ways; the API's own refusals quote the values that they refuse."""
    at_random = random_faults("500=0.08,503-after=0.05,429=0.02,reset=0.05,drop=0.05,timeout=0.02,408=0.03,499=0.03", 7)

    def hook(seen: Seen) -> Fault | None:
        row = int(seen.customer_id[-4:], 16) if seen.customer_id is not None and seen.method == "PATCH" else -1
        if row % 7 == 0:
            quoted = seen.body.decode()
            body = {"code": "BAD_REQUEST_BODY", "detail": f"zqapi {quoted}", "invalid": {"email": quoted}}
            return Fault(status=400, body=json.dumps(body).encode(), content_type="application/problem+json")
        if row in (10, 30) and seen.attempt == 1:
            return Fault(status=400, body=b"<html>zqapi</html>", content_type="text/html")
        return at_random(seen)

    return hook


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, list[Ended]]]:
    """Send everything through an API at which everything goes wrong, three times, as loudly as possible."""
    place = Workspace(tmp_path_factory.mktemp("secrets"), token=SECRET)
    with Sandbox([customer(row) for row in range(1, ROWS + 1)], token=SECRET, fault=everything_wrong()) as api:
        write_job(place, inputs())
        flags = (*aimed_at(api), "-v", "--set", "limits.timeout_s=1", "--set", "retry.attempts=3")
        ended = [
            place.run("run", FILE, *flags, "--log-format", "json"),
            place.run("run", FILE, *flags),
            place.run("retry", place.runs(NAME)[-1]["id"], *flags),
        ]
        yield place, ended


def test_what_goes_wrong_does_go_wrong(spoilt: tuple[Workspace, list[Ended]]) -> None:
    place, ended = spoilt
    counts = place.summary(NAME)["counts"]
    assert counts["applied"] > 20
    assert counts["rejected"] > 3
    assert counts["invalid"] == len(BAD)
    assert all(one.code in (3, 4, 5) for one in ended)
    assert place.summary(NAME)["timings"]["requests"] > ROWS + 20


def test_stderr_shows_no_value_and_no_token(spoilt: tuple[Workspace, list[Ended]]) -> None:
    _, ended = spoilt
    for one in ended:
        assert len(one.err.splitlines()) > 3
        assert find_leaks(one.err) == set()


def test_screens_mask_every_value(spoilt: tuple[Workspace, list[Ended]]) -> None:
    place, ended = spoilt
    shown = "".join([*(one.out for one in ended), place.run("show", place.runs(NAME)[0]["id"]).out])
    assert "•••" in shown
    # A domain of an e-mail address, a year, a letter, a code and the last digits may be seen; a whole value may not.
    assert find_markers(shown) == set()
    assert "zqapi" not in shown


@pytest.mark.parametrize("name", ["run.log", "summary.json", "results.csv"])
def test_the_files_of_a_run_that_are_passed_around_hold_no_value_and_no_token(
    spoilt: tuple[Workspace, list[Ended]], name: str
) -> None:
    place, _ = spoilt
    paths = list(place.job_folder(NAME).glob(f"*/{name}"))
    assert paths
    for path in paths:
        assert find_leaks(path.read_text(encoding="utf-8")) == set()


def test_no_file_at_all_holds_the_token(spoilt: tuple[Workspace, list[Ended]]) -> None:
    place, _ = spoilt
    files = [path for path in place.root.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_refused_input_is_described_without_its_values(tmp_path: Any) -> None:
    place = Workspace(tmp_path, token=SECRET)
    write_job(place, inputs())
    path = place.root / "sample_inputs" / "small.csv"
    text = path.read_text(encoding="utf-8")
    for spoiled in (
        text.replace("zqnewfirst3,", "zqnewfirst3,zqextra,"),
        text.replace("zqnewfirst3", '"zqnewfirst3'),
        text.partition("\n")[2],  # no header
        text.replace("customer_id,", "", 1),
    ):
        path.write_text(spoiled, encoding="utf-8")
        ended = place.run("plan", FILE, "-v")
        assert ended.code == 2
        assert find_leaks(ended.err + ended.out) == set()


def test_a_baseline_file_that_is_refused_is_described_without_its_values(tmp_path: Any) -> None:
    place = Workspace(tmp_path, token=SECRET)
    write_job(place, inputs())
    export = place.root / "sample_inputs" / "export.csv"
    write_rows(export, [{"id": id_of(row), **cells_of(row, mark="old")} for row in range(1, 5)])
    export.write_text(export.read_text(encoding="utf-8").replace("zqoldfirst2", 'zqoldfirst2"zq"'), encoding="utf-8")
    flags = ("--set", "baseline.kind=file", "--set", f"baseline.path={export}")
    ended = place.run("plan", FILE, *flags, "-v", "--log-format", "json")
    assert ended.code == 2
    assert find_leaks(ended.err + ended.out) == set()

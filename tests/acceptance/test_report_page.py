"""report.html as people meet it: in a real Chromium, wide and on a phone, in the dark, on paper, by keyboard."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bulk_patch.reports.html.rows import visible
from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace, wait_until
from tests.acceptance.small_job import (
    FILE,
    NAME,
    TOKEN,
    aimed_at,
    id_of,
    new_emails,
    patches,
    people,
    planned_at,
    write_job,
)
from tests.support.browser import chromium, need_chromium, opened
from tests.support.page_samples import REFUSED, ROWS, write_evening, write_plan

if TYPE_CHECKING:  # the tests with the marker `browser` need it, the others do not
    from playwright.sync_api import Browser, Page

REPORT = "report.html"
REVEALED = "report-revealed.html"
ROW_TEXTS = "rows => rows.map(row => row.textContent)"

_MARKUP = (
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg onload=window.hacked=1>",
    "<!--",
    "--><b>",
    "<!--<script>",
    "]]>",
    '"><iframe src=javascript:window.hacked=1>',
    "' onmouseover='window.hacked=1",
    "javascript:window.hacked=1",
    "<style>*{display:none}</style>",
    "<base href=//example.com>",
    "<meta http-equiv=refresh content=0;url=//example.com>",
    "&lt;b&gt; &amp;amp; &#60;",
    "{{ 7 * 7 }}{% raw %}",
    "${7*7}`${1}`",
    "\\u003cscript\\u003e",
    "</title></textarea></style>",
    "<a href=//example.com>x</a>",
)
_FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", '=HYPERLINK("http://example.com")', "%00", "'=1")
_BAD_CHARACTERS = tuple(
    f"a{chr(code)}b"
    for code in (
        *(*range(0x20), 0x7F, 0x85, 0xAD, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2028, 0x2029),
        *(*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF),
    )
    if code not in (0x00, 0x0D)  # a NUL or a lone CR is refused with its file
)
_LETTERS = (
    *("é", "שלום", "مرحبا", "名前", "🙂", "ﬁ", "𝔘", "İ", "ß", "Ⅷ", "O’Neil", "d'Arc", 'An "Example"', "a\\b", "a;b,c"),
    *("null", "undefined", "NaN", "None", "true", "0", "__proto__", "constructor", "toString", "%s%n"),
)
_JOINERS = frozenset("\u200c\u200d")  # names may hold them; the page names them all the same
HOSTILE = (*_MARKUP, *_FORMULAS, *_BAD_CHARACTERS, *_LETTERS)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with chromium(need_chromium()) as started:
        yield started


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with something of everything."""
    return write_evening(tmp_path_factory.mktemp("evening"), rate_per_s=80)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a plan of which nothing was sent."""
    return write_plan(tmp_path_factory.mktemp("plan"))


def shown_rows(page: "Page") -> list[str]:
    """Return the text of each row that the table shows."""
    texts: list[str] = page.eval_on_selector_all("#rows tr", ROW_TEXTS)
    return texts


def find_faults(page: "Page") -> list[tuple[str, str]]:
    """Return what axe-core finds that keeps somebody from using the page.

    It is put in by the debugger's protocol, as an extension would be: the page's own policy refuses any script.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [(its["id"], its["help"]) for its in found if its["impact"] in ("serious", "critical")]


def told(page: "Page") -> str:
    """Return what the table says of itself."""
    return page.inner_text("#told")


# --- what a person does


@pytest.mark.browser
def test_the_page_of_an_evening_shows_it_all_and_complains_of_nothing(browser: "Browser", evening: Path) -> None:
    summary = json.loads((evening / "summary.json").read_text(encoding="utf-8"))
    with opened(browser, evening / REPORT) as page:
        text = page.inner_text("body")
        for part in (
            *("Robin (login", "Alex (login", "Domain moved to example.org", "OPS-1187", "not cryptographically proven"),
            *("INVALID_STATUS", "correct the row", "paused: rate limited", "sending resumed", "verified", "1 restart"),
            *("Throughput", "Time to an answer", "429 throttled", summary["plan_sha256"]),
        ):
            assert part in text, part
        assert "new1@" not in page.content()  # masked
        assert page.locator("figure svg").count() >= 3


@pytest.mark.browser
def test_search_filter_and_pages_find_rows(browser: "Browser", evening: Path) -> None:
    with opened(browser, evening / REPORT) as page:
        assert told(page) == f"1 to 100 of {ROWS - 10} rows"
        page.fill("#search", "INVALID_status")
        assert told(page) == "1 to 3 of 3 rows"
        assert all(any(customer in row for customer in REFUSED) for row in shown_rows(page))
        page.fill("#search", f"{id_of(12).upper()} rejected")
        assert told(page) == "1 to 1 of 1 rows"
        page.fill("#search", "nothing like it")
        assert told(page) == "no row matches"
        page.fill("#search", "")
        page.select_option("#status", "invalid")
        assert told(page) == "1 to 2 of 2 rows"
        page.select_option("#status", "")
        page.click("#last")
        assert told(page) == f"101 to {ROWS - 10} of {ROWS - 10} rows"
        assert page.is_disabled("#next")
        page.click("#first")
        assert told(page).startswith("1 to 100")


@pytest.mark.browser
def test_every_column_sorts_both_ways_by_keyboard_too(browser: "Browser", evening: Path) -> None:
    with opened(browser, evening / REPORT) as page:
        page.focus("button[data-column=row]")
        page.keyboard.press("Enter")
        first = shown_rows(page)[0]
        assert first.startswith("1" + id_of(1))
        page.keyboard.press("Enter")
        assert shown_rows(page)[0].startswith(f"{ROWS}{id_of(ROWS)}")
        head = page.locator("th[aria-sort]")
        assert (head.count(), head.get_attribute("aria-sort")) == (1, "descending")
        for column in ("customer", "status", "changes", "reason", "sent"):
            page.click(f"button[data-column={column}]")
            up = shown_rows(page)
            page.click(f"button[data-column={column}]")
            assert shown_rows(page) != up, column
        page.click("button[data-column=customer]")
        ids = re.findall(r"00000000-0000-4000-8000-[0-9a-f]{12}", "".join(shown_rows(page)))
        assert ids == sorted(ids)
        assert ids[0] == id_of(1)


@pytest.mark.browser
def test_a_cause_leads_to_its_rows(browser: "Browser", evening: Path) -> None:
    with opened(browser, evening / REPORT) as page:
        page.click("button[data-status=rejected]")
        assert told(page) == "1 to 3 of 3 rows"
        assert page.evaluate("document.activeElement.id") == "search"


@pytest.mark.browser
def test_the_page_of_a_plan_is_what_people_review(browser: "Browser", planned: Path) -> None:
    with opened(browser, planned / REPORT) as page:
        text = page.inner_text("body")
        assert "Nothing has been sent yet. 5 changes would go to synctera sandbox customers." in text
        assert "The job does not ask for approval, and none was given." in text
        assert "a•••@example.com → n•••@example.org" in text
        assert page.locator("figure").count() == 0
        assert told(page) == "1 to 6 of 6 rows"
        assert find_faults(page) == []


# --- for everybody


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.browser
def test_axe_finds_no_serious_fault_and_nothing_is_wider_than_the_screen(
    browser: "Browser", evening: Path, width: int, dark: bool
) -> None:
    with opened(browser, evening / REPORT, width=width, dark=dark) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert find_faults(page) == []


@pytest.mark.browser
def test_without_a_script_the_page_still_shows_the_summary_and_who_needs_a_person(
    browser: "Browser", evening: Path
) -> None:
    with opened(browser, evening / REPORT, script=False) as page:
        rows: list[str] = [row.inner_text() for row in page.locator("#printed tbody tr").all()]
        assert not page.locator("#live").is_visible()
        assert sum("rejected" in row for row in rows) == 3
        assert sum("invalid" in row for row in rows) == 2
        assert "input rows" in page.inner_text("main")


@pytest.mark.browser
def test_it_prints(browser: "Browser", evening: Path, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    with opened(browser, evening / REPORT, dark=True) as page:
        page.pdf(path=paper, format="A4", print_background=True)
        page.emulate_media(media="print")
        assert page.locator("#printed").is_visible()
        assert not page.locator("#live").is_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert paper.read_bytes().startswith(b"%PDF-")
    assert paper.stat().st_size < 1_000_000


# --- hostile values


@pytest.mark.browser
def test_of_hostile_values_none_runs_and_each_can_be_read_where_values_are_revealed(
    browser: "Browser", office: Workspace
) -> None:
    assert len(HOSTILE) >= 100
    rows = [{"customer_id": id_of(n), "last_name": value} for n, value in enumerate(HOSTILE, 1)]
    write_job(office, rows)
    with Sandbox(people(len(HOSTILE)), token=TOKEN) as api:
        ended = office.run("run", FILE, *aimed_at(api), "--reason", _MARKUP[0], "--ticket", _MARKUP[1])
        assert ended.code == 3, ended.err
        folder = office.job_folder(NAME) / str(office.runs(NAME)[0]["id"])
        refused = [value for value in HOSTILE if not value.isprintable() and not _JOINERS & set(value)]
        assert [row["last_name"] for row in office.failures(NAME)] == refused  # as they were read
        for reveal in ((), ("--reveal", "--operator", "<i>Alex</i>")):
            again = office.run("report", FILE, *reveal)
            assert again.code == 0, again.err
            with opened(browser, folder / (REVEALED if reveal else REPORT)) as page:
                assert page.evaluate("window.hacked") is None
                text = page.inner_text("body")
                assert _MARKUP[0] in text  # the reason, as text
                shown = "\n".join(_all_rows(page))
                page.emulate_media(media="print")
                printed = page.inner_text("#printed")
            if reveal:
                assert [value for value in HOSTILE if visible(value) not in shown] == []
                assert "<i>Alex</i>" in text
            else:
                assert "window.hacked" not in shown + printed


def _all_rows(page: "Page") -> list[str]:
    rows = shown_rows(page)
    while page.is_enabled("#next"):
        page.click("#next")
        rows += shown_rows(page)
    return rows


# --- the command


def test_report_writes_page_and_summary_anew_and_reveals_only_on_the_record(office: Workspace) -> None:
    write_job(office, new_emails(1, 2))
    with Sandbox(people(12), token=TOKEN) as api:
        assert office.run("plan", FILE, *planned_at(api)).code == 0
    folder = office.job_folder(NAME) / str(office.runs(NAME)[0]["id"])
    before = (folder / "summary.json").read_bytes()
    for name in (REPORT, "summary.json"):
        (folder / name).unlink()
    ended = office.run("report", FILE)
    assert (ended.code, ended.out) == (0, f"written: {(folder / REPORT).relative_to(office.root)}\n"), ended.err
    assert json.loads((folder / "summary.json").read_bytes())["counts"] == json.loads(before)["counts"]
    assert "new1@example.org" not in (folder / REPORT).read_text(encoding="utf-8")
    assert office.notes(NAME) == []
    ended = office.run("report", FILE, "--reveal", "--operator", "Alex")
    assert ended.code == 0, ended.err
    assert "new1@example.org" in (folder / REVEALED).read_text(encoding="utf-8")
    assert "new1@example.org" not in (folder / REPORT).read_text(encoding="utf-8")
    (note,) = office.notes(NAME)
    assert (note["action"], note["detail"], note["actor"]["operator"]) == ("revealed", {"command": "report"}, "Alex")
    assert {(folder / name).stat().st_mode & 0o777 for name in (REPORT, REVEALED)} == {0o600}
    assert office.run("report", FILE).code == 0
    assert not (folder / REVEALED).exists()


def test_report_works_while_another_process_sends(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 61)))
    with (
        Sandbox(people(60), token=TOKEN, latency_ms=200) as api,
        office.start(
            "run", FILE, *aimed_at(api), "--set", "limits.concurrency=1", stdout=subprocess.DEVNULL
        ) as process,
    ):
        wait_until(lambda: len(patches(api)) >= 3)
        ended = office.run("report", FILE)
        process.kill()
    assert ended.code == 0, ended.err
    page = (office.job_folder(NAME) / str(office.runs(NAME)[0]["id"]) / REPORT).read_text(encoding="utf-8")
    assert "This run was being sent to synctera" in page


def test_report_of_a_run_that_is_not_there_says_so(office: Workspace) -> None:
    ended = office.run("report", "19990101")
    assert ended.code == 2
    assert "no run 19990101" in ended.err

"""What the page of a big run takes: `python -m tests.bench.page [--rows N]`.

Building it, as a process of its own, in seconds and memory; then, where Chromium is installed, opening, searching and
sorting it, in its own clock.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bulk_patch.ledgers.records import PlanRow
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.model import State
from bulk_patch.reports.html.page import write_page
from bulk_patch.reports.summary import summarise
from bulk_patch.testing import ledger_calls as calls
from tests.bench.figures import add_json_flag, write_figures
from tests.support.browser import chromium, find_chromium, opened
from tests.support.report_runs import ACTOR, ADDRESS, NOON, SYNCTERA, applied, change, plan, rejected, set_aside

JOB = "moves"
_WAIT_FOR_TABLE = """async (words) => {
    const search = document.getElementById("search"), told = document.getElementById("told"), begun = performance.now();
    const shown = new Promise((done) => new MutationObserver(done).observe(told, { childList: true }));
    search.value = words;
    search.dispatchEvent(new Event("input"));
    await shown;
    return [performance.now() - begun, told.textContent];
}"""
_SORT = """(column) => {
    const begun = performance.now();
    document.querySelector(`button[data-column=${column}]`).click();
    return performance.now() - begun;
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    add_json_flag(parser)
    asked = parser.parse_args()
    if asked.build is not None:
        _build(asked.build)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_run(folder, asked.rows)
        build = [sys.executable, "-m", "tests.bench.page", "--build", str(folder)]
        built = subprocess.run(build, check=True, stdout=subprocess.PIPE, text=True)
        figures: dict[str, float] = json.loads(built.stdout)
        print("built in {built_s:.1f} s, peak {peak_mib:.0f} MiB, file {file_mb:.1f} MB".format(**figures))
        path = find_chromium()
        if path is None:
            print("no Chromium: opening it is not measured")
        else:
            figures |= _open(folder / "report.html", path)
    write_figures(asked.json, {"rows": asked.rows, **figures})


def _write_run(folder: Path, count: int) -> None:
    """Write a run into a ledger: of 20 rows one is invalid, of 7 one refused."""

    def rows() -> Iterator[PlanRow]:
        for row in range(1, count + 1):
            body = {"email": f"n{row}@example.org", "legal_address": {**ADDRESS, "city": f"Town {row % 977}"}}
            before = {"email": f"a{row}@example.com", "legal_address": ADDRESS}
            made = change(row, body, "email", "legal_address.city", before=before)
            if row % 20 == 0:
                made = replace(set_aside(row, State.INVALID, reason="email breaks its rule"), fields=("email",))
            yield replace(made, customer_id=str(uuid.uuid5(uuid.NAMESPACE_OID, str(row))))

    with SqliteLedger.open(folder / "ledger.db", job=JOB) as ledger:
        run = plan(ledger, rows())
        calls.start_session(ledger, run.id, ACTOR, NOON)
        while claimed := calls.claim(ledger, run.id, 1000, now=NOON + 1):
            ends = [rejected(patch.row, "email") if patch.row % 7 == 0 else applied(patch.row) for patch in claimed]
            calls.record(ledger, run.id, ends, now=NOON + 2)
        calls.end_session(ledger, run.id, now=NOON + 3, by_itself=True)


def _build(folder: Path) -> None:
    with SqliteReader.read(folder / "ledger.db", job=JOB) as ledger:
        (run,) = ledger.runs()
        summary = summarise(ledger, run)
        begun = time.perf_counter()
        write_page(ledger, run, folder, summary, target=SYNCTERA)
        took_s = time.perf_counter() - begun
    per_mib = 1024 * 1024 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mib
    file_mb = (folder / "report.html").stat().st_size / 1e6
    print(json.dumps({"built_s": took_s, "peak_mib": peak_mib, "file_mb": file_mb}))


def _open(file: Path, path: str) -> dict[str, float]:
    figures = {}
    with chromium(path) as browser, opened(browser, file) as page:
        loaded_ms = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        figures["opened_ms"] = loaded_ms
        print(f"opened in {loaded_ms:.0f} ms")
        page.wait_for_timeout(1000)  # no one types sooner; meanwhile the page prepares its search
        for words in ("email breaks", "rejected 9", "nothing like it", ""):
            took_ms, told = page.evaluate(_WAIT_FOR_TABLE, words)
            figures[f"search {words!r}, ms"] = took_ms
            print(f"search {words!r}: {took_ms:.0f} ms, {told}")
        for column in ("customer", "reason", "sent"):
            figures[f"sort by {column}, ms"] = page.evaluate(_SORT, column)
            print(f"sort by {column}: {figures[f'sort by {column}, ms']:.0f} ms")
    return figures


if __name__ == "__main__":
    main()

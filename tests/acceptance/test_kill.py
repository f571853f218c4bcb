"""`kill -9` at any moment, then the same command: nothing is lost, nothing is sent twice."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from bulk_patch.job.load import load_job
from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace, read_csv, wait_until

JOB = "address-corrections"
JOB_FILE = "jobs/address_corrections.toml"
COMMAND = ("run", JOB_FILE, "--sandbox", "--no-progress", "--set", "limits.rate_per_s=400", "--set", "guards.canary=3")
READS = 3  # for the plan
CANARY = 6  # three rows, each read back

Moment = Callable[[Workspace], None]


def after(seconds: float, place: Workspace) -> None:
    """Wait for a moment before anything can be seen."""
    time.sleep(seconds)


def ledger_made(place: Workspace) -> None:
    """Wait for the moment when the ledger has just come to be."""
    wait_until((place.job_folder(JOB) / "ledger.db").exists)


def requests_seen(count: int, place: Workspace) -> None:
    """Wait until the sandbox has answered so many requests of this command."""
    log = place.job_folder(JOB) / "sandbox" / "requests.jsonl"
    before = _count_lines(log)
    wait_until(lambda: _count_lines(log) >= before + count)


def all_applied(place: Workspace) -> None:
    """Wait until the last row is recorded: what is left is to report it."""

    def is_so() -> bool:
        rows = place.query(JOB, "SELECT sum(open) AS open FROM counts WHERE run = (SELECT max(number) FROM runs)")
        return bool(rows[0]["open"] == 0)

    requests_seen(100, place)
    wait_until(is_so)


def reports_begun(place: Workspace) -> None:
    """Wait for the first byte of a report."""
    wait_until(lambda: any(place.job_folder(JOB).glob("*/*results.csv*")))


def _count_lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


# 20 moments; a trial with two is killed, started again, and killed again.
TRIALS: Mapping[str, tuple[Moment, ...]] = {
    "at once, then while planning": (partial(after, 0.15), partial(after, 0.4)),
    "the ledger is new, then the baseline is read": (ledger_made, partial(requests_seen, 1)),
    "the baseline was read, then the canary's first": (
        partial(requests_seen, READS),
        partial(requests_seen, READS + 1),
    ),
    "in the canary, twice": (partial(requests_seen, READS + 2), partial(requests_seen, 3)),
    "at the canary's end": (partial(requests_seen, READS + CANARY),),
    "just after the canary, then again": (partial(requests_seen, READS + CANARY + 1), partial(requests_seen, 1)),
    "early, then late": (partial(requests_seen, 30), partial(requests_seen, 120)),
    "in the middle, then soon again": (partial(requests_seen, 100), partial(requests_seen, 7)),
    "late": (partial(requests_seen, 180),),
    "at the last requests": (partial(requests_seen, 214),),
    "all is recorded": (all_applied,),
    "while it reports, then when nothing is left": (reports_begun, partial(requests_seen, 2)),
}


QUICK = {"in the canary, twice"}


def _marked(trials: Mapping[str, tuple[Moment, ...]]) -> list[ParameterSet]:
    """Return the trials as parameters: all but one need the marker `chaos`."""
    chaos = pytest.mark.chaos
    return [pytest.param(trials[name], id=name, marks=[] if name in QUICK else chaos) for name in trials]


def test_there_are_twenty_moments() -> None:
    assert sum(map(len, TRIALS.values())) == 20


@contextmanager
def kept_world(place: Workspace) -> Iterator[Sandbox]:
    """Open the sandbox's world after the command that served it has ended."""
    with Sandbox(state=place.job_folder(JOB) / "sandbox", wait_s=10) as sandbox:
        yield sandbox


def wanted_addresses(place: Workspace) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield whom each row of the input is about, and what it asks for; a blank cell asks for nothing."""
    rename = load_job(place.root / JOB_FILE).input.rename
    for row in read_csv(place.root / "sample_inputs" / "address_corrections.csv"):
        fields = {rename[column]: text for column, text in row.items() if rename.get(column) and text}
        yield row["customer_id"].lower(), {name.removeprefix("legal_address."): text for name, text in fields.items()}


def without_spaces(address: dict[str, Any]) -> dict[str, str]:
    """Return an address as it is compared: the API rewrites Canadian postal codes."""
    return {part: text.replace(" ", "").upper() for part, text in address.items()}


@pytest.mark.parametrize("moments", _marked(TRIALS))
def test_a_run_that_is_killed_goes_on_and_every_change_is_executed_once(
    workspace: Workspace, moments: tuple[Moment, ...]
) -> None:
    for reached in moments:
        with workspace.start(*COMMAND) as process:
            reached(workspace)
            process.kill()
    ended = workspace.run(*COMMAND)
    assert ended.code == 0, ended.err

    (run,) = workspace.query(JOB, "SELECT id FROM runs WHERE started_at IS NOT NULL")
    results = workspace.results(JOB, run["id"])
    assert {line["status"] for line in results} == {"applied"}
    assert set(workspace.states(JOB, run["id"]).values()) == {"applied"}
    assert workspace.summary(JOB, run["id"])["exit_code"] == 0

    executed = [entry for entry in workspace.sandbox_log(JOB) if entry["executed"] and entry["method"] == "PATCH"]
    keys = {(line["customer_id"], line["idempotency_key"]) for line in results}
    assert Counter((entry["customer_id"], entry["key"]) for entry in executed) == Counter(keys)
    assert len(executed) == 209
    tried = {(entry["customer_id"], entry["key"]) for entry in workspace.sandbox_log(JOB) if entry["key"]}
    assert tried == keys

    with kept_world(workspace) as world:
        for customer_id, wanted in wanted_addresses(workspace):
            have = without_spaces(world.customer(customer_id)["legal_address"])
            assert have.items() >= without_spaces(wanted).items()

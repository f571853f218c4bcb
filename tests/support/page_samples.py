"""A run with something of everything that its page can show, made by the real commands against a sandbox."""

from dataclasses import replace
from pathlib import Path

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Hook, Seen, random_faults
from tests.acceptance.commands import Ended, Workspace
from tests.acceptance.small_job import (
    FILE,
    HOME,
    NAME,
    TOKEN,
    aimed_at,
    id_of,
    new_emails,
    people,
    planned_at,
    write_job,
)

ROWS = 160
REFUSED = frozenset(map(id_of, (12, 40, 77)))


def write_evening(root: Path, *, rate_per_s: int = 40) -> Path:
    """Plan, approve, send with a break and under faults, and verify; return the run's folder.

    Args:
        root: An empty folder.
        rate_per_s: Of the job; 160 rows take as many seconds as it says.
    """
    root.mkdir(parents=True, exist_ok=True)
    office = Workspace(root, token=TOKEN)
    rows = [*new_emails(*range(1, ROWS - 20)), {"customer_id": id_of(5), "email": "new5@example.org"}]
    rows += [{"customer_id": id_of(n), "email": f"ann{n}@example.com"} for n in range(ROWS - 20, ROWS - 10)]
    rows += [{"customer_id": id_of(ROWS - 9), "email": "no address"}, {"customer_id": id_of(ROWS - 8), "email": "x@y"}]
    rows += [
        {"customer_id": id_of(n), "legal_address.city": f"Town {n}", "legal_address.state": "CA"}
        for n in range(ROWS - 7, ROWS + 1)
    ]
    write_job(office, rows, world=ROWS)
    settings = ("guards.approval=true", f"limits.rate_per_s={rate_per_s}", "retry.attempts=8", "guards.canary=3")
    flags = [word for setting in settings for word in ("--set", setting)]
    with Sandbox(people(ROWS), token=TOKEN, latency_ms=40, fault=_weather()) as api:
        why = ("--reason", "Domain moved to example.org", "--ticket", "OPS-1187")
        _expect(office.run("run", FILE, *aimed_at(api), *flags, *why, "--operator", "Robin"), 9)
        planned = str(office.runs(NAME)[-1]["id"])
        _expect(office.run("approve", planned, *flags, *planned_at(api), "--operator", "Alex"), 0)
        _expect(office.run("run", FILE, *aimed_at(api), *flags, "--limit", "70", "--operator", "Robin"), 4)
        _expect(office.run("run", FILE, *aimed_at(api), *flags, "--operator", "Robin"), 3)
        run = str(office.runs(NAME)[-1]["id"])
        api.edit(id_of(3), email="ann3@example.net")
        api.edit(id_of(ROWS), legal_address={**HOME, "city": "Elsewhere"})
        _expect(office.run("verify", run, *flags, *planned_at(api), "--operator", "Alex"), 3)
    _expect(office.run("report", run, "--operator", "Alex"), 0)
    return office.job_folder(NAME) / run


def write_plan(root: Path) -> Path:
    """Plan a few changes and send nothing; return the run's folder."""
    root.mkdir(parents=True, exist_ok=True)
    office = Workspace(root, token=TOKEN)
    moves = [{"customer_id": id_of(n), "legal_address.city": HOME["city"] + " Hills"} for n in (10, 11)]
    write_job(office, [*new_emails(1, 2, 3), *moves, {"customer_id": id_of(4), "email": "no address"}])
    _expect(office.run("plan", FILE, "--sandbox", "--operator", "Robin"), 0)
    return office.job_folder(NAME) / str(office.runs(NAME)[-1]["id"])


def _expect(ended: Ended, code: int) -> None:
    assert ended.code == code, f"{ended.code}: {ended.out}\n{ended.err}"


def _weather() -> Hook:
    """Refuse a few customers for good, and let some requests meet a 429, a 500 or a reset."""
    passing = random_faults("429=0.015,500=0.03,reset=0.01", seed=5)

    def hook(seen: Seen) -> Fault | None:
        if seen.method != "PATCH":
            return None
        if seen.customer_id in REFUSED:
            return Fault(status=422, body=b'{"code": "INVALID_STATUS"}', cached=True)
        fault = passing(seen)
        if fault is not None and fault.status == 429:  # one that asks to wait: a lone one that does not pauses nobody
            return replace(fault, headers={"Retry-After": "1"})
        return fault

    return hook

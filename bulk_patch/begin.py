"""What a run begins with: its id, the secret of its keys, who asked for it, and what it is planned from."""

import datetime as dt
import secrets
import time
import uuid
from typing import Any

from bulk_patch import source
from bulk_patch.actor import who
from bulk_patch.job import Job
from bulk_patch.ledgers import Ledger, Run
from bulk_patch.order import Order


def new_run(job: Job, order: Order, **facts: Any) -> Run:
    """Return a run as it is before its plan is written.

    Args:
        job: The job.
        order: Who asks, and why.
        facts: What the run is planned from: the other fields of `Run`; `details` are added to.
    """
    now = time.time()
    details: dict[str, Any] = {"job_file": str(job.file), "overrides": list(job.overrides)}
    if job.guards.approval:
        details["approval"] = True  # what was planned to need a yes needs it, whatever the job says later
    details |= facts.pop("details", {})
    return Run(
        id=f"{dt.datetime.fromtimestamp(now, tz=dt.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        job=job.name,
        target=job.target_name,
        secret=str(uuid.UUID(bytes=secrets.token_bytes(16))),
        created_at=now,
        actor=who(order.operator),
        reason=order.reason,
        ticket=order.ticket,
        identity=job.identity,
        details=details,
        **facts,
    )


def is_changed(job: Job, run: Run, ledger: Ledger) -> bool:
    """Tell whether the input or the job is not what the run was planned from.

    An input that is gone is no change: a resume does not need it. It is hashed again only if its size or time
    differ.
    """
    if run.kind != "run":
        return False
    if run.identity != job.identity:
        return True
    path = job.input.path
    is_open = ledger.open_run(run.target) is not None
    file = job.baseline.path
    if not is_open and file is not None and source.sha256_of(file) != run.baseline_sha256:
        return True
    if not path.exists():
        return False
    size, mtime_ns = source.fingerprint(path)
    if (size, mtime_ns) == (run.input_size, run.input_mtime_ns):
        return False
    if source.sha256_of(path) != run.input_sha256:
        return True
    ledger.update(run.id, input_size=size, input_mtime_ns=mtime_ns)
    return False

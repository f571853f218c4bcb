"""Make a target: from a job, or again from the spec that a run keeps, whatever its job says by now."""

import datetime as dt

from bulk_patch import plugins
from bulk_patch.errors import LedgerError
from bulk_patch.job.settings import Job
from bulk_patch.targets import Target, TargetSpec


def target_of_job(job: Job) -> Target:
    """Return the target that a job names."""
    return target_from_spec(plugins.find("target", job.target.kind).spec_of(job.target))


def target_from_spec(spec: TargetSpec) -> Target:
    """Return the target of a spec, as it is today.

    Raises:
        JobError: Its kind is not installed, or it names something that does not exist.
    """
    today = dt.datetime.now(tz=dt.UTC).date()
    target: Target = plugins.find("target", str(spec.get("kind", ""))).from_spec(spec, today)
    return target


def target_of_run(run_id: str, spec: TargetSpec, name: str) -> Target:
    """Return the target of a run.

    Args:
        run_id: Of the run, for the message.
        spec: As the run keeps it; a run of version 0.1 keeps none.
        name: Of the target, as the run keeps it: kind, base URL and, for version 0.1, always a resource.

    Raises:
        LedgerError: Neither says what the target was.
        JobError: Its kind is not installed here.
    """
    if not spec:
        kind, _, resource = [*name.split(" "), "", ""][:3]
        spec = {"kind": kind, "resource": resource} if resource else {}
    if not spec.get("kind"):
        raise LedgerError(f"run {run_id} is damaged: its target is {name!r}")
    try:
        return target_from_spec(spec)
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"run {run_id} is damaged: its target cannot be made again: {type(error).__name__}") from None

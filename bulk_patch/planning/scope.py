"""What a job may change: its lists of fields against those of the target and the columns of its input. Pure."""

from collections.abc import Iterable

from bulk_patch.errors import JobError
from bulk_patch.job.settings import Job
from bulk_patch.targets import Target


def check_clearable(job: Job, target: Target) -> None:
    """Refuse a job that would clear what is not a field.

    Raises:
        JobError: `input.may_clear` names one.
    """
    for name in job.input.may_clear:
        if target.field(name) is None:
            raise JobError(f"input.may_clear: {name} is not a field of the target", "use dotted names as in the README")


def check_allowed(job: Job, fields: Iterable[str]) -> None:
    """Refuse an input that would change more than the job allows.

    Args:
        job: The job.
        fields: What the columns of its input fill.

    Raises:
        JobError: It holds fields that `guards.fields` does not allow.
    """
    allowed = job.guards.fields
    beyond = [] if allowed is None else [name for name in fields if not _is_allowed(name, allowed)]
    if beyond:
        raise JobError(
            f"{job.input.path.name} would change {', '.join(beyond)}, which guards.fields does not allow",
            'name them in guards.fields, or map the columns to "" in [input.rename]',
        )


def check_named(job: Job, target: Target) -> None:
    """Refuse a list of allowed fields that holds a name the target does not know: most likely a slip.

    Raises:
        JobError: `guards.fields` names what is neither a field nor an object.
    """
    known = target.field_names()
    for name in job.guards.fields or ():
        if target.field(name) is None and not any(field.startswith(f"{name}.") for field in known):
            raise JobError(
                f"guards.fields: {name} is not a field of the target", "a field or an object, such as legal_address"
            )


def _is_allowed(name: str, allowed: Iterable[str]) -> bool:
    return any(name == field or name.startswith(f"{field}.") for field in allowed)

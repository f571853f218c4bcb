"""Check a job before it is used: settings, header, guards, token and one read, and all faults at once.

Nothing is written, no ledger is opened, no sandbox is started, and at most one customer is read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bulk_patch.errors import BulkPatchError, CredentialError, Exit, InputError, JobError, StoppedError, gravest
from bulk_patch.job.load import load_sound_part
from bulk_patch.job.secrets import read_secret
from bulk_patch.job.settings import Job
from bulk_patch.planning.scope import check_allowed, check_clearable, check_named
from bulk_patch.targets import Target
from bulk_patch.targets.from_spec import target_of_job
from bulk_patch.words import amount, milliseconds_words

if TYPE_CHECKING:
    from bulk_patch.inputs.header import Columns

_LONGEST_READ_S = 5.0  # a person waits for it


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one part of a job.

    Attributes:
        part: What was looked at.
        words: What it is, where it is as it should be, or why it was not looked at.
        fault: What is wrong with it; None: nothing.
        looked: It was looked at.
    """

    part: str
    words: str = ""
    fault: BulkPatchError | None = None
    looked: bool = True


@dataclass(slots=True)
class Checkup:
    """All findings about a job, in the order in which a run would meet them."""

    job: Job | None
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[BulkPatchError]:
        """Return what is wrong."""
        return [finding.fault for finding in self.findings if finding.fault is not None]

    @property
    def exit_code(self) -> Exit:
        """Return 2 when what was written is wrong, whatever else is; else the gravest code of the faults."""
        codes = [fault.exit_code for fault in self.faults]
        return Exit.USAGE if Exit.USAGE in codes else gravest(Exit.OK, *codes)

    @contextmanager
    def looking_at(self, part: str) -> Iterator[Callable[[str], None]]:
        """Look at a part inside the block, which says what it found; an error there is the finding."""
        said: list[str] = []
        try:
            yield said.append
        except BulkPatchError as error:
            self.findings.append(Finding(part, fault=error))
        else:
            self.findings.append(Finding(part, "".join(said)))

    def leave_out(self, part: str, why: str) -> None:
        """Say that a part was not looked at."""
        self.findings.append(Finding(part, why, looked=False))


def check_job(path: str | Path, overrides: Sequence[str] = (), *, offline: bool) -> Checkup:
    """Check all that can be checked without planning.

    Args:
        path: The job file.
        overrides: `--set`.
        offline: Leave out what may use the network: a token that a command prints, and the read.
    """
    job, wrong = load_sound_part(path, overrides)
    checkup = Checkup(job)
    with checkup.looking_at("settings") as say:
        if wrong is not None:
            raise wrong
        say("every setting is known and has a value that it can have")
    if job is None:
        return checkup
    target = target_of_job(job)
    _check_input(job, target, checkup)
    with checkup.looking_at("guards") as say:
        check_named(job, target)
        check_clearable(job, target)
        allowed = job.guards.fields
        say("any field may change" if allowed is None else f"only {', '.join(allowed)} may change")
    with checkup.looking_at("files") as say:
        say(_check_files(job))
    if wrong is not None:
        for part in ("token", "API"):
            checkup.leave_out(part, "not looked at before the settings are right")
        return checkup
    _check_token(job, checkup, offline=offline)
    _check_api(job, target, checkup, offline=offline)
    return checkup


def refuse_wrong_header(job: Job) -> None:
    """Refuse an input by what can be told at once, as planning would after it has read all of it.

    Raises:
        InputError: It cannot be opened, or its header is wrong.
        JobError: It would change what the job does not allow.
    """
    from bulk_patch.inputs.start import open_input

    target = target_of_job(job)
    check_clearable(job, target)
    check_allowed(job, _fields_of(open_input(job.input), job, target).values())


def _check_input(job: Job, target: Target, checkup: Checkup) -> None:
    from bulk_patch.inputs.start import open_input

    reader: Columns | None = None
    with checkup.looking_at("input") as say:
        reader = open_input(job.input)
        _check_age(job)
        read_as = f", {reader.reading}" if reader.reading else ""
        say(f"{job.input.path.name}, {amount(len(reader.header), 'column')}{read_as}")
    if reader is None:
        return
    with checkup.looking_at("header") as say:
        fields = _fields_of(reader, job, target)
        check_allowed(job, fields.values())
        say(f"{job.input.id} is the id; {', '.join(fields.values()) or 'no column'} would change")


def _fields_of(reader: "Columns", job: Job, target: Target) -> dict[str, str]:
    from bulk_patch.inputs.header import fields_of

    return fields_of(
        reader,
        job.input,
        knows=lambda name: target.field(name) is not None,
        ids=target.ids,
        known=target.field_names(),
    )


def _check_age(job: Job) -> None:
    """Refuse an input that `input.max_age_h` would stop, as `plan` does later."""
    if job.input.max_age_h is None:
        return
    age_h = (time.time() - job.input.path.stat().st_mtime) / 3600
    if age_h > job.input.max_age_h:
        reason = f"{job.input.path.name} was last modified {age_h:,.0f} h ago"
        raise StoppedError(f"{reason}; input.max_age_h allows {job.input.max_age_h:g} h", "see why no newer one came")


def _check_files(job: Job) -> str:
    """Look whether the other files that the job names are there."""
    named = job.named_paths()
    missing = [f"{name}: no file at {path}" for name, path in named.items() if not path.exists()]
    if missing:
        raise JobError("; ".join(missing), "write the path as it is seen from the job file")
    return f"{', '.join(named)}: there" if named else "the job names no other files"


def _check_token(job: Job, checkup: Checkup, *, offline: bool) -> None:
    kind = job.target.token.partition(":")[0]
    if offline and kind == "cmd":
        checkup.leave_out("token", "its command was not run: it may use the network")
        return
    with checkup.looking_at("token") as say:
        read_secret(job.target.token, job.file.parent)
        say({"env": "is in the environment", "file": "is in its file", "cmd": "its command prints one"}[kind])


def _check_api(job: Job, target: Target, checkup: Checkup, *, offline: bool) -> None:
    if offline:
        checkup.leave_out("API", "not asked: --offline")
        return
    if any(isinstance(fault, CredentialError) for fault in checkup.faults):
        checkup.leave_out("API", "not asked: there is no token to ask it with")
        return
    from bulk_patch.inputs.start import read_first_id

    try:
        customer_id = read_first_id(job.input, target.ids)
    except (InputError, KeyError):
        customer_id = None
    if customer_id is None:
        checkup.leave_out("API", "not asked: the start of the input has no usable id to ask about")
        return
    with checkup.looking_at("API") as say:
        say(_read_once(job, target, customer_id))


def _read_once(job: Job, target: Target, customer_id: str) -> str:
    from bulk_patch.client.reads import read_live
    from bulk_patch.client.send_spec import SendSpec
    from bulk_patch.client.session import open_session
    from bulk_patch.workflows.event_loop import run_in_event_loop

    limits = job.limits.model_copy(update={"timeout_s": min(job.limits.timeout_s, _LONGEST_READ_S)})
    retry = job.retry.model_copy(update={"attempts": 2, "longest_delay_s": 0.3, "give_up_after_s": _LONGEST_READ_S})

    async def read() -> str:
        started = time.monotonic()
        careful = job.model_copy(update={"limits": limits, "retry": retry})
        spec = SendSpec.of(careful, target)
        async with open_session(spec, target, sandbox_token=job.sandbox_token) as session:
            found = await read_live(session, [customer_id], what="the API")
        took = milliseconds_words(1000 * (time.monotonic() - started))
        first = f"the first {target.noun}"
        known = f"it knows {first} of the input" if found.by_id else f"it does not know {first}"
        return f"answered a read in {took}; {known}"

    return run_in_event_loop(read())

"""A reviewer's screens: an approval, what a verify found, the history of one customer. Pure, like `screens`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulk_patch.cli.screens import heading, kind_words, show_screen
from bulk_patch.cli.text import join, numbered, safe, section, wrap
from bulk_patch.ledgers.records import Actor, Drift, FieldDrift, Run
from bulk_patch.model import State
from bulk_patch.reports.html.events import IN_PART
from bulk_patch.reports.rows import FieldChange
from bulk_patch.review.approvals import UNSIGNED, is_rehearsal, is_same_login
from bulk_patch.words import amount, time_words

if TYPE_CHECKING:
    from bulk_patch.reports.customer_history import Entry
    from bulk_patch.workflows.verify import Verification


def approval_screen(run: Run, actor: Actor, detail: Mapping[str, Any], *, asked_for: bool) -> str:
    """Return what was approved, by whom, and what that is worth.

    Args:
        run: The approved run.
        actor: Who approved it.
        detail: Of the approval's note.
        asked_for: The job asks for an approval.
    """
    lines = heading(f"run {run.id}: approved by {safe(actor.operator)}", run)
    lines.append(f"  plan    {run.plan_sha256[:12]}, {amount(detail['rows'], 'change')}")
    lines.append(f"  until   {time_words(detail['expires_at'])}")
    if detail["signed_by"]:
        lines += wrap(f"signed by {detail['signed_by']}, and checked again before anything is sent")
    elif is_rehearsal(run) and is_same_login(actor, run):
        lines += wrap(f"rehearsed, by the login that planned it ({actor.login}): {UNSIGNED}")
    else:
        lines += wrap(f"not signed: {UNSIGNED}")
    if not asked_for:
        lines += wrap("the job does not ask for approval: guards.approval = true makes it wait for one")
    return join(lines)


def rejection_screen(run: Run, actor: Actor, reason: str) -> str:
    """Return what was rejected, by whom and why."""
    lines = heading(f"run {run.id}: rejected by {safe(actor.operator)}", run)
    lines.append(f"  plan    {run.plan_sha256[:12]}")
    lines += wrap(f"reason: {reason}")
    lines += wrap("nothing of it is sent, unless somebody approves it after this")
    return join(lines)


def drift_screen(drifts: Iterable[Drift]) -> Iterator[str]:
    """Yield each row whose customer is no longer as the row left it, field by field, masked."""
    for drift in drifts:
        lines = [f"row {drift.row}  {safe(drift.customer_id)}"]
        lines += wrap(drift.reason, "  ") if drift.reason else []
        yield join([*lines, *(_drift_line(field) for field in drift.fields)])


def _drift_line(field: FieldDrift) -> str:
    another = "another " if field.found == field.planned else ""  # the masked texts are equal
    by = f", sent by the later run {field.superseded_by}" if field.superseded_by else ""
    sent, found = safe(field.planned) or "(cleared)", safe(field.found) or "(none)"
    return f"    {safe(field.name)}  sent {sent}, found {another}{found}{by}"


def verification_screen(run: Run, done: "Verification") -> str:
    """Return what reading back the applied rows of a run found."""
    lines = [*heading(f"run {run.id}: read back", run), ""]
    found = [
        ("as sent", done.rows - done.drifted - done.superseded),
        ("changed by later runs of this job", done.superseded),
    ]
    found += [("drifted", done.drifted), ("not read yet", done.left)]
    lines += [*numbered(found[:1] + [line for line in found[1:] if line[1]]), ""]
    lines += section("what drifted, in how many rows", numbered(done.fields.items()))
    lines += section(f"{IN_PART}: the API masks or never shows it", numbered(done.in_part.items()))
    return join(lines)


def history_screen(entry: "Entry", changes: Sequence[FieldChange]) -> str:
    """Return what one run did, or would have done, to one record.

    Args:
        entry: The record's row in the run, and who planned, approved and sent it.
        changes: Before and after, masked or not.
    """
    run, row, drift = entry.run, entry.row, entry.drift
    what = f"run {run.id}" + ("" if run.kind == "run" else f"  {safe(kind_words(run))}")
    lines = [f"{time_words(entry.at)}  {safe(run.job)}  {what}  {safe(run.target)}"]
    people = [f"planned by {run.actor.operator}"]
    if row.state is State.INVALID:
        people.append("refused by a rule, so it was neither approved nor sent")
    else:
        people += [f"approved by {', '.join(entry.approvers)}"] if entry.approvers else []
        people += [f"sent by {', '.join(entry.senders)}"] if row.key else ["not sent"]
    lines += wrap("; ".join(people), "  ")
    why = (("reason", entry.reason), ("ticket", entry.ticket))
    lines += [line for name, words in why if words for line in wrap(f"{name}: {words}", "  ")]
    (text,) = show_screen([(row, changes)])
    lines += [f"  {line}" for line in text.splitlines()]
    if entry.checked_at is not None:
        lines += wrap(f"verified {time_words(entry.checked_at)}: {_found_words(drift)}", "    ")
    lines += [f"  {_drift_line(field)}" for field in drift.fields] if drift is not None else []
    return join(lines)


def _found_words(drift: Drift | None) -> str:
    if drift is None:
        return "as sent"
    return drift.reason or ("drifted" if drift.counts else "changed by later runs of this job")


def nowhere_screen(root: Path, *, jobs: int, runs: int, is_id: bool) -> str:
    """Return where a customer was searched for but not found.

    Args:
        root: The `output/` folder.
        jobs: Jobs that have a ledger there.
        runs: Their runs.
        is_id: The search text could be a customer's id.
    """
    lines = [f"searched {safe(root)}: {amount(jobs, 'job')}, {amount(runs, 'run')}"]
    if not runs:
        lines += wrap("there are no runs in it; --output names another folder")
        return join(lines)
    lines += wrap("no run of any job there has a row for this id; unchanged rows are only counted, not kept")
    if not is_id:
        lines += wrap("this does not look like an id of these jobs' targets; lookup needs the id")
    return join(lines)

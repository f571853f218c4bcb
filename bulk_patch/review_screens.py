"""What a reviewer reads: an approval, what reading back has shown, the history of one customer. Pure, as `screens`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bulk_patch.layout import amount, join, numbered, safe, section, time_words, wrap
from bulk_patch.ledgers import Actor, Drift, FieldDrift, LedgerRow, Run
from bulk_patch.report import Change
from bulk_patch.screens import heading, show_screen


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
    elif actor.login == run.actor.login and actor.host == run.actor.host:
        lines += wrap(f"not signed, and by the login that planned it ({actor.login}): a record, not a proof")
    else:
        lines += wrap("not signed: a record, not a proof")
    if not asked_for:
        lines += wrap("the job asks for no approval: guards.approval = true makes it wait for one")
    return join(lines)


def drift_screen(drifts: Iterable[Drift]) -> Iterator[str]:
    """Yield each row whose customer is not as the row left it, field by field, masked."""
    for drift in drifts:
        lines = [f"row {drift.row}  {safe(drift.customer_id)}"]
        lines += wrap(drift.reason, "  ") if drift.reason else []
        yield join([*lines, *(_drift_line(its) for its in drift.fields)])


def _drift_line(its: FieldDrift) -> str:
    another = "another " if its.found == its.planned else ""  # alike behind the mask
    by = f", sent by the later run {its.superseded_by}" if its.superseded_by else ""
    sent, found = safe(its.planned) or "(cleared)", safe(its.found) or "(none)"
    return f"    {safe(its.name)}  sent {sent}, found {another}{found}{by}"


def verification_screen(
    run: Run, *, rows: int, left: int, drifted: int, superseded: int, fields: Mapping[str, int]
) -> str:
    """Return what reading back the applied rows of a run has shown.

    Args:
        run: The run.
        rows: Applied rows that were read back.
        left: Applied rows that were not.
        drifted: Rows that are not as they were left.
        superseded: Rows that later runs of the job changed.
        fields: Drifted fields, how often.
    """
    lines = [*heading(f"run {run.id}: read back", run), ""]
    found = [("as they were sent", rows - drifted - superseded), ("changed by later runs of this job", superseded)]
    found += [("drifted", drifted), ("not read yet", left)]
    lines += [*numbered(found[:1] + [its for its in found[1:] if its[1]]), ""]
    lines += section("what drifted, in how many rows", numbered(fields.items()))
    return join(lines)


def history_screen(
    run: Run, row: LedgerRow, changes: Sequence[Change], *, approvers: Sequence[str], senders: Sequence[str]
) -> str:
    """Return what one run did, or was to do, to one customer.

    Args:
        run: The run.
        row: The customer's row in it.
        changes: Before and after, masked or not.
        approvers: Operators who approved the run.
        senders: Operators who sent it.
    """
    at = row.done_at or row.first_intent_at or run.created_at
    lines = [f"{time_words(at)}  {safe(run.job)}  run {run.id}  {safe(run.target)}"]
    people = [f"planned by {run.actor.operator}"]
    people += [f"approved by {', '.join(approvers)}"] if approvers else []
    people += [f"sent by {', '.join(senders)}"] if row.key else ["not sent"]
    lines += wrap("; ".join(people), "  ")
    (text,) = show_screen([(row, changes)])
    return join([*lines, *(f"  {line}" for line in text.splitlines())])

"""Drift: what is no longer as a run left it."""

import json
from collections.abc import Iterator
from dataclasses import replace

from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Drift, FieldDrift, LedgerRow, Run
from bulk_patch.model import Patch, State
from bulk_patch.targets import Record, Target
from bulk_patch.targets.fields import hidden

_SENT = frozenset({State.APPLIED, State.MISMATCH, State.UNKNOWN, State.SENDING})


def find_drift(run: Run, row: LedgerRow, record: Record | None, target: Target, ledger: RunReader) -> Drift | None:
    """Compare an applied row with its customer as it is now; None: unchanged, as far as masked fields can show.

    Args:
        run: The row's run.
        row: The row.
        record: The customer; None: it does not exist in the API.
        target: Knows the fields, how answers show them, and what the server rewrites.
        ledger: Knows what later runs of the job sent.
    """
    if record is None:
        return Drift(row.row, row.customer_id, f"the {target.noun} no longer exists in the API", ())
    patch = _as_patch(row)
    names = (*target.evidence.missing(patch, record), *_added(patch, record, target))
    if not names:
        return None
    later = list(_later_rows(run, row, ledger))
    planned = target.evidence.flatten(json.loads(patch.body))
    found = target.evidence.flatten(record)
    fields = []
    for name in names:
        shown = target.field(name)
        mask = shown.mask if shown is not None else hidden
        by = next((run_id for run_id, other in later if _explains(other, name, record, target)), "")
        fields.append(FieldDrift(name, mask(planned.get(name, "")), mask(found.get(name, "")), by))
    counts = not all(field.superseded_by for field in fields)
    return Drift(row.row, row.customer_id, "", tuple(fields), counts=counts)


def _added(patch: Patch, record: Record, target: Target) -> Iterator[str]:
    """Yield parts that someone has added to an object that was sent as a whole without them."""
    differing = target.evidence.differences(replace(patch, before=patch.body), record)
    planned = target.evidence.flatten(json.loads(patch.body))
    for name, text in target.evidence.flatten(record).items() if differing else ():
        top, dot, _ = name.partition(".")
        atomic = target.atomic_object(top)
        is_part = dot and top in differing and atomic is not None and not atomic.open
        if is_part and name not in planned and text not in ("", "false"):  # documented: left out when it is false
            yield name


def _later_rows(run: Run, row: LedgerRow, ledger: RunReader) -> Iterator[tuple[str, LedgerRow]]:
    """Yield what later runs sent to the same customer of the same target, the latest first."""
    for run_id, other in reversed(ledger.history(row.customer_id)):
        if run_id == run.id:
            return
        if other.state in _SENT and other.body is not None and ledger.run(run_id).target == run.target:
            yield run_id, other


def _explains(later: LedgerRow, name: str, record: Record, target: Target) -> bool:
    """Tell whether a later row set this field to its current value."""
    sets_it = any(field == name or field.startswith(f"{name}.") for field in later.fields)
    missing = target.evidence.missing(_as_patch(later), record)
    return sets_it and not any(field == name or field.startswith(f"{name}.") for field in missing)


def _as_patch(row: LedgerRow) -> Patch:
    assert row.body is not None  # it was sent
    return Patch(row.row, row.customer_id, row.body, row.before, row.key)

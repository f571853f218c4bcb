"""The inverse change of one applied row, from its before-image and the customer as it is now. Pure functions."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bulk_patch.ledgers.records import LedgerRow
from bulk_patch.model import Patch, encode_json
from bulk_patch.planning.changes import Change
from bulk_patch.planning.problems import Problem
from bulk_patch.targets import Record, Target
from bulk_patch.targets.fields import AtomicObject, Field, Visibility

Image = dict[str, Any]


#: The only obstacle that a setting removes.
NOT_NAMED = "was absent before, and is not named in input.may_clear"
_BY_HAND = "write the old value into failures.csv, and run that file"


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that is not undone: someone has changed these fields since."""

    fields: tuple[str, ...]


#: None: the customer is as it was before, so there is nothing to undo.
Reversal = Change | Kept | list[Problem] | None


def reverse_row(
    row: LedgerRow, record: Record | None, target: Target, *, may_clear: Collection[str], watch: Collection[str] = ()
) -> Reversal:
    """Build the inverse change of one applied row.

    A row is undone as a whole or not at all: half an undo would be a state that no one has asked for.

    Args:
        row: The applied row, with the body that was sent and its before-image.
        record: The customer as the API shows it now; None: the API has no such customer.
        target: Knows fields and objects.
        may_clear: Fields that may be cleared when they were absent before.
        watch: Fields that a guard compares: kept in the new before-image.
    """
    assert row.body is not None  # it was sent
    sent: Image = json.loads(row.body)
    before: Image = json.loads(row.before) if row.before is not None else {}
    problems = list(_obstacles(sent, before, target, may_clear))
    if problems:
        return problems
    if record is None:
        noun = target.noun
        return [
            Problem("row", f"is for a {noun} that no longer exists in the API", f"check what happened to the {noun}")
        ]
    as_planned = Patch(row.row, row.customer_id, body=row.body, before=row.body, key="")
    as_before = replace(as_planned, before=row.before)
    if not target.evidence.differences(as_before, record):
        return None
    if differing := target.evidence.differences(as_planned, record):
        return Kept(differing)
    now = target.evidence.flatten(record)
    image = {name: None if _is_cleared(name, value, target) else value for name, value in sent.items()}
    return Change(
        row=row.row,
        customer_id=row.customer_id,
        fields=row.fields,
        body=encode_json(
            {name: target.cleared(target.field(name)) if before[name] is None else before[name] for name in sent}
        ),
        before=encode_json({name: now[name] for name in watch if name in now} | image),
        clears=tuple(_added(sent, before, target)),
        completed=False,
        moves=tuple(_moves(row, before, target)),
    )


def unnamed(decided: Reversal) -> set[str]:
    """Return the fields that `may_clear` must name for the row to be undone; empty if there is another obstacle."""
    if not isinstance(decided, list) or any(problem.reason != NOT_NAMED for problem in decided):
        return set()
    return {problem.field for problem in decided}


def copies_left(row: LedgerRow, record: Record, target: Target) -> set[str]:
    """Return objects that the API itself may have set to a copy of an object that the row changed."""
    assert row.body is not None  # it was sent
    sent: Image = json.loads(row.body)
    held = target.evidence.flatten(record)
    pairs = ((name, copy) for name, copy in target.copies.items() if name in sent and copy not in sent)
    return {copy for name, copy in pairs if name in held and held[name] == held.get(copy)}


def old_texts(row: LedgerRow, target: Target) -> dict[str, str]:
    """Return the old values of the fields that a row changed, as far as they are known; "" was absent."""
    before: Image = json.loads(row.before) if row.before is not None else {}
    texts = target.evidence.flatten(before)
    known = (name for name in row.fields if name.partition(".")[0] in before)
    return {name: texts.get(name, "") for name in known if is_comparable(name, target)}


def is_comparable(name: str, target: Target) -> bool:
    """Tell whether answers show all of a field, so that its old value can be used."""
    return _visibility(target.field(name)) is Visibility.WHOLE


def _obstacles(sent: Image, before: Image, target: Target, may_clear: Collection[str]) -> Iterator[Problem]:
    """Yield what keeps a row from being undone."""
    for name in sent:
        visibility = _visibility(target.field(name))
        if visibility is Visibility.NEVER:
            yield Problem(name, "is never shown by the API, so the old value is not known", _BY_HAND)
        elif visibility is Visibility.MASKED and before.get(name, True):
            yield Problem(name, "has a masked before-image", f"only the last characters are known: {_BY_HAND}")
        elif name not in before:
            yield Problem(name, "has no before-image", f"the baseline of the run did not know it: {_BY_HAND}")
        elif before[name] is None and target.atomic_object(name) is not None:
            yield Problem(name, "was absent before, and the API accepts it only as a whole", "it cannot be cleared")
    for name in _added(sent, before, target):
        field = target.field(name)
        if field is not None and (not field.clearable or field.required):
            yield Problem(name, "was absent before, and the API requires a value", "it cannot be cleared")
        elif name not in may_clear:
            yield Problem(
                name, NOT_NAMED, f"if it may be cleared, add {name} to input.may_clear and undo the run again"
            )


def _added(sent: Image, before: Image, target: Target) -> Iterator[str]:
    """Yield plain fields and parts of objects that were absent before: undoing them means clearing them."""
    for name, value in sent.items():
        was = before.get(name)
        atomic = target.atomic_object(name)
        if atomic is None:
            if name in before and was in (None, "") and value not in (None, ""):
                yield name
        elif was is not None:
            now, then = (_parts(target.as_held(name, each), atomic) for each in (value, was))
            yield from (f"{name}.{part}" for part in now - then)


def _parts(value: Mapping[str, Any], atomic: AtomicObject, prefix: str = "") -> set[str]:
    """Return the dotted names of the parts that an object holds."""
    names: set[str] = set()
    for part, inner in value.items():
        if isinstance(inner, Mapping) and not atomic.open:
            names |= _parts(inner, atomic, f"{prefix}{part}.")
        elif inner is not None and inner != "":
            names.add(prefix + part)
    return names


def _moves(row: LedgerRow, before: Image, target: Target) -> Iterator[tuple[str, str | None, str]]:
    """Yield field, masked value now, masked value then."""
    assert row.body is not None
    now, then = target.evidence.flatten(json.loads(row.body)), target.evidence.flatten(before)
    for name in row.fields:
        field = target.field(name)
        if field is not None:
            yield name, field.mask(now.get(name, "")), field.mask(then.get(name, ""))


def _is_cleared(name: str, value: Any, target: Target) -> bool:
    """Tell whether a sent value is the one that clears its field, as it was when the row was planned or is now."""
    return (
        value is None
        or value == ""
        or (target.atomic_object(name) is None and value == target.cleared(target.field(name)))
    )


def _visibility(field: Field | None) -> Visibility:
    return Visibility.WHOLE if field is None else field.visibility

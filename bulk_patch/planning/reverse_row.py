"""What would take one applied row back: pure decisions over its before-image and the customer as it is now."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bulk_patch.ledgers.records import LedgerRow
from bulk_patch.model import Patch, encode_json
from bulk_patch.planning.changes import Change
from bulk_patch.planning.diff import Problem
from bulk_patch.targets import Record, Target
from bulk_patch.targets.fields import AtomicObject, Field, Visibility

Image = dict[str, Any]


#: The one obstacle that a person lifts with a setting.
NOT_NAMED = "was absent before, and input.may_clear does not name it"
_BY_HAND = "write the old value into failures.csv by hand, and run that file"


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that is not taken back: somebody changed these fields since."""

    fields: tuple[str, ...]


#: None: the customer is as it was before, so there is nothing to take back.
Reversal = Change | Kept | list[Problem] | None


def reverse_row(
    row: LedgerRow, record: Record | None, target: Target, *, may_clear: Collection[str], watch: Collection[str] = ()
) -> Reversal:
    """Decide what takes one applied row back.

    All of a row is reversed or none of it: half an undo would be a state that nobody ever asked for.

    Args:
        row: The applied row, with the body that was sent and its before-image.
        record: The customer as the API shows it now; None: it knows no such customer.
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
        return [Problem("row", "is a customer that the API does not know any more", "look at the customer")]
    as_planned = Patch(row.row, row.customer_id, body=row.body, before=row.body, key="")
    as_before = replace(as_planned, before=row.before)
    if not target.evidence.differences(as_before, record):
        return None
    if differing := target.evidence.differences(as_planned, record):
        return Kept(differing)
    now = target.evidence.flatten(record)
    image = {name: value if value != "" else None for name, value in sent.items()}
    return Change(
        row=row.row,
        customer_id=row.customer_id,
        fields=row.fields,
        body=encode_json({name: "" if before[name] is None else before[name] for name in sent}),
        before=encode_json({name: now[name] for name in watch if name in now} | image),
        clears=tuple(_added(sent, before, target)),
        completed=False,
        moves=tuple(_moves(row, before, target)),
    )


def unnamed(decided: Reversal) -> set[str]:
    """Return the fields that `may_clear` would have to name for the row to be taken back; none when that is not all."""
    if not isinstance(decided, list) or any(problem.reason != NOT_NAMED for problem in decided):
        return set()
    return {problem.field for problem in decided}


def copies_left(row: LedgerRow, record: Record, target: Target) -> set[str]:
    """Return objects that the API may have set by itself to a copy of one that the row changed."""
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
    """Tell whether answers show a field whole, so that its old value is worth something."""
    return _visibility(target.field(name)) is Visibility.WHOLE


def _obstacles(sent: Image, before: Image, target: Target, may_clear: Collection[str]) -> Iterator[Problem]:
    """Yield why a row cannot be taken back, if so."""
    for name in sent:
        visibility = _visibility(target.field(name))
        if visibility is Visibility.NEVER:
            yield Problem(name, "is never shown by the API, its old value is not known", _BY_HAND)
        elif visibility is Visibility.MASKED and before.get(name, True):
            yield Problem(name, "has a masked before-image", f"only its last characters are known: {_BY_HAND}")
        elif name not in before:
            yield Problem(name, "has no before-image", f"the run had no baseline that knew it: {_BY_HAND}")
        elif before[name] is None and target.atomic_object(name) is not None:
            yield Problem(name, "was absent before, and the API takes it only as a whole", "it cannot be cleared")
    for name in _added(sent, before, target):
        field = target.field(name)
        if field is not None and (not field.clearable or field.required):
            yield Problem(name, "was absent before, and the API requires a value", "it cannot be cleared")
        elif name not in may_clear:
            yield Problem(name, NOT_NAMED, f"may it be cleared? name {name} in input.may_clear, and undo again")


def _added(sent: Image, before: Image, target: Target) -> Iterator[str]:
    """Yield plain fields and parts of objects that were absent before: taking them back means to clear them."""
    for name, value in sent.items():
        was = before.get(name)
        atomic = target.atomic_object(name)
        if atomic is None:
            if name in before and was in (None, "") and value not in (None, ""):
                yield name
        elif was is not None:
            yield from (f"{name}.{part}" for part in _parts(value, atomic) - _parts(was, atomic))


def _parts(value: Mapping[str, Any], atomic: AtomicObject, prefix: str = "") -> set[str]:
    """Return the dotted names of what an object holds."""
    names: set[str] = set()
    for part, inner in value.items():
        if isinstance(inner, Mapping) and not atomic.open:
            names |= _parts(inner, atomic, f"{prefix}{part}.")
        elif inner not in (None, "", False):  # documented: left out when it is false
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


def _visibility(field: Field | None) -> Visibility:
    return Visibility.WHOLE if field is None else field.visibility

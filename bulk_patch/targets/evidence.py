"""What a customer's record proves about a planned change: pure comparisons, for every target.

Records are JSON as it was decoded: of objects they hold `dict`, which is told twenty times faster than any `Mapping`.
The planned body is a set of top-level fields, objects whole. A before-image holds the same fields as they were:
`null` stands for absent, a missing name for not known.
"""

import json
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from bulk_patch.model import Action, Patch, Verdict
from bulk_patch.targets import Record
from bulk_patch.targets.fields import AtomicObject, Field, Kind, Visibility

CLOCK_ALLOWANCE_S = 300.0


class Evidence:
    """Compares records with planned bodies and before-images.

    Args:
        field: The field of a dotted name, or None.
        objects: Atomic objects by their top-level names.
    """

    def __init__(self, field: Callable[[str], Field | None], objects: Mapping[str, AtomicObject]) -> None:
        self._field = field
        self._objects = objects

    def weigh(self, patch: Patch, record: Record | None, act: Action, *, cached: bool, skew_s: float) -> Verdict:
        """Decide a row by what a read showed; see `Target.weigh`."""
        if record is None:
            return Verdict(Action.UNKNOWN, "the API does not know this customer any more")
        missing = self.missing(patch, record)
        if not missing and (act is Action.CONFIRM or self._proves(patch)):
            return Verdict(Action.APPLIED, "read back")
        if act is Action.CONFIRM:
            return Verdict(Action.MISMATCH, "accepted, and a read shows another value", api_fields=missing)
        untouched = patch.before is not None and not self.differences(patch, record)
        # Our clock may have been another at the intent: what it is off by now makes us more careful, never less.
        old = untouched and _older(record, patch.intent_at + min(skew_s, 0.0))
        if act is Action.SETTLE and old and cached:
            return Verdict(Action.REJECTED, "refused, and a read shows the old values")
        # The same key is safe; the look is for drift, of which only what is known of the old values can tell.
        known = patch.before is not None
        if act is Action.RETRY and known and not self.differences(patch, record, ignore_unknown=True):
            return Verdict(Action.RETRY, "a read shows the old values")
        if act is Action.NEW_KEY and old:
            return Verdict(Action.NEW_KEY, "a read shows the old values, untouched since before the first attempt")
        return Verdict(Action.UNKNOWN, "a read proves neither applied nor refused", api_fields=missing)

    def missing(self, patch: Patch, record: Record) -> tuple[str, ...]:
        """Name planned fields that the record does not show as planned, masked ones as far as visible."""
        names: list[str] = []
        for name, value in json.loads(patch.body).items():
            shown = record.get(name)
            if isinstance(value, str) and value == shown:
                continue  # almost every field of almost every answer
            field = self._field(name)
            live = self._as_held(name, shown)
            if isinstance(value, dict):
                planned, was = self._as_held(name, value), self._as_held(name, _decode(patch.before).get(name))
                names += [f"{name}.{part}" for part in _parts_that_differ(planned, was, live)]
            elif field is not None and field.visibility is not Visibility.NEVER and not _same(field, value, live):
                names.append(name)
        return tuple(names)

    def differences(self, patch: Patch, record: Record, *, ignore_unknown: bool = False) -> tuple[str, ...]:
        """Name planned fields whose live value is not the before-image's, masked ones as far as visible.

        Args:
            patch: The row.
            record: The customer as it is.
            ignore_unknown: Pass over what the before-image does not know; otherwise that differs.
        """
        before = _decode(patch.before)
        names: list[str] = []
        for name in json.loads(patch.body):
            field = self._field(name)
            if (field is not None and field.visibility is Visibility.NEVER) or (ignore_unknown and name not in before):
                continue
            was, live = self._as_held(name, before.get(name)), self._as_held(name, record.get(name))
            if name not in before or not _same(field, was, live):
                names.append(name)
        return tuple(names)

    def flatten(self, record: Record, *, objects: Collection[str] | None = None) -> dict[str, str]:
        """Return a record as dotted text, without read-only parts.

        Args:
            record: A record, or a part of one.
            objects: Objects to return as JSON text too; None: all.
        """
        flat: dict[str, str] = {}
        for name, value in record.items():
            atomic = self._objects.get(name)
            if atomic is not None and isinstance(value, dict):
                stripped = {part: inner for part, inner in self._strip(name, value).items() if inner is not None}
                if objects is None or name in objects:
                    flat[name] = json.dumps(stripped, ensure_ascii=False)
                flat.update(_leaves(name, stripped, deep=not atomic.open))
            elif value is not None and not isinstance(value, (dict, list)):
                flat[name] = as_text(value)
        return flat

    def _proves(self, patch: Patch) -> bool:
        """Tell whether seeing the planned values means anything.

        What is masked may look the same before and after; what is never shown is known only by what changed with it.
        """
        before = _decode(patch.before)
        planned = [(name, self._field(name), value) for name, value in json.loads(patch.body).items()]
        hides = any(field is not None and field.visibility is Visibility.NEVER for _, field, _ in planned)
        for name, field, value in planned:
            seen = Visibility.WHOLE if field is None else field.visibility
            if seen is Visibility.WHOLE and not hides:
                return True
            if seen is not Visibility.NEVER and name in before and not _same(field, value, before[name]):
                return True
        return False

    def _strip(self, name: str, value: Any) -> Any:
        """Drop the parts of an object that answers have and requests must not."""
        atomic = self._objects.get(name)
        if atomic is None or not isinstance(value, dict):
            return value
        return {part: inner for part, inner in value.items() if part not in atomic.read_only}

    def _as_held(self, name: str, value: Any) -> Any:
        """Bring an object into the form that the server holds and shows, to be compared in it."""
        value = self._strip(name, value)
        if name not in self._objects or not isinstance(value, dict):
            return value
        in_canada = value.get("country_code") == "CA"
        return {part: self._part_as_held(f"{name}.{part}", inner, in_canada=in_canada) for part, inner in value.items()}

    def _part_as_held(self, name: str, value: Any, *, in_canada: bool) -> Any:
        field = self._field(name)
        if value is False and field is not None and field.kind is Kind.BOOLEAN:
            return None  # documented: left out when it is false
        if in_canada and isinstance(value, str) and field is not None and field.rewrite is not None:
            return canadian(value)
        return value


def _parts_that_differ(planned: Mapping[str, Any], before: Any, live: Any) -> Iterator[str]:
    """Name parts that are not as planned. A part that was there before and is not planned has to be gone."""
    shown = live if isinstance(live, dict) else {}
    dropped = {part: None for part in (before if isinstance(before, dict) else {}) if part not in planned}
    for part, value in {**dropped, **planned}.items():
        if not _equal(value, shown.get(part)):
            yield part


def canadian(postal_code: str) -> str:
    """Rewrite a Canadian postal code as the API documents it: any case and spacing become `A1A 1A1`."""
    tight = postal_code.replace(" ", "").upper()
    return f"{tight[:3]} {tight[3:]}"


def as_text(value: Any) -> str:
    """Return a JSON scalar as the text that a cell would hold."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _decode(image: bytes | None) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(image) if image is not None else {}
    return decoded


def _same(field: Field | None, one: Any, other: Any) -> bool:
    if field is not None and field.visibility is Visibility.MASKED:
        return as_text(one or "")[-4:] == as_text(other or "")[-4:]
    return _equal(one, other)


def _equal(one: Any, other: Any) -> bool:
    """Compare two JSON values: text in NFC, empty and absent alike, objects part by part."""
    if isinstance(one, dict) or isinstance(other, dict):
        one, other = one or {}, other or {}
        if not isinstance(one, dict) or not isinstance(other, dict):
            return False
        return all(_equal(one.get(part), other.get(part)) for part in one.keys() | other.keys())
    if isinstance(one, str) and isinstance(other, str):
        return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    if one in (None, "") and other in (None, ""):
        return True
    return type(one) is type(other) and bool(one == other)


def _leaves(prefix: str, value: Mapping[str, Any], *, deep: bool) -> Iterator[tuple[str, str]]:
    for part, inner in value.items():
        if deep and isinstance(inner, dict):
            yield from _leaves(f"{prefix}.{part}", inner, deep=deep)
        elif inner is not None and not isinstance(inner, (dict, list)):
            yield f"{prefix}.{part}", as_text(inner)


def _older(record: Record, intent_at: float) -> bool:
    """Tell whether the record was last touched before the first intent, the server's clock allowed for."""
    try:
        touched = datetime.fromisoformat(str(record.get("last_updated_time")))
    except ValueError:
        return False
    return touched.tzinfo is not None and touched.timestamp() < intent_at - CLOCK_ALLOWANCE_S

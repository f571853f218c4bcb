"""What a record proves about a planned change: pure comparisons, for every target.

Records are decoded JSON: objects are `dict`, for which `isinstance` is twenty times faster than for `Mapping`.
A planned body holds top-level fields, and objects as a whole. A before-image holds the same fields as they were:
`null` means absent, a missing name means not known.
"""

import json
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any

from bulk_patch.model import Action, Patch, Verdict, encode_json
from bulk_patch.targets import Record
from bulk_patch.targets.fields import AtomicObject, Field, Visibility

CLOCK_ALLOWANCE_S = 300.0


class Evidence:
    """Compares records with planned bodies and before-images.

    Args:
        field: The field of a dotted name, or None.
        objects: Atomic objects by their top-level names.
        as_held: Gives an object the form in which the server holds it; see `Target.as_held`.
        changed_at: When a record was last changed; see `Target.changed_at`.
        noun: What a record is called.
    """

    def __init__(
        self,
        field: Callable[[str], Field | None],
        objects: Mapping[str, AtomicObject],
        *,
        as_held: Callable[[str, Any], Any] = lambda name, value: value,
        changed_at: Callable[[Record], datetime | None] = lambda record: None,
        noun: str = "record",
    ) -> None:
        self._field = field
        self._objects = objects
        self._held = as_held
        self._changed_at = changed_at
        self._noun = noun

    def weigh(self, patch: Patch, record: Record | None, act: Action, *, cached: bool, skew_s: float) -> Verdict:
        """Decide what becomes of a row whose answer proved nothing, by what a read of the record shows.

        Args:
            patch: The row: body, before-image and time of the first attempt.
            record: As read; None: the API has no such record.
            act: Why it was read: CONFIRM (accepted, to be read back), SETTLE, RETRY, NEW_KEY or LOOK.
            cached: Whether the API keeps this answer for the idempotency key.
            skew_s: The server's clock minus ours, seconds.

        Returns:
            APPLIED, MISMATCH, REJECTED, RETRY or NEW_KEY where the read proves it, else UNKNOWN.
        """
        if record is None:
            return Verdict(Action.UNKNOWN, f"the {self._noun} no longer exists in the API")
        missing = self.missing(patch, record)
        if not missing and (act is Action.CONFIRM or self._proves(patch)):
            return Verdict(Action.APPLIED, "read back")
        if act is Action.CONFIRM:
            return Verdict(Action.MISMATCH, "accepted, and a read shows another value", api_fields=missing)
        untouched = patch.before is not None and not self.differences(patch, record)
        # Our clock may have been set since the intent: its offset makes this more careful, never less.
        old = untouched and self._is_older(record, patch.intent_at + min(skew_s, 0.0))
        if act is Action.SETTLE and old and cached:
            return Verdict(Action.REJECTED, "refused, and a read shows the old values")
        if act is Action.RETRY:
            if self._is_as_before(patch, record, patch.intent_at + min(skew_s, 0.0)):
                return Verdict(Action.RETRY, "a read shows the old values")
            words = "a read shows neither the planned values nor, for certain, the old ones: it is not overwritten"
            return Verdict(Action.UNKNOWN, words, api_fields=missing)
        if act is Action.NEW_KEY and old:
            return Verdict(Action.NEW_KEY, "a read shows the old values, untouched since before the first attempt")
        return Verdict(Action.UNKNOWN, "a read proves neither applied nor refused", api_fields=missing)

    def _is_as_before(self, patch: Patch, record: Record, intent_at: float) -> bool:
        """Tell whether nobody has changed a record since the plan, so that the same key overwrites nothing.

        What the before-image does not know is judged by when the record was changed last.
        """
        if self.differences(patch, record, ignore_unknown=True):
            return False
        before = _decode(patch.before)
        fields = {name: self._field(name) for name in json.loads(patch.body)}
        shown = [name for name, field in fields.items() if field is None or field.visibility is not Visibility.NEVER]
        is_known = bool(shown) and all(name in before for name in shown)
        return is_known or self._is_older(record, intent_at)

    def missing(self, patch: Patch, record: Record) -> tuple[str, ...]:
        """Name planned fields that the record does not show as planned; masked fields as far as they are visible."""
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
        """Name planned fields whose live value is not that of the before-image; masked fields as far as visible.

        Args:
            patch: The row.
            record: As it is.
            ignore_unknown: Skip fields that the before-image does not know; otherwise they count as different.
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

    def oddity(self, record: Record) -> str:
        """Name what keeps a record from being compared or kept, "" when nothing does; never a value."""
        try:
            encode_json(record)
        except ValueError:  # half a surrogate pair, NaN, infinity
            return "it holds characters or numbers that cannot be written down"
        for name, value in record.items():
            if name in self._objects:
                if value is not None and not isinstance(value, dict):
                    return f"{name} is not an object"
                parts = {f"{name}.{part}": inner for part, inner in (value or {}).items()}
                if odd := next((part for part, inner in parts.items() if self._is_nested(part, inner)), None):
                    return f"{odd} is not text"
            elif self._is_nested(name, value):
                return f"{name} is not text"
        return ""

    def _is_nested(self, name: str, value: Any) -> bool:
        return isinstance(value, (dict, list)) and self._field(name) is not None

    def flatten(self, record: Record, *, objects: Collection[str] | None = None) -> dict[str, str]:
        """Flatten a record to text by dotted name, without read-only parts.

        Args:
            record: A record, or a part of one.
            objects: Objects to return as JSON text as well; None: all.
        """
        flat: dict[str, str] = {}
        for name, value in record.items():
            if isinstance(value, str):
                flat[name] = value
                continue
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
        """Tell whether a record that shows the planned values proves that the change was applied.

        A masked value may look the same before and after; a hidden value is proven only by what changed with it.
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
        """Drop the parts of an object that answers have and requests must not have."""
        atomic = self._objects.get(name)
        if atomic is None or not isinstance(value, dict):
            return value
        return {part: inner for part, inner in value.items() if part not in atomic.read_only}

    def _as_held(self, name: str, value: Any) -> Any:
        """Convert an object to the form in which the server holds and shows it, for comparisons."""
        return self._held(name, self._strip(name, value)) if name in self._objects else value

    def _is_older(self, record: Record, intent_at: float) -> bool:
        """Tell whether the record was last changed before the first intent, with an allowance for its clock."""
        touched = self._changed_at(record)
        return touched is not None and touched.timestamp() < intent_at - CLOCK_ALLOWANCE_S


def _parts_that_differ(planned: Mapping[str, Any], before: Any, live: Any) -> Iterator[str]:
    """Name parts that are not as planned; a part that was there before and is not planned must be gone."""
    shown = live if isinstance(live, dict) else {}
    dropped = {part: None for part in (before if isinstance(before, dict) else {}) if part not in planned}
    for part, value in {**dropped, **planned}.items():
        if not _equal(value, shown.get(part)):
            yield part


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

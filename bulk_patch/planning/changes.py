"""From one changed row to the bytes that will be sent, and what was there before. Pure."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.inputs.columns import arrow_of, encode_each
from bulk_patch.model import encode_json
from bulk_patch.planning.diff import Problem
from bulk_patch.targets import Target
from bulk_patch.targets.fields import AtomicObject, Field, Kind, Visibility

_CELLS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Change:
    """One row that changes, ready to be sealed."""

    row: int
    customer_id: str
    fields: tuple[str, ...]
    body: bytes
    before: bytes | None
    clears: tuple[str, ...]
    completed: bool  # an object was completed from the baseline
    moves: tuple[tuple[str, str | None, str], ...]  # field, masked old (None: not known), masked new


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Where the value of a field stands in its object."""

    name: str
    field: Field
    steps: tuple[str, ...]
    last: str

    def put(self, made: dict[str, Any], text: str) -> None:
        """Set one part of an object, or take it out where it is cleared."""
        for step in self.steps:
            made = made.setdefault(step, {})
        if text:
            made[self.last] = _typed(self.field, text)
        else:
            made.pop(self.last, None)


def _place(field: Field, whole: AtomicObject | None) -> FieldPath:
    """Return where a field stands; single keys of an open object hold dots."""
    if whole is None:
        return FieldPath(field.name, field, (), field.name)
    inner = field.name.removeprefix(f"{whole.name}.")
    *steps, last = [inner] if whole.open else inner.split(".")
    return FieldPath(field.name, field, tuple(steps), last)


class BodyContext:
    """What is the same for all rows of a comparison.

    Args:
        picture: What the baseline knows.
        target: Knows fields and objects.
        given: Names of the fields that the input has.
        watch: Fields that are not changed but whose values a guard compares: kept in the before-image.
    """

    def __init__(
        self, snapshot: Snapshot | None, target: Target, given: Iterable[str], *, watch: Collection[str] = ()
    ) -> None:
        self.target = target
        self.watch = tuple(watch)
        self.there = snapshot is not None
        self.complete = snapshot is not None and snapshot.complete
        self.sparse = snapshot is not None and snapshot.sparse
        columns: list[str] = list(snapshot.frame.columns) if snapshot is not None else []
        self.tops = frozenset(column.partition(".")[0] for column in columns)
        self.given = self._places(given)
        self.held = self._places(column for column in columns if "." in column)
        self.places = {place.name: place for places in self.given.values() for place in places}

    def _places(self, names: Iterable[str]) -> dict[str, list[FieldPath]]:
        """Return the fields of each top-level name."""
        found: dict[str, list[FieldPath]] = {}
        for name in names:
            top = name.partition(".")[0]
            if (field := self.target.field(name)) is not None:
                found.setdefault(top, []).append(_place(field, self.target.whole(top)))
        return found


class BeforeImage:
    """One customer as the baseline has it."""

    def __init__(self, texts: Mapping[str, str] | None, view: BodyContext) -> None:
        self.texts = texts or {}
        self.view = view
        self._known = texts is not None and view.there

    def knows(self, top: str) -> bool:
        """Tell whether a plain field, or any part of an object, is known; known and not there means absent."""
        if self._known and self.view.sparse:
            return any(name.partition(".")[0] == top for name in self.texts)
        return self._known and (self.view.complete or top in self.view.tops)

    def whole(self, whole: AtomicObject) -> dict[str, Any] | None:
        """Return an object as it is, None when it is absent or not known."""
        if whole.name in self.texts:
            loaded: dict[str, Any] = json.loads(self.texts[whole.name])
            return loaded
        made: dict[str, Any] = {}
        for place in self.view.held.get(whole.name, ()):
            if text := self.texts.get(place.name):
                place.put(made, text)
        return made or None


def make_change(
    row: int, customer_id: str, changed: Sequence[str], given: Mapping[str, str], before: BeforeImage
) -> Change | Problem:
    """Return a row as a change, or the problem that keeps it from being one.

    Args:
        row: Its number.
        customer_id: Whose row it is.
        changed: Names of the fields that change.
        given: All wanted texts of the row; an empty one clears.
        before: The customer as the baseline has it.
    """
    view, target = before.view, before.view.target
    image: dict[str, Any] = {name: before.texts[name] for name in view.watch if name in before.texts}
    body: dict[str, Any] = {}
    completed = False
    for top in dict.fromkeys([name.partition(".")[0] for name in changed]):
        whole = target.whole(top)
        known = before.knows(top)
        if whole is None:
            field = view.places[top].field
            body[top] = _typed(field, given[top])
            if known and field.seen is not Visibility.NEVER:
                old = before.texts.get(top)
                image[top] = _typed(field, old) if old else None
            continue
        if whole.open and not known:  # what else is in it would be lost
            return Problem(top, "is not known", _completion_hint(top, before=before))
        was = before.whole(whole)
        made: dict[str, Any] = _copy(was) if was else {}
        for place in view.given[top]:
            if (text := given.get(place.name)) is not None:
                place.put(made, text)
        if lacking := [part for part in whole.required if not made.get(part)]:
            return Problem(top, f"lacks {', '.join(lacking)}", _completion_hint(top, lacking, before=before))
        body[top] = made
        completed = completed or whole.open or any(f"{top}.{part}" not in given for part in made)
        if known:
            image[top] = was
    if lacks := target.needs(changed):
        return Problem("row", "is not complete", lacks)
    return Change(
        row=row,
        customer_id=customer_id,
        fields=tuple(changed),
        body=encode_json(body),
        before=encode_json(image) if image else None,
        clears=tuple([name for name in changed if not given[name]]),
        completed=completed,
        moves=tuple([_move(view.places[name].field, given[name], before) for name in changed]),
    )


def _copy(value: dict[str, Any]) -> dict[str, Any]:
    """Copy a JSON object; several times faster than `copy.deepcopy`, which expects anything."""
    return {name: _copy(inner) if isinstance(inner, dict) else inner for name, inner in value.items()}


def _completion_hint(top: str, lacking: Sequence[str] = (), *, before: BeforeImage) -> str:
    parts = " and ".join(f"{top}.{part}" for part in lacking)
    if before.knows(top):
        return f"the customer has no {top} yet, and the API takes it only as a whole: give {parts} too"
    ways = f"give {parts}, or use a live baseline" if lacking else "use a live baseline"
    return f"the API takes {top} only as a whole, and the baseline does not have it: {ways}"


def _move(field: Field, new: str, before: BeforeImage) -> tuple[str, str | None, str]:
    old = before.texts.get(field.name, "")
    known = before.knows(field.name if "." not in field.name else field.name.partition(".")[0])
    return field.name, field.mask(old) if known and field.seen is not Visibility.NEVER else None, field.mask(new)


def _typed(field: Field, text: str) -> Any:
    """Return the JSON value of a text; what a baseline file has in another spelling than the API stays text."""
    match field.kind:
        case Kind.TEXT:
            return text
        case Kind.BOOLEAN:
            return {"true": True, "false": False}.get(text.lower(), text)
        case Kind.INTEGER:
            return int(text) if text.isdecimal() else text


def are_unsent_notes(names: Iterable[str], target: Target) -> bool:
    """Tell whether all these fields are ones that cannot be read back: they are sent once, so ask the ledger."""
    fields = [target.field(name) for name in names]
    return all(field is not None and field.seen is Visibility.NEVER for field in fields)


def frame_cells(frame: pd.DataFrame) -> Iterator[tuple[int, bytes]]:
    """Yield each row's cells as read, as a JSON array; null for a missing one."""
    columns = [encode_each(arrow_of(frame[name]).to_pylist()) for name in frame.columns]
    for row, cells in zip(frame.index.tolist(), zip(*columns, strict=True), strict=True):
        yield row, f"[{','.join(cells)}]".encode()


def encode_cells(cells: Sequence[str | None]) -> bytes:
    """Return one row's cells as the ledger keeps them: a JSON array, null for a missing one."""
    return _CELLS.encode(cells).encode()

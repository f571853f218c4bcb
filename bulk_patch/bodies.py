"""From a changed row to the bytes that will be sent, and what was there before. Pure."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bulk_patch.diff import Compared, Picture, Problem, Wanted, changed_fields
from bulk_patch.model import encode_json
from bulk_patch.targets import Target
from bulk_patch.targets.fields import Field, Kind, Seen, Whole
from bulk_patch.texts import arrow_of, texts_of

_CELLS = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_COLUMN = json.JSONEncoder(ensure_ascii=False, separators=("\n", ":"))


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


def build(
    compared: Compared, wanted: Wanted, picture: Picture | None, target: Target, *, watch: Collection[str] = ()
) -> Iterator[Change | tuple[int, Problem]]:
    """Yield each row of a comparison as a change, or with the problem that keeps it from being one.

    Args:
        compared: What changes.
        wanted: The chunk it comes from.
        picture: What the baseline knows.
        target: Knows fields and objects.
        watch: Fields that are not changed but whose values a guard compares: kept in the before-image.
    """
    rows = compared.changed.index
    ids = texts_of(wanted.ids.loc[rows])
    olds: Iterator[Mapping[str, str] | None] = iter([None] * len(rows))
    if compared.before is not None:
        olds = _texts_by_row(compared.before)
    view = _View(picture, target, wanted.values.columns)
    givens = _texts_by_row(wanted.values.loc[rows])
    for (row, changed), customer_id, given, old, known in zip(
        changed_fields(compared), ids, givens, olds, compared.known.to_list(), strict=True
    ):
        before = _Before(old if known else None, view)
        image: dict[str, Any] = {name: before.texts[name] for name in watch if name in before.texts}
        yield _change(row, customer_id, changed, given, before, image)


def _texts_by_row(frame: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Yield each row's texts by column, missing ones left out; a list a column, since pandas is slow row by row."""
    names = list(frame.columns)
    columns = [arrow_of(frame[name]).to_pylist() for name in names]
    if not columns:
        return iter([{} for _ in range(len(frame))])
    return (
        {name: text for name, text in zip(names, texts, strict=True) if text is not None}
        for texts in zip(*columns, strict=True)
    )


@dataclass(frozen=True, slots=True)
class _Place:
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


def _place(field: Field, whole: Whole | None) -> _Place:
    """Return where a field stands; single keys of an open object hold dots."""
    if whole is None:
        return _Place(field.name, field, (), field.name)
    inner = field.name.removeprefix(f"{whole.name}.")
    *steps, last = [inner] if whole.open else inner.split(".")
    return _Place(field.name, field, tuple(steps), last)


class _View:
    """What is the same for all rows of a comparison.

    Args:
        picture: What the baseline knows.
        target: Knows fields and objects.
        given: Names of the fields that the input has.
    """

    def __init__(self, picture: Picture | None, target: Target, given: Iterable[str]) -> None:
        self.target = target
        self.there = picture is not None
        self.complete = picture is not None and picture.complete
        self.sparse = picture is not None and picture.sparse
        columns: list[str] = list(picture.frame.columns) if picture is not None else []
        self.tops = frozenset(column.partition(".")[0] for column in columns)
        self.given = self._places(given)
        self.held = self._places(column for column in columns if "." in column)
        self.places = {place.name: place for places in self.given.values() for place in places}

    def _places(self, names: Iterable[str]) -> dict[str, list[_Place]]:
        """Return the fields of each top-level name."""
        found: dict[str, list[_Place]] = {}
        for name in names:
            top = name.partition(".")[0]
            if (field := self.target.field(name)) is not None:
                found.setdefault(top, []).append(_place(field, self.target.whole(top)))
        return found


class _Before:
    """One customer as the baseline has it."""

    def __init__(self, texts: Mapping[str, str] | None, view: _View) -> None:
        self.texts = texts or {}
        self.view = view
        self._known = texts is not None and view.there

    def knows(self, top: str) -> bool:
        """Tell whether a plain field, or any part of an object, is known; known and not there means absent."""
        if self._known and self.view.sparse:
            return any(name.partition(".")[0] == top for name in self.texts)
        return self._known and (self.view.complete or top in self.view.tops)

    def whole(self, whole: Whole) -> dict[str, Any] | None:
        """Return an object as it is, None when it is absent or not known."""
        if whole.name in self.texts:
            loaded: dict[str, Any] = json.loads(self.texts[whole.name])
            return loaded
        made: dict[str, Any] = {}
        for place in self.view.held.get(whole.name, ()):
            if text := self.texts.get(place.name):
                place.put(made, text)
        return made or None


def _change(
    row: int,
    customer_id: str,
    changed: list[str],
    given: Mapping[str, str],
    before: _Before,
    image: dict[str, Any],
) -> Change | tuple[int, Problem]:
    view, target = before.view, before.view.target
    body: dict[str, Any] = {}
    completed = False
    for top in dict.fromkeys([name.partition(".")[0] for name in changed]):
        whole = target.whole(top)
        known = before.knows(top)
        if whole is None:
            field = view.places[top].field
            body[top] = _typed(field, given[top])
            if known and field.seen is not Seen.NEVER:
                old = before.texts.get(top)
                image[top] = _typed(field, old) if old else None
            continue
        if whole.open and not known:  # what else is in it would be lost
            return row, Problem(top, "is not known", _completion_hint(top, before=before))
        was = before.whole(whole)
        made: dict[str, Any] = _copy(was) if was else {}
        for place in view.given[top]:
            if (text := given.get(place.name)) is not None:
                place.put(made, text)
        if lacking := [part for part in whole.required if not made.get(part)]:
            return row, Problem(top, f"lacks {', '.join(lacking)}", _completion_hint(top, lacking, before=before))
        body[top] = made
        completed = completed or whole.open or any(f"{top}.{part}" not in given for part in made)
        if known:
            image[top] = was
    if lacks := target.needs({name: given[name] for name in changed}):
        return row, Problem("row", "is not complete", lacks)
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


def _completion_hint(top: str, lacking: Sequence[str] = (), *, before: _Before) -> str:
    parts = " and ".join(f"{top}.{part}" for part in lacking)
    if before.knows(top):
        return f"the customer has no {top} yet, and the API takes it only as a whole: give {parts} too"
    ways = f"give {parts}, or use a live baseline" if lacking else "use a live baseline"
    return f"the API takes {top} only as a whole, and the baseline does not have it: {ways}"


def _move(field: Field, new: str, before: _Before) -> tuple[str, str | None, str]:
    old = before.texts.get(field.name, "")
    known = before.knows(field.name if "." not in field.name else field.name.partition(".")[0])
    return field.name, field.mask(old) if known and field.seen is not Seen.NEVER else None, field.mask(new)


def _typed(field: Field, text: str) -> Any:
    """Return the JSON value of a text; what a baseline file has in another spelling than the API stays text."""
    match field.kind:
        case Kind.TEXT:
            return text
        case Kind.BOOLEAN:
            return {"true": True, "false": False}.get(text.lower(), text)
        case Kind.INTEGER:
            return int(text) if text.isdecimal() else text


def is_unsent_note(change: Change, target: Target) -> bool:
    """Tell whether all that a row would do is to write what cannot be read back: sent once, so ask the ledger."""
    fields = [target.field(name) for name in change.fields]
    return all(field is not None and field.seen is Seen.NEVER for field in fields)


def frame_cells(frame: pd.DataFrame) -> Iterator[tuple[int, bytes]]:
    """Yield each row's cells as read, as a JSON array; null for a missing one."""
    columns = [_encode_each(arrow_of(frame[name]).to_pylist()) for name in frame.columns]
    for row, cells in zip(frame.index.tolist(), zip(*columns, strict=True), strict=True):
        yield row, f"[{','.join(cells)}]".encode()


def _encode_each(texts: list[str | None]) -> list[str]:
    """Return each text in JSON, in one call: a line feed in a text is escaped, so it can stand between two."""
    return _COLUMN.encode(texts)[1:-1].split("\n") if texts else []


def encode_cells(cells: Sequence[str | None]) -> bytes:
    """Return one row's cells as the ledger keeps them: a JSON array, null for a missing one."""
    return _CELLS.encode(cells).encode()

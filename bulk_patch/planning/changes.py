"""Turn a changed row into the body that will be sent and its before-image. Pure functions."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import Any

import pandas as pd

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.inputs.columns import arrow_of, encode_each, texts_of
from bulk_patch.model import encode_json
from bulk_patch.planning.diff import Compared, Wanted
from bulk_patch.planning.problems import Problem
from bulk_patch.targets import Target
from bulk_patch.targets.fields import AtomicObject, Field, Kind, Mask, Visibility

Texts = Mapping[str, str | None]  # the cells of one row by field; None: missing

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
    """The place of a field in its object."""

    target: Target
    name: str
    field: Field
    steps: tuple[str, ...]
    last: str

    def put(self, made: dict[str, Any], text: str) -> None:
        """Set one part of an object, or remove it where it is cleared."""
        for step in self.steps:
            made = made.setdefault(step, {})
        if text:
            made[self.last] = text if self.field.kind is Kind.TEXT else self.target.encode(self.field, text)
        else:
            made.pop(self.last, None)


def _path_of(target: Target, field: Field, atomic: AtomicObject | None) -> FieldPath:
    """Return the path of a field; a single key of an open object may contain dots."""
    if atomic is None:
        return FieldPath(target, field.name, field, (), field.name)
    inner = field.name.removeprefix(f"{atomic.name}.")
    *steps, last = [inner] if atomic.open else inner.split(".")
    return FieldPath(target, field.name, field, tuple(steps), last)


@dataclass(frozen=True, slots=True)
class _TopLevel:
    """One top-level name of a change: a plain field, or an object that is sent whole."""

    name: str
    atomic: AtomicObject | None
    field: Field | None  # None for an object
    given: "_FieldPaths"  # the fields of it that the input has
    held: "_FieldPaths"  # the fields of it that the baseline has
    columns: tuple[str, ...]  # the baseline's columns that belong to it
    is_held: bool  # the baseline knows it of every customer it has, unless it is sparse


class _FieldPaths:
    """Fields of one object; those that only need a key, almost all of them, are kept apart.

    Args:
        places: The fields.
    """

    def __init__(self, places: Iterable[FieldPath]) -> None:
        every = tuple(places)
        self.texts = tuple((at.name, at.last) for at in every if not at.steps and at.field.kind is Kind.TEXT)
        self.others = tuple(at for at in every if at.steps or at.field.kind is not Kind.TEXT)
        self.are_deep = any(at.steps for at in every)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What rows with the same changed fields have in common."""

    fields: tuple[str, ...]
    tops: tuple[_TopLevel, ...]
    masks: tuple[tuple[str, str, Mask, bool], ...]  # field, top-level name, mask, whether answers ever show it
    lacks: str  # what is missing for a change of these fields, or ""


class BodyContext:
    """What is the same for all rows of a comparison.

    Args:
        snapshot: What the baseline knows.
        target: Knows fields and objects.
        given: Names of the fields that the input has.
        watch: Fields that are not changed but whose values a guard compares: kept in the before-image.
    """

    def __init__(
        self, snapshot: Snapshot | None, target: Target, given: Iterable[str], *, watch: Collection[str] = ()
    ) -> None:
        self.watch = tuple(watch)
        self.noun = target.noun
        self._target = target
        self._complete = snapshot is not None and snapshot.complete
        self._sparse = snapshot is not None and snapshot.sparse
        self._columns: list[str] = list(snapshot.frame.columns) if snapshot is not None else []
        self._given = self._paths_of(given)
        self._held = self._paths_of(column for column in self._columns if "." in column)
        self._shapes: dict[tuple[str, ...], _Shape] = {}

    def shape(self, changed: tuple[str, ...]) -> _Shape:
        """Return what rows in which these fields change have in common; worked out once for each set of fields."""
        if changed not in self._shapes:
            tops = dict.fromkeys(name.partition(".")[0] for name in changed)
            fields = {place.name: place.field for top in tops for place in self._given[top]}
            self._shapes[changed] = _Shape(
                fields=changed,
                tops=tuple(self._top(name) for name in tops),
                masks=tuple(
                    (name, name.partition(".")[0], fields[name].mask, fields[name].visibility is not Visibility.NEVER)
                    for name in changed
                ),
                lacks=self._target.needs(changed),
            )
        return self._shapes[changed]

    def json_of(self, field: Field, text: str) -> Any:
        """Return the JSON value of a plain field's cell; an empty one clears it."""
        if not text:
            return self._target.cleared(field)
        return text if field.kind is Kind.TEXT else self._target.encode(field, text)

    def knows(self, top: _TopLevel, texts: Texts | None) -> bool:
        """Tell whether a plain field, or any part of an object, is known; known and not there means absent.

        Args:
            top: The field or object.
            texts: The customer as the baseline has it; None: the baseline does not have it.
        """
        if texts is None:
            return False
        return any(texts[name] is not None for name in top.columns) if self._sparse else top.is_held

    def _top(self, name: str) -> _TopLevel:
        atomic = self._target.atomic_object(name)
        columns = tuple(column for column in self._columns if column.partition(".")[0] == name)
        return _TopLevel(
            name=name,
            atomic=atomic,
            field=self._given[name][0].field if atomic is None else None,
            given=_FieldPaths(self._given[name]),
            held=_FieldPaths(self._held.get(name, ())),
            columns=columns,
            is_held=self._complete or bool(columns),
        )

    def _paths_of(self, names: Iterable[str]) -> dict[str, list[FieldPath]]:
        """Return the fields of each top-level name."""
        found: dict[str, list[FieldPath]] = {}
        for name in names:
            top = name.partition(".")[0]
            if (field := self._target.field(name)) is not None:
                found.setdefault(top, []).append(_path_of(self._target, field, self._target.atomic_object(top)))
        return found


def build_changes(
    compared: Compared, wanted: Wanted, snapshot: Snapshot | None, target: Target, *, watch: Collection[str] = ()
) -> Iterator[Change | tuple[int, Problem]]:
    """Yield each row of a comparison as a change, or its number with the problem that makes it invalid.

    Args:
        compared: What changes.
        wanted: The chunk it comes from.
        snapshot: What the baseline knows.
        target: Knows fields and objects.
        watch: Fields that are not changed but whose values a guard compares: kept in the before-image.
    """
    context = BodyContext(snapshot, target, wanted.values.columns, watch=watch)
    changed, index = compared.changed, compared.changed.index
    names = changed.columns.tolist()
    tops = {name.partition(".")[0] for name in changed.columns[changed.any()]}
    before = compared.before if compared.before is not None else pd.DataFrame(index=index)
    rows = zip(
        index.tolist(),
        texts_of(wanted.ids.loc[index]),
        changed.to_numpy(dtype=bool).tolist(),
        _row_texts(wanted.values[_under(tops, wanted.values)].loc[index]),
        compared.known.tolist(),
        _row_texts(before[_under({*tops, *watch}, before)]),
        strict=True,
    )
    for row, customer_id, flags, given, is_known, was in rows:
        shape = context.shape(tuple(compress(names, flags)))
        made = _make_change(row, customer_id, shape, given, was if is_known else None, context)
        yield made if isinstance(made, Change) else (row, made)


def _under(tops: Collection[str], frame: pd.DataFrame) -> list[str]:
    """Return the columns that are one of these names or belong to one of them; the others are not needed."""
    return [name for name in frame.columns if name in tops or name.partition(".")[0] in tops]


def _row_texts(frame: pd.DataFrame) -> Iterator[Texts]:
    """Yield the texts of each row by their columns; None for a missing one."""
    names = frame.columns.tolist()
    if not names:
        return repeat({}, len(frame))
    columns = [arrow_of(frame[name]).to_pylist() for name in names]
    return (dict(zip(names, texts, strict=True)) for texts in zip(*columns, strict=True))


def _make_change(
    row: int, customer_id: str, shape: _Shape, given: Texts, was: Texts | None, context: BodyContext
) -> Change | Problem:
    """Return a row as a change, or the problem that makes it invalid.

    Args:
        row: The number of the row.
        customer_id: The customer that the row changes.
        shape: What rows in which the same fields change have in common.
        given: All wanted texts of the row; an empty one clears, None is no change.
        was: The customer as the baseline has it, None where the baseline does not have it.
        context: What is the same for all rows.
    """
    texts = was or {}
    image: dict[str, Any] = {name: text for name in context.watch if (text := texts.get(name)) is not None}
    body: dict[str, Any] = {}
    known: dict[str, bool] = {}
    completed = False
    for top in shape.tops:
        name, atomic = top.name, top.atomic
        known[name] = is_known = context.knows(top, was)
        if atomic is None:
            assert top.field is not None
            body[name] = context.json_of(top.field, given[name] or "")
            if is_known and top.field.visibility is not Visibility.NEVER:
                old = texts.get(name)
                image[name] = context.json_of(top.field, old) if old else None
            continue
        if atomic.open and not is_known:  # what else is in it would be lost
            return Problem(name, "is not known", _completion_hint(name, context.noun, is_known=is_known))
        there = _object_in(top, texts) if was else None
        made, is_completed = _completed(top, there or {}, given)
        if lacking := [part for part in atomic.required if not made.get(part)]:
            return Problem(
                name, f"lacks {', '.join(lacking)}", _completion_hint(name, context.noun, lacking, is_known=is_known)
            )
        body[name] = made
        completed = completed or is_completed or atomic.open
        if is_known:
            image[name] = there
    if shape.lacks:
        return Problem("row", "is not complete", shape.lacks)
    return Change(
        row=row,
        customer_id=customer_id,
        fields=shape.fields,
        body=encode_json(body),
        before=encode_json(image) if image else None,
        clears=tuple([name for name in shape.fields if not given[name]]),
        completed=completed,
        moves=tuple(
            [
                (name, mask(texts.get(name) or "") if shown and known[top] else None, mask(given[name] or ""))
                for name, top, mask, shown in shape.masks
            ]
        ),
    )


def _object_in(top: _TopLevel, was: Texts) -> dict[str, Any] | None:
    """Return an object as the baseline has it, None when it is absent or not known."""
    if (as_json := was.get(top.name)) is not None:
        loaded: dict[str, Any] = json.loads(as_json)
        return loaded
    made: dict[str, Any] = {last: text for name, last in top.held.texts if (text := was[name])}
    for place in top.held.others:
        if text := was[place.name]:
            place.put(made, text)
    return made or None


def _completed(top: _TopLevel, there: dict[str, Any], given: Texts) -> tuple[dict[str, Any], bool]:
    """Return an object as it will be sent, and whether parts of it come from the baseline."""
    made = _copy(there) if top.given.are_deep else there.copy()
    parts = {last: text for name, last in top.given.texts if (text := given[name]) is not None}
    made.update(parts)
    if not all(parts.values()):  # some are cleared
        made = {part: value for part, value in made.items() if parts.get(part) != ""}
    for place in top.given.others:
        if (text := given[place.name]) is not None:
            place.put(made, text)
    others = made.keys() - parts.keys()
    return made, any(given.get(f"{top.name}.{part}") is None for part in others)


def _copy(value: dict[str, Any]) -> dict[str, Any]:
    """Copy a JSON object; several times faster than `copy.deepcopy`, which expects anything."""
    return {name: _copy(inner) if isinstance(inner, dict) else inner for name, inner in value.items()}


def _completion_hint(top: str, noun: str, lacking: Sequence[str] = (), *, is_known: bool) -> str:
    parts = " and ".join(f"{top}.{part}" for part in lacking)
    if is_known:
        return f"the {noun} has no {top} yet, and the API accepts it only as a whole: also give {parts}"
    ways = f"give {parts}, or use a live baseline" if lacking else "use a live baseline"
    return f"the API accepts {top} only as a whole, and the baseline does not have it: {ways}"


def are_unsent_notes(names: Iterable[str], target: Target) -> bool:
    """Tell whether none of these fields can be read back: they are sent only once, so the ledger has to be asked."""
    fields = [target.field(name) for name in names]
    return all(field is not None and field.visibility is Visibility.NEVER for field in fields)


def frame_cells(frame: pd.DataFrame) -> Iterator[tuple[int, bytes]]:
    """Yield each row's cells as read, as a JSON array; null for a missing one."""
    columns = [encode_each(arrow_of(frame[name]).to_pylist()) for name in frame.columns]
    for row, cells in zip(frame.index.tolist(), zip(*columns, strict=True), strict=True):
        yield row, f"[{','.join(cells)}]".encode()


def encode_cells(cells: Sequence[str | None]) -> bytes:
    """Return one row's cells as the ledger keeps them: a JSON array, null for a missing one."""
    return _CELLS.encode(cells).encode()

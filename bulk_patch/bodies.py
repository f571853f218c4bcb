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
    names = list(wanted.values.columns)
    values = wanted.values.loc[compared.changed.index]
    olds: Iterator[Mapping[str, str] | None]
    if compared.before is None:
        olds = (None for _ in range(len(values)))
    else:
        columns = list(compared.before.columns)
        olds = (_texts(columns, cells) for cells in compared.before.to_numpy())
    for (row, changed), cells, old, known in zip(
        changed_fields(compared), values.to_numpy(), olds, compared.known, strict=True
    ):
        given = _texts(names, cells)
        before = _Before(old if known else None, picture, target)
        image: dict[str, Any] = {name: before.texts[name] for name in watch if name in before.texts}
        yield _change(row, str(wanted.ids[row]), changed, given, before, image)


def _texts(names: Sequence[str], cells: Iterable[Any]) -> dict[str, str]:
    return {name: cell for name, cell in zip(names, cells, strict=True) if isinstance(cell, str)}


class _Before:
    """One customer as the baseline has it."""

    def __init__(self, texts: Mapping[str, str] | None, picture: Picture | None, target: Target) -> None:
        self.texts = texts or {}
        self._known = texts is not None and picture is not None
        self._complete = picture is not None and picture.complete
        self._columns: frozenset[str] = frozenset(picture.frame.columns) if picture is not None else frozenset()
        self._target = target

    def knows(self, name: str) -> bool:
        """Tell whether a plain field, or any part of an object, is known; known and not there means absent."""
        return self._known and (
            self._complete or name in self._columns or any(column.startswith(name + ".") for column in self._columns)
        )

    def whole(self, whole: Whole) -> dict[str, Any] | None:
        """Return an object as it is, None when it is absent or not known."""
        if whole.name in self.texts:
            loaded: dict[str, Any] = json.loads(self.texts[whole.name])
            return loaded
        made: dict[str, Any] = {}
        for name, text in self.texts.items():
            field = self._target.field(name) if name.startswith(whole.name + ".") and text else None
            if field is not None:
                _put(made, whole, field, text)
        return made or None


def _change(
    row: int,
    customer_id: str,
    changed: list[str],
    given: Mapping[str, str],
    before: _Before,
    image: dict[str, Any],
) -> Change | tuple[int, Problem]:
    target = before._target
    body: dict[str, Any] = {}
    completed = False
    for top in dict.fromkeys(name.partition(".")[0] for name in changed):
        whole = target.whole(top)
        if whole is None:
            field = _field(target, top)
            body[top] = _typed(field, given[top])
            if before.knows(top) and field.seen is not Seen.NEVER:
                old = before.texts.get(top)
                image[top] = _typed(field, old) if old else None
            continue
        if whole.open and not before.knows(top):  # what else is in it would be lost
            return row, Problem(top, "is not known", _completion_hint(top, before=before))
        was = before.whole(whole)
        parts = {name: text for name, text in given.items() if name.startswith(top + ".")}
        made = json.loads(json.dumps(was)) if was else {}
        for name, text in parts.items():
            _put(made, whole, _field(target, name), text)
        if lacking := [part for part in whole.required if not made.get(part)]:
            return row, Problem(top, f"lacks {', '.join(lacking)}", _completion_hint(top, lacking, before=before))
        body[top] = made
        completed = completed or whole.open or any(f"{top}.{part}" not in parts for part in made)
        if before.knows(top):
            image[top] = was
    if lacks := target.needs({name: given[name] for name in changed}):
        return row, Problem("row", "is not complete", lacks)
    return Change(
        row=row,
        customer_id=customer_id,
        fields=tuple(changed),
        body=encode_json(body),
        before=encode_json(image) if image else None,
        clears=tuple(name for name in changed if not given[name]),
        completed=completed,
        moves=tuple(_move(_field(target, name), given[name], before) for name in changed),
    )


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


def _field(target: Target, name: str) -> Field:
    field = target.field(name)
    assert field is not None  # the source let only known fields in
    return field


def _typed(field: Field, text: str) -> Any:
    """Return the JSON value of a text; what a baseline file has in another spelling than the API stays text."""
    if field.kind is Kind.BOOLEAN:
        return {"true": True, "false": False}.get(text.lower(), text)
    if field.kind is Kind.INTEGER and text.isdecimal():
        return int(text)
    return text


def _put(made: dict[str, Any], whole: Whole, field: Field, text: str) -> None:
    """Set one part of an object, or take it out where it is cleared; single keys of an open one hold dots."""
    inner = field.name.removeprefix(whole.name + ".")
    path = [inner] if whole.open else inner.split(".")
    for step in path[:-1]:
        made = made.setdefault(step, {})
    if text:
        made[path[-1]] = _typed(field, text)
    else:
        made.pop(path[-1], None)


def is_unsent_note(change: Change, target: Target) -> bool:
    """Tell whether all that a row would do is to write what cannot be read back: sent once, so ask the ledger."""
    return all(_field(target, name).seen is Seen.NEVER for name in change.fields)


def frame_cells(frame: pd.DataFrame) -> Iterator[tuple[int, bytes]]:
    """Yield each row's cells as read, as a JSON array; null for a missing one."""
    for row, cells in zip(frame.index, frame.to_numpy(), strict=True):
        yield (
            int(row),
            json.dumps(
                [cell if isinstance(cell, str) else None for cell in cells], ensure_ascii=False, separators=(",", ":")
            ).encode(),
        )

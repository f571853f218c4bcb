"""The changes of many rows: what rows alike have in common is worked out once. Pure.

Rows are alike when the same fields change and the same texts are there, empty or missing, of those wanted and of those
before. What becomes of them differs in nothing but the texts. So `bodies.make_change` is asked once, with marks for
texts, and then texts are put where its answer has the marks.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.inputs.columns import arrow_of, encode_each, texts_of
from bulk_patch.planning.changes import BeforeImage, BodyContext, Change, make_change
from bulk_patch.planning.diff import Compared, Problem, Wanted
from bulk_patch.targets import Target
from bulk_patch.targets.fields import Kind

Made = Change | tuple[int, Problem]
Pick = Callable[[Sequence[Any]], tuple[Any, ...]]  # some of a list, by their places

#: From so many rows alike on it is faster to ask once.
MANY = 8
_MARK = re.compile('(?<=":)"\ue000([wb])([0-9]+)\ue000"')  # as a value; where it is looked for there are no others


def build(
    compared: Compared,
    wanted: Wanted,
    snapshot: Snapshot | None,
    target: Target,
    *,
    watch: Collection[str] = (),
    many: int = MANY,
) -> list[Made]:
    """Return each row of a comparison as a change, or with the problem that keeps it from being one.

    Args:
        compared: What changes.
        wanted: The chunk it comes from.
        picture: What the baseline knows.
        target: Knows fields and objects.
        watch: Fields that are not changed but whose values a guard compares: kept in the before-image.
        many: So many rows, two at least, have to be alike to be made together; the result does not depend on it.
    """
    index = compared.changed.index
    before = compared.before if compared.before is not None else pd.DataFrame(index=index)
    rows = _Rows(
        index.tolist(),
        texts_of(wanted.ids.loc[index]),
        _Texts("w", wanted.values.loc[index]),
        _Texts("b", before),
        BodyContext(snapshot, target, wanted.values.columns, watch=watch),
    )
    names, flags = np.array(compared.changed.columns), compared.changed.to_numpy()
    known = compared.known.to_numpy(dtype=bool)
    made: dict[int, Made] = {}
    for places in _alike(flags, known, rows.wanted.kinds, rows.before.kinds):
        changed, is_known = names[flags[places[0]]].tolist(), bool(known[places[0]])
        make = rows.together if len(places) >= many and rows.are_texts(places[0], changed) else rows.one_by_one
        made.update(zip(places, make(places, changed, is_known=is_known), strict=True))
    return [made[place] for place in range(len(index))]


def _alike(*facts: NDArray[Any]) -> list[list[int]]:
    """Return the places of rows that are alike.

    Args:
        facts: What is compared: a line, or a number, for each row.
    """
    lines = np.column_stack([one.astype(np.uint8) for one in facts])
    written, width = lines.tobytes(), lines.shape[1]
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for place, begin in enumerate(range(0, len(written), width)):
        places[written[begin : begin + width]].append(place)
    return list(places.values())


class _Texts:
    """The texts of rows, column by column.

    Args:
        letter: Tells the marks of one from those of another.
        frame: Rows × fields; missing: no text.
    """

    def __init__(self, letter: str, frame: pd.DataFrame) -> None:
        arrow = {name: arrow_of(frame[name]) for name in frame.columns}
        self._letter = letter
        self._names = list(arrow)
        self._places = {name: place for place, name in enumerate(arrow)}
        self._columns: list[list[str | None]] = [texts.to_pylist() for texts in arrow.values()]
        self._encoded: dict[int, list[str]] = {}
        lengths = [pc.binary_length(texts).fill_null(-1).to_numpy(zero_copy_only=False) for texts in arrow.values()]
        #: 0: missing, 1: empty, 2: a text
        self.kinds = np.column_stack(
            [np.zeros((len(frame), 0), np.int8), *(np.clip(one, -1, 1) + 1 for one in lengths)]
        )

    def of_row(self, place: int) -> dict[str, str]:
        """Return the texts of one row."""
        texts = ((name, column[place]) for name, column in zip(self._names, self._columns, strict=True))
        return {name: text for name, text in texts if text is not None}

    def marks_of_row(self, place: int) -> dict[str, str]:
        """Return the same with a mark for each text that is not empty."""
        texts = enumerate(zip(self._names, self._columns, strict=True))
        marks = ((name, column[place], f"\ue000{self._letter}{number}\ue000") for number, (name, column) in texts)
        return {name: text and mark for name, text, mark in marks if text is not None}

    def column(self, name: str) -> Sequence[str | None]:
        """Return the texts of a field; none of them where there is no such column."""
        if name not in self._places:
            return [None] * len(self.kinds)
        return self._columns[self._places[name]]

    def encoded(self, number: int) -> list[str]:
        """Return the texts of a mark in JSON."""
        if number not in self._encoded:
            self._encoded[number] = encode_each(self._columns[number])
        return self._encoded[number]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that change, by their places in the comparison."""

    numbers: list[int]
    ids: list[str]
    wanted: _Texts
    before: _Texts
    view: BodyContext

    def one_by_one(self, places: Sequence[int], changed: Sequence[str], *, is_known: bool) -> Iterator[Made]:
        """Yield what becomes of rows in which the same fields change."""
        for place in places:
            before = BeforeImage(self.before.of_row(place) if is_known else None, self.view)
            row = self.numbers[place]
            made = make_change(row, self.ids[place], changed, self.wanted.of_row(place), before)
            yield made if isinstance(made, Change) else (row, made)

    def are_texts(self, place: int, changed: Sequence[str]) -> bool:
        """Tell whether all that is sent or kept of a row, and of those alike, is text as it was read."""
        wanted, before = self.wanted.of_row(place), self.before.of_row(place)
        for top in {name.partition(".")[0] for name in changed}:
            if self.view.target.whole(top) is not None and top in before:  # as JSON
                return False
            for its in (*self.view.given[top], *self.view.held.get(top, ())):
                if its.field.kind is not Kind.TEXT and (wanted.get(its.name) or before.get(its.name)):
                    return False
        return True

    def together(self, places: Sequence[int], changed: Sequence[str], *, is_known: bool) -> Iterator[Made]:
        """Yield the same for rows alike, at least two of them, that are texts throughout."""
        before = BeforeImage(self.before.marks_of_row(places[0]) if is_known else None, self.view)
        made = make_change(0, "", changed, self.wanted.marks_of_row(places[0]), before)
        pick = itemgetter(*places)
        rows = pick(self.numbers)
        if isinstance(made, Problem):
            yield from ((row, made) for row in rows)
            return
        bodies = self._fill(made.body, pick)
        images = self._fill(made.before, pick) if made.before is not None else repeat(None)
        moves = zip(*(self._moves(name, pick, is_known=old is not None) for name, old, _ in made.moves), strict=True)
        for row, customer_id, body, image, its in zip(rows, pick(self.ids), bodies, images, moves, strict=False):
            yield Change(row, customer_id, made.fields, body, image, made.clears, made.completed, its)

    def _fill(self, made: bytes, pick: Pick) -> Iterator[bytes]:
        """Yield the JSON of each row: one with marks, and in the place of each mark the row's own text."""
        pieces = _MARK.split(made.decode())
        form = "%s".join(fixed.replace("%", "%%") for fixed in pieces[::3])
        sources = {"w": self.wanted, "b": self.before}
        columns = [
            pick(sources[letter].encoded(int(at))) for letter, at in zip(pieces[1::3], pieces[2::3], strict=True)
        ]
        if not columns:
            return repeat(made)
        return ((form % texts).encode() for texts in zip(*columns, strict=True))

    def _moves(self, name: str, pick: Pick, *, is_known: bool) -> Iterator[tuple[str, str | None, str]]:
        """Yield the masked move of one field in each row."""
        mask = self.view.places[name].field.mask
        olds: Iterable[str | None] = repeat(None)
        if is_known:
            olds = (mask(text or "") for text in pick(self.before.column(name)))
        news = (mask(text or "") for text in pick(self.wanted.column(name)))
        return zip(repeat(name), olds, news, strict=False)

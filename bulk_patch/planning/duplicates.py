"""Rows that share an id: which row is sent, and which are duplicates or disagree."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from bulk_patch.errors import InputError
from bulk_patch.inputs import source
from bulk_patch.inputs.ids import ids_of
from bulk_patch.inputs.source import Source
from bulk_patch.job.settings import Job
from bulk_patch.model import State
from bulk_patch.planning.diff import Wanted, prepare
from bulk_patch.planning.problems import Problem, Problems
from bulk_patch.targets import Target


@dataclass(frozen=True, slots=True)
class Repeat:
    """The decision for one of several rows that share an id."""

    state: State  # pending: this row stands for all of them
    reason: str = ""
    hint: str = ""
    stand_in: int = 0  # the earlier row that carries the same change; 0: none is needed
    gives: bool = False  # a duplicate that has fields which no later row has: they are sent with the later row
    cells: Mapping[str, str] = field(default_factory=dict)  # column -> cell that an earlier row alone gives
    origins: Mapping[str, int] = field(default_factory=dict)  # the same columns -> the row that gives it


def settle_repeats(wanted: Wanted, *, last_wins: bool) -> dict[int, Repeat]:
    """Decide what happens to rows whose ids repeat.

    Args:
        wanted: All rows of the input whose id occurs more than once, and no others.
        last_wins: `duplicates = "last"`: a later row overrides field by field, and stands for all of its id.
    """
    changes = wanted.values.fillna("\0")  # no value holds it: it tells "no change" from "clear"
    same_change = changes.apply(lambda row: hash(tuple(row)), axis=1) if len(changes) else pd.Series(dtype="int64")
    decided: dict[int, Repeat] = {}
    for _, rows in wanted.ids.groupby(wanted.ids, sort=False).groups.items():
        stands = rows[-1] if last_wins else rows[0]
        others = [row for row in rows if row != stands]
        if same_change.loc[rows].nunique() == 1 or last_wins:
            word = "the same change as row" if not last_wins else "overruled by row"
            stand_in = 0 if last_wins else stands
            decided |= {row: Repeat(State.DUPLICATE, f"{word} {stands}", stand_in=stand_in) for row in others}
            decided[stands] = Repeat(State.PENDING)
        else:
            hint = _disagreement_hint(wanted.values.loc[rows])
            for row in rows:
                named = [str(other) for other in rows if other != row]
                shown = ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")
                decided[row] = Repeat(State.INVALID, f"disagrees with row {shown} of the same id", hint)
    return decided


def _disagreement_hint(values: pd.DataFrame) -> str:
    """Say how to settle rows that disagree; `last` is named only where it loses no value."""
    if fields := [str(name) for name in values.columns if values[name].nunique() > 1]:
        named = ", ".join(fields[:5]) + (f" and {len(fields) - 5} more" if len(fields) > 5 else "")
        return f"they give different values for {named}: decide which is right, and give it in one row"
    return (
        'they fill different fields: write them as one row, or set input.duplicates = "last", which sends all of them'
    )


def merge_repeats(
    decided: Mapping[int, Repeat], wanted: Wanted, cells: pd.DataFrame, columns: Mapping[str, str]
) -> dict[int, Repeat]:
    """Give the last row of each id what earlier rows alone say of a field, so that no change is lost.

    A row says something of a field by a value, a clear, or a cell that is at fault; the last that does decides.

    Args:
        decided: What `settle_repeats` decided, by `duplicates = "last"`.
        wanted: The rows that it decided.
        cells: The same rows as read.
        columns: Column to field.
    """
    says = wanted.values.notna()
    for row, problems in wanted.problems.items():
        for name in {problem.field for problem in problems} & set(says.columns):
            says.loc[row, name] = True
    rows = pd.Series(wanted.ids.index, index=wanted.ids.index)
    stands = rows.groupby(wanted.ids, sort=False).transform("last")
    carried: dict[int, dict[str, str]] = {}
    origins: dict[int, dict[str, int]] = {}
    givers: set[int] = set()
    for column, name in columns.items():
        speaking = rows[says[name]]
        last = speaking.groupby(wanted.ids[says[name]], sort=False).last()
        for row in last[last.to_numpy() != stands.loc[last].to_numpy()].tolist():
            carried.setdefault(int(stands[row]), {})[column] = str(cells.at[row, column])
            origins.setdefault(int(stands[row]), {})[column] = row
            givers.add(row)
    return {
        **decided,
        **{row: Repeat(State.DUPLICATE, f"its changes are sent with row {stands[row]}", gives=True) for row in givers},
        **{row: Repeat(State.PENDING, cells=given, origins=origins[row]) for row, given in carried.items()},
    }


def with_earlier_cells(frame: pd.DataFrame, repeats: Mapping[int, Repeat]) -> pd.DataFrame:
    """Return a chunk in which rows that stand for earlier ones also have the cells that only those give."""
    carrying = [row for row, repeat in repeats.items() if repeat.cells and row in frame.index]
    if not carrying:
        return frame
    filled = frame.copy()
    for column in dict.fromkeys(column for row in carrying for column in repeats[row].cells):
        new = {row: repeats[row].cells[column] for row in carrying if column in repeats[row].cells}
        filled.loc[list(new), column] = pd.Series(new, dtype=frame[column].dtype)
    return filled


def find_repeats(found: Source, job: Job, target: Target, frame_rows: int) -> dict[int, Repeat]:
    """Decide what happens to rows that share an id, wherever they stand in the file; invalid ids are left out."""
    repeated_ids = {text for text in found.repeated_ids if target.ids.matches(text)}
    if not repeated_ids:
        return {}
    pieces = []
    for frame in source.frames(found, rows=frame_rows):
        shared = frame[ids_of(frame[found.id_column], job.input, target.ids).isin(repeated_ids)]
        if len(shared):
            pieces.append(shared)
    if not pieces:
        raise InputError(
            f"{found.path.name} changed while it was read", "run the same command again when nothing writes to it"
        )
    cells = pd.concat(pieces)
    wanted = prepare(
        cells, id_column=found.id_column, fields=found.fields, settings=job.input, target=target, facts=found.facts
    )
    last_wins = job.input.duplicates == "last"
    decided = settle_repeats(wanted, last_wins=last_wins)
    return merge_repeats(decided, wanted, cells, found.fields) if last_wins else decided


def take_duplicates(wanted: Wanted, repeats: dict[int, Repeat]) -> dict[int, Repeat]:
    """Return the duplicates of a chunk, and note the rows that disagree as invalid."""
    duplicates: dict[int, Repeat] = {}
    if repeats:
        for row in wanted.ids.index[wanted.ids.index.isin(list(repeats))]:
            repeat = repeats[row]
            if repeat.state is State.INVALID:
                wanted.problems.setdefault(row, []).append(Problem("row", repeat.reason, repeat.hint))
            elif repeat.state is State.DUPLICATE and (row not in wanted.problems or not repeat.stand_in):
                duplicates[row] = repeat
    return duplicates


def refuse_repeats(duplicates: dict[int, Repeat], problems: Problems, refused: Problems) -> None:
    """Make rows that only repeat an invalid one invalid for the same reasons: no row carries their change."""
    for row, repeat in list(duplicates.items()):
        if repeat.stand_in in refused:
            problems[row] = refused[repeat.stand_in]
            del duplicates[row]

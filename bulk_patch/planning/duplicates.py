"""Rows that share an id: which row is sent, and which are duplicates or disagree."""

from dataclasses import dataclass

import pandas as pd

from bulk_patch.errors import InputError
from bulk_patch.inputs import source
from bulk_patch.inputs.source import Source
from bulk_patch.job.settings import Job
from bulk_patch.model import State
from bulk_patch.planning.diff import Problem, Problems, Wanted, prepare
from bulk_patch.targets import Target


@dataclass(frozen=True, slots=True)
class Repeat:
    """The decision for one of several rows that share an id."""

    state: State  # pending: this row stands for all of them
    reason: str = ""
    hint: str = ""
    stand_in: int = 0  # the earlier row that carries the same change; 0: none is needed


def settle_repeats(wanted: Wanted, *, last_wins: bool) -> dict[int, Repeat]:
    """Decide what happens to rows whose ids repeat.

    Args:
        wanted: All rows of the input whose id occurs more than once, and no others.
        last_wins: `duplicates = "last"`: where rows disagree, the last one is sent.
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
            hint = 'keep one of these rows, or set input.duplicates = "last"'
            for row in rows:
                named = [str(other) for other in rows if other != row]
                shown = ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")
                decided[row] = Repeat(State.INVALID, f"disagrees with row {shown} of the same id", hint)
    return decided


def find_repeats(found: Source, job: Job, target: Target, frame_rows: int) -> dict[int, Repeat]:
    """Decide what happens to rows that share an id, wherever they stand in the file; invalid ids are left out."""
    repeated_ids = {text for text in found.repeated_ids if target.id_pattern.fullmatch(text)}
    if not repeated_ids:
        return {}
    pieces = []
    for frame in source.frames(found, rows=frame_rows):
        shared = frame[frame[found.id_column].fillna("").str.lower().isin(repeated_ids)]
        if len(shared):
            pieces.append(shared)
    if not pieces:
        raise InputError(
            f"{found.path.name} changed while it was read", "run the same command again when nothing writes to it"
        )
    wanted = prepare(
        pd.concat(pieces), id_column=found.id_column, fields=found.fields, settings=job.input, target=target
    )
    return settle_repeats(wanted, last_wins=job.input.duplicates == "last")


def take_duplicates(wanted: Wanted, repeats: dict[int, Repeat]) -> dict[int, Repeat]:
    """Return the duplicates of a chunk, and note the rows that disagree as invalid."""
    duplicates: dict[int, Repeat] = {}
    if repeats:
        for row in wanted.ids.index[wanted.ids.index.isin(list(repeats))]:
            repeat = repeats[row]
            if repeat.state is State.INVALID:
                wanted.problems.setdefault(row, []).append(Problem("row", repeat.reason, repeat.hint))
            elif repeat.state is State.DUPLICATE and (row not in wanted.problems or "overruled" in repeat.reason):
                duplicates[row] = repeat
    return duplicates


def refuse_repeats(duplicates: dict[int, Repeat], problems: Problems, refused: Problems) -> None:
    """Make rows that only repeat an invalid one invalid for the same reasons: no row carries their change."""
    for row, repeat in list(duplicates.items()):
        if repeat.stand_in in refused:
            problems[row] = refused[repeat.stand_in]
            del duplicates[row]

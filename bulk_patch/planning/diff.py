"""Compare desired values with the baseline, in pandas: which rows are invalid, and which fields would change. No I/O.

All values are text. In `Wanted.values` a missing cell means no change and an empty one means clear.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.inputs.columns import arrow_of, is_plain, nfc, series_of
from bulk_patch.inputs.convert import convert_column, converter_of, count_conversions
from bulk_patch.inputs.ids import ids_of
from bulk_patch.inputs.marks import SheetFacts
from bulk_patch.job.settings import InputSettings
from bulk_patch.planning.marked_cells import DAMAGED, note_marked
from bulk_patch.planning.problems import Problem, Problems, add_problem
from bulk_patch.targets import Target
from bulk_patch.targets.fields import Field, Kind, Visibility, anything, plain
from bulk_patch.targets.odd_text import HIDDEN, count_words, find_odd

#: Column -> how often one way to write became another, and how many cells could not be converted.
Conversions = dict[str, tuple[Counter[tuple[str, str]], int]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A chunk of the input, normalised and indexed by data row."""

    ids: pd.Series  # normalised
    values: pd.DataFrame  # a column per field
    problems: Problems
    converted: Conversions = field(default_factory=dict)
    damaged: dict[str, list[int]] = field(default_factory=dict)  # column -> rows whose cell Excel damaged
    words: Mapping[tuple[str, str], int] = field(default_factory=dict)  # field and a word for no value -> rows


@dataclass(frozen=True, slots=True)
class Compared:
    """What would change. Rows with problems are in neither `changed` nor counted as unchanged."""

    changed: pd.DataFrame  # bool, rows that change × fields
    before: pd.DataFrame | None  # the same rows as the baseline has them, None without one
    known: pd.Series  # bool, the same rows: whether the baseline has this customer
    unchanged: int
    problems: Problems = field(default_factory=dict)


# --- wanted


def prepare(
    frame: pd.DataFrame,
    *,
    id_column: str,
    fields: Mapping[str, str],
    settings: InputSettings,
    target: Target,
    facts: SheetFacts | None = None,
) -> Wanted:
    """Turn cells as read into desired values.

    Args:
        frame: A chunk as `source.frames` yields it.
        id_column: The column that holds the id.
        fields: Column to field name.
        settings: The job's [input]: what blank cells and the clear text mean.
        target: Knows the fields.
        facts: Of a workbook: what it says of single cells.
    """
    problems: Problems = {}
    ids = ids_of(frame[id_column], settings, target.ids)
    converted: Conversions = {}
    if id_column in settings.convert:
        _convert(frame[id_column], id_column, settings, None, converted)
    marked = [] if facts is None else note_marked(frame.index, id_column, facts, rule=None, problems=problems)
    damaged = {id_column: marked} if marked else {}
    _note_bad_ids(ids.drop(marked), target, problems)
    columns = {}
    words: dict[tuple[str, str], int] = {}
    for column, name in fields.items():
        rule = target.field(name)
        if rule is not None:
            cells = frame[column]
            by = settings.convert.get(column, "")
            if facts is not None:
                marked = note_marked(frame.index, column, facts, rule=rule, problems=problems, convert=by)
                if marked:
                    damaged[column] = marked
                    cells = cells.mask(cells.index.isin(marked))
            if by:
                cells, failed = _convert(cells, column, settings, rule, converted)
                for row in failed:
                    converter = converter_of(by)
                    add_problem(problems, row, Problem(name, converter.reason, converter.hint))
                cells = cells.mask(cells.index.isin(failed))
            columns[name] = _wanted(cells, rule, settings, problems)
            found = count_words(arrow_of(columns[name]), settings.clear) if rule.check is anything else {}
            words |= {(name, word): rows for word, rows in found.items()}
    return Wanted(ids, pd.DataFrame(columns, index=frame.index), problems, converted, damaged, words)


def _convert(
    cells: pd.Series, column: str, settings: InputSettings, rule: Field | None, converted: Conversions
) -> tuple[pd.Series, list[Any]]:
    """Convert a column, and note what became of it."""
    after, failed = convert_column(cells, settings.convert[column], leave=settings.clear)
    whole = rule is None or rule.mask is plain
    converted[column] = count_conversions(cells, after, whole=whole), len(failed)
    return after, failed


def _wanted(cells: pd.Series, rule: Field, settings: InputSettings, problems: Problems) -> pd.Series:
    values = nfc(cells)
    if rule.kind is Kind.BOOLEAN:  # as spreadsheets save them
        values = values.replace({"TRUE": "true", "True": "true", "FALSE": "false", "False": "false"})
    blank, clear = values == "", values == settings.clear
    if settings.blank == "clear":
        clear |= blank
    elif settings.blank == "reject":
        _note(problems, blank, rule, "is blank", "give a value, or set input.blank to say what blank cells mean")
    if clear.any():
        if rule.name not in settings.may_clear:
            _note(
                problems, clear, rule, "is not named in input.may_clear", "add it to input.may_clear, or give a value"
            )
        elif not rule.clearable or rule.required:
            _note(problems, clear, rule, "cannot be cleared: the API requires a value", "give a value")
        values = values.mask(clear, "")
    if (keep := blank & ~clear).any():
        values = values.mask(keep)
    _note_odd_text(values, rule, problems)
    return values


def _note_odd_text(values: pd.Series, rule: Field, problems: Problems) -> None:
    texts = arrow_of(values)
    if pc.any(pc.starts_with(texts, "#")).as_py():
        errors = values.str.startswith(DAMAGED).fillna(False).astype(bool)
        _note(problems, errors, rule, "is what a spreadsheet writes for a fault", "give the value in place of it")
    plain = is_plain(texts)
    for mask, reason, hint in find_odd(texts):
        _note(problems, pd.Series(mask, index=values.index), rule, reason, hint)
    if plain and not pc.any(pc.starts_with(texts, " ")).as_py():
        return
    given = values.notna() & (values != "")
    spaces = given & (values.str.strip() == "")
    _note(problems, spaces, rule, "contains only spaces", "leave the cell empty for no change")
    if not plain:
        odd = given & values.str.contains(HIDDEN, regex=True).fillna(False).astype(bool)
        _note(problems, odd, rule, "contains a control, bidi or zero-width character", "retype the value on one line")


def _note_bad_ids(ids: pd.Series, target: Target, problems: Problems) -> None:
    bad = ids[~ids.str.fullmatch(target.ids.pattern.pattern)]
    for row, text in bad.items():
        hint = f"give the id that the API uses, {target.ids.words}"
        if pd.Series([text]).str.fullmatch(r"[\d.,]+e\+?\d+|\d+\.0").item():
            hint = "a spreadsheet turned the id into a number: export the column as text"
        add_problem(problems, row, Problem("id", "is missing" if not text else f"is not {target.ids.words}", hint))


# --- compared


def compare(wanted: Wanted, snapshot: Snapshot | None, target: Target) -> Compared:
    """Find which fields of which rows change, and check every given value against the rule of its field.

    Args:
        wanted: A chunk of the input.
        snapshot: What the baseline knows of these customers; None: nothing is known.
        target: Knows the fields.
    """
    values = wanted.values
    problems: Problems = {row: list(found) for row, found in wanted.problems.items()}
    before, known = _align(snapshot, wanted.ids)
    context = _context(values, before, target)
    changed = {}
    for name in values.columns:
        rule = target.field(name)
        assert rule is not None
        desired = values[name]
        given = desired.notna()
        _check(desired, rule, context, problems)
        if rule.visibility is not Visibility.WHOLE or before is None or not _has(snapshot, name):
            changed[name] = given
            continue
        now = before[name] if name in before else pd.Series(index=values.index, dtype="str")
        unknown = ~known | now.isna() if snapshot is not None and snapshot.sparse else ~known
        changed[name] = given & (unknown | _differ(desired, now, rule, context))
    table = pd.DataFrame(changed, index=values.index).astype(bool)
    if snapshot is not None and snapshot.authoritative:
        hint = "check the id, the workspace and the environment, or remove the row"
        for row in wanted.ids.index[~known]:
            if row in problems:
                continue
            if (why := snapshot.unreadable.get(wanted.ids[row])) is not None:
                said = f"is for a {target.noun} whose record in the API cannot be used: {why}"
                add_problem(problems, row, Problem("id", said, f"ask the API's support to repair the {target.noun}"))
            else:
                add_problem(problems, row, Problem("id", "does not exist in the API", hint))
    fine = ~values.index.isin(list(problems))
    moves = table.any(axis=1) & fine
    return Compared(
        changed=table[moves],
        before=before[moves] if before is not None else None,
        known=known[moves],
        unchanged=int((fine & ~moves).sum()),
        problems=problems,
    )


def _align(snapshot: Snapshot | None, ids: pd.Series) -> tuple[pd.DataFrame | None, pd.Series]:
    """Return the baseline's rows in the order of the input, and which of them there are."""
    if snapshot is None:
        return None, pd.Series(False, index=ids.index)
    positions = _find(snapshot, ids)
    columns = {name: series_of(arrow_of(values).take(positions), ids.index) for name, values in snapshot.frame.items()}
    found = positions.is_valid().to_numpy(zero_copy_only=False)
    return pd.DataFrame(columns, index=ids.index), pd.Series(found, index=ids.index)


def _find(snapshot: Snapshot, ids: pd.Series) -> pa.Int32Array:
    """Return the position of each of these customers in the snapshot, null for those that it does not have."""
    return pc.index_in(arrow_of(ids), value_set=arrow_of(snapshot.frame.index))  # pandas makes a string of every id


def _has(snapshot: Snapshot | None, name: str) -> bool:
    return snapshot is not None and (snapshot.complete or name in snapshot.frame)


def _context(values: pd.DataFrame, before: pd.DataFrame | None, target: Target) -> pd.DataFrame:
    """Return the fields on which the rules of the given ones depend, as they are after the change."""
    columns = {}
    there = {*values.columns, *(before.columns if before is not None else ())}
    rules = [rule for rule in map(target.field, values.columns) if rule is not None]
    for name in dict.fromkeys(name for rule in rules for name in rule.depends_on if name in there):
        was = before[name] if before is not None and name in before else pd.Series(index=values.index, dtype="str")
        columns[name] = values[name].where(values[name].notna(), was) if name in values else was
    return pd.DataFrame(columns, index=values.index)


def _check(desired: pd.Series, rule: Field, context: pd.DataFrame, problems: Problems) -> None:
    """Note the rows whose value breaks the rule of its field; missing and cleared values are not checked."""
    if rule.check is anything:
        return
    to_check = desired.notna() & (desired != "")
    values = desired if to_check.all() else desired[to_check]
    if values.empty:
        return
    bad = values.index[~rule.check(values, context).astype(bool)]
    for row in bad:
        instead = rule.instead.get(values[row].strip().upper()) if rule.instead else None
        add_problem(problems, row, Problem(rule.name, "breaks its rule", instead or f"must be {rule.rule}"))


def _differ(desired: pd.Series, now: pd.Series, rule: Field, context: pd.DataFrame) -> pd.Series:
    wanted, there = _filled(desired), _filled(nfc(now))
    if rule.rewrite is not None:
        wanted, there = rule.rewrite(wanted, context), rule.rewrite(there, context)
    return wanted != there


def _filled(values: pd.Series) -> pd.Series:
    return values.fillna("") if values.hasnans else values


def _note(problems: Problems, rows: pd.Series, rule: Field, reason: str, hint: str) -> None:
    for row in rows.index[rows.fillna(False).astype(bool)]:
        add_problem(problems, row, Problem(rule.name, reason, hint))

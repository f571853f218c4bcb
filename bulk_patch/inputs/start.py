"""The start of an input: its header and first rows, for commands that look at it before it is read. Without pandas."""

from collections.abc import Iterable, Sequence

from bulk_patch.inputs.formats import Reader, open_reader
from bulk_patch.inputs.parts import guarding
from bulk_patch.job.settings import InputSettings
from bulk_patch.targets import IdRule


def open_input(settings: InputSettings, *, ids: Sequence[str] = ()) -> Reader:
    """Open an input and read its header; no cell is looked at.

    Args:
        settings: The job's [input].
        ids: Names of which the header has one; the job's own when not given.

    Raises:
        InputError: When the file has no readable header.
    """
    with guarding(settings.path):
        return open_reader(settings, ids=ids)


def read_start(reader: Reader, settings: InputSettings, columns: Sequence[str], *, rows: int) -> dict[str, list[str]]:
    """Return the first cells of these columns as text, missing ones as "".

    Raises:
        InputError: The start of the file is refused.
    """
    with guarding(settings.path):
        table = next(iter(reader.tables(columns)), None)
    if table is None:
        return {name: [] for name in columns}
    return {name: [text or "" for text in table.column(name).slice(0, rows).to_pylist()] for name in columns}


def read_first_id(settings: InputSettings, rule: IdRule) -> str | None:
    """Return the first usable id near the start of an input, normalised; None: there is none.

    Raises:
        InputError: The start of the file is refused.
    """
    cells = read_start(open_input(settings), settings, [settings.id], rows=10_000)[settings.id]
    ids: Iterable[str] = map(rule.normalise, cells)
    if settings.id in settings.convert:
        import pandas as pd

        from bulk_patch.inputs.columns import TEXT
        from bulk_patch.inputs.ids import ids_of

        ids = ids_of(pd.Series(cells, dtype=TEXT), settings, rule)
    return next((text for text in ids if rule.matches(text)), None)

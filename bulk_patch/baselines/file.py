"""`file`: an export of the customers, CSV or Parquet."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from bulk_patch.baselines import Baseline
from bulk_patch.baselines.index import SPILL, BaselineIndex, related
from bulk_patch.baselines.settings import FileSettings
from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.client.session import ApiSession
from bulk_patch.errors import InputError
from bulk_patch.inputs import source
from bulk_patch.inputs.formats import format_of
from bulk_patch.inputs.source import Source
from bulk_patch.job.settings import InputSettings, Job
from bulk_patch.ledgers import RunReader
from bulk_patch.targets import Target


class FileBaseline(Baseline):
    """`file`: an export of the customers, CSV or Parquet, with dotted columns; the id is `id` or as in the input."""

    Settings = FileSettings

    def __init__(self, job: Job, target: Target, session: ApiSession) -> None:
        path = job.baseline.file()
        assert path is not None  # its settings make sure
        self._watch = job.guards.watch
        found = _scan(path, job.input.id, target)
        self.sha256 = found.sha256
        self.taken_at = found.mtime_ns / 1e9
        self._index = BaselineIndex(found)

    def reads(self, customers: int) -> int:
        """Return 0."""
        return 0

    async def expect(self, asking: Source, *, rows: int, folder: Path, ledger: RunReader) -> None:
        """Read the file; a large file is partitioned in the order of the input."""
        columns = related(self._index.columns, {*asking.fields.values(), *self._watch})
        try:
            await self._index.cut(asking, rows=rows, columns=columns, folder=folder / SPILL)
        except InputError as error:
            raise InputError(f"baseline file: {error.message}", error.hint) from None

    async def snapshot(self, ids: pd.Series) -> Snapshot:
        """Look the customers up in the file; a column that the file does not have is not known."""
        return Snapshot(self._index.look(), complete=False, authoritative=False)


def _scan(path: Path, input_id: str, target: Target) -> Source:
    """Scan a baseline file for the target's fields; columns that are not fields may be of any type."""
    if format_of(InputSettings(path=path, id=input_id)) == "xlsx":
        raise InputError(f"baseline file: {path.name} is an Excel workbook", "save it as CSV UTF-8 or Parquet")
    header = source.read_header(path, (input_id, "id"))
    failure = InputError(
        f"{path.name} has no column 'id' or {input_id!r}", f"each row of a baseline needs the id of a {target.noun}"
    )
    for id_column in dict.fromkeys(name for name in (input_id, "id") if name in header):
        foreign = {name: "" for name in header if name != id_column and target.field(name) is None}
        settings = InputSettings(path=path, id=id_column, rename=foreign)
        try:
            found = source.scan(settings, knows=lambda name: True, ids=target.ids, every_cell=False)
        except InputError as error:
            failure = error
            continue
        if found.repeated_ids:
            hint = f"a baseline has each {target.noun} once: remove the repeated rows"
            raise InputError(f"{path.name}: {len(found.repeated_ids)} ids occur more than once", hint)
        # An object is compared by its dotted columns; one in a single cell has no spelling to rely on. And the name
        # `id` always means the customer, whatever a file calls so.
        columns = (name for name in found.columns if target.atomic_object(name) is None and name != "id")
        return replace(found, columns=tuple(dict.fromkeys((id_column, *columns))))
    raise InputError(f"baseline file: {failure.message}", failure.hint)

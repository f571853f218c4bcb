"""What desired values are compared with: nothing, a file, or the live customers. One class a kind."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pandas as pd

from bulk_patch.client.reads import read_live
from bulk_patch.client.session import Session
from bulk_patch.diff import Picture
from bulk_patch.errors import InputError
from bulk_patch.inputs import source
from bulk_patch.inputs.columns import texts_of
from bulk_patch.inputs.source import Source
from bulk_patch.job.settings import Input, Job
from bulk_patch.ledgers import Ledger
from bulk_patch.live_pages import LivePages
from bulk_patch.lookup import SPILL, Lookup
from bulk_patch.targets import Target

__all__ = ["SPILL", "Baseline", "FileBaseline", "LiveBaseline", "NoBaseline"]

LIVE_PAGE = 5_000  # customers that are read, and kept, at a time


class Baseline(Protocol):
    """The contract of every baseline: pictures of customers, a portion of the input at a time."""

    sha256: str  # of the file behind it, "" where there is none
    taken_at: float  # when its picture was taken, Unix seconds; 0: never

    def reads(self, customers: int) -> int:
        """Return how many requests it takes to see so many customers."""

    async def picture(self, ids: pd.Series) -> Picture | None:
        """Return what is known of these customers, ids in lower case or what is none; None: nothing at all."""

    async def expect(self, asking: Source, *, rows: int, folder: Path, ledger: Ledger) -> None:
        """Learn the input before its plan is begun; then `picture` is called once for each portion, in order.

        Args:
            asking: The input.
            rows: Rows of a portion.
            folder: Of the job; what is only needed for this plan goes into `spill` there.
            ledger: Of the job.
        """
        return

    def warnings(self) -> list[str]:
        """Return what a person should know of it, once all pictures were taken."""
        return []

    def sealed(self) -> None:
        """Let go of what was kept in case that the plan would not be finished."""
        return

    @staticmethod
    def remember(target_name: str, target: Target, *, folder: Path, ledger: Ledger) -> None:
        """Keep what runs of this target have confirmed, once one of them has sent something."""
        return


class NoBaseline(Baseline):
    """`none`: everything that is given is sent."""

    sha256 = ""
    taken_at = 0.0

    def __init__(self, job: Job, target: Target, session: Session) -> None:
        pass

    def reads(self, customers: int) -> int:
        """Return 0."""
        return 0

    async def picture(self, ids: pd.Series) -> None:
        """Know nothing."""
        return


class FileBaseline(Baseline):
    """`file`: an export of the customers, CSV or Parquet, with dotted columns and the id as `id` or as in the input."""

    def __init__(self, job: Job, target: Target, session: Session) -> None:
        path = job.baseline.path
        assert path is not None  # the job model sees to it
        self._watch = job.guards.watch
        found = _scan(path, job.input.id, target)
        self.sha256 = found.sha256
        self.taken_at = found.mtime_ns / 1e9
        self._lookup = Lookup(found)

    def reads(self, customers: int) -> int:
        """Return 0."""
        return 0

    async def expect(self, asking: Source, *, rows: int, folder: Path, ledger: Ledger) -> None:
        """Read the file; a large one is cut up in the order of the input."""
        columns = related(self._lookup.columns, {*asking.fields.values(), *self._watch})
        try:
            await self._lookup.cut(asking, rows=rows, columns=columns, folder=folder / SPILL)
        except InputError as error:
            raise InputError(f"baseline file: {error.message}", error.hint) from None

    async def picture(self, ids: pd.Series) -> Picture:
        """Look the customers up in the file; a column that is not in it is not known."""
        return Picture(self._lookup.look(), complete=False, authoritative=False)


class LiveBaseline(Baseline):
    """`live`: the customers as the API shows them, up to a hundred a request, under the run's rate.

    What was read is kept until the plan is sealed: a plan that was killed does not read it again.
    """

    sha256 = ""

    def __init__(self, job: Job, target: Target, session: Session) -> None:
        self._job = job
        self._target = target
        self._session = session
        self._pages: LivePages | None = None
        self._page = 0
        self._held = 0  # customers that were read by a plan that was not finished
        self.taken_at = time.time()

    def reads(self, customers: int) -> int:
        """Return one per hundred customers that have to be read, rounded up."""
        return -(-max(0, customers - self._held) // self._target.ids_per_read)

    async def expect(self, asking: Source, *, rows: int, folder: Path, ledger: Ledger) -> None:
        """Find what a plan of the same input has read that was killed, with nothing sent since."""
        sent = [(run.id, run.stats.get("requests", 0)) for run in ledger.runs(self._job.target_name) if run.plan_sha256]
        about = f"{asking.sha256} {self._job.identity} {self._job.target_name} {rows} {LIVE_PAGE} {sent}"
        self._pages = LivePages(folder, about, max_age_s=self._job.baseline.max_age_h * 3600)
        self._held = self._pages.customers()

    def sealed(self) -> None:
        """Remove the pages."""
        if self._pages is not None:
            self._pages.remove()

    async def picture(self, ids: pd.Series) -> Picture:
        """Read the customers.

        Raises:
            BulkPatchError: As `read_live`.
        """
        is_id = self._target.id_pattern.fullmatch
        wanted = [customer_id for customer_id in dict.fromkeys(texts_of(ids)) if is_id(customer_id)]
        frames = [await self._look(wanted[at : at + LIVE_PAGE]) for at in range(0, len(wanted), LIVE_PAGE)]
        frame = pd.concat(frames) if frames else _as_frame([])
        return Picture(frame, complete=True, authoritative=True)

    async def _look(self, ids: Sequence[str]) -> pd.DataFrame:
        """Return one page, as it was kept or as it is now."""
        number = self._page
        self._page += 1
        kept = self._pages.load(number, ids) if self._pages is not None else None
        if kept is not None:
            frame, read_at = kept
            self.taken_at = min(self.taken_at, read_at)
            return frame
        read_at = time.time()
        records = await read_live(self._session, ids)
        frame = _as_frame([{**self._target.evidence.flatten(one), "id": str(one["id"]).lower()} for one in records])
        if self._pages is not None:
            self._pages.save(number, ids, frame, read_at=read_at)
        return frame


def related(columns: Iterable[str], names: Collection[str]) -> frozenset[str]:
    """Return the columns that are these fields, or belong to one object with one of them."""
    tops = {name.partition(".")[0] for name in names}
    return frozenset(column for column in columns if column.partition(".")[0] in tops)


def _as_frame(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, dtype="str") if rows else pd.DataFrame({"id": pd.Series(dtype="str")})
    return frame.drop_duplicates("id").set_index("id")


def _scan(path: Path, input_id: str, target: Target) -> Source:
    """Find what a baseline file has of a target's fields; what is no field may be of any type."""
    header = source.read_header(path)
    failure = InputError(f"{path.name} has no column 'id' or {input_id!r}", "a baseline names the customer of each row")
    for id_column in dict.fromkeys(name for name in (input_id, "id") if name in header):
        foreign = {name: "" for name in header if name != id_column and target.field(name) is None}
        settings = Input(path=path, id=id_column, rename=foreign)
        try:
            found = source.scan(settings, knows=lambda name: True, id_pattern=target.id_pattern, every_cell=False)
        except InputError as error:
            failure = error
            continue
        if found.repeated_ids:
            hint = "a baseline holds every customer once: take the repeated ones out"
            raise InputError(f"{path.name}: {len(found.repeated_ids)} ids occur more than once", hint)
        # An object is compared by its dotted columns; one in a single cell has no spelling to rely on. And the name
        # `id` is that of the customer, whatever else a file calls so.
        columns = (name for name in found.columns if target.whole(name) is None and name != "id")
        return replace(found, columns=tuple(dict.fromkeys((id_column, *columns))))
    raise InputError(f"baseline file: {failure.message}", failure.hint)

"""Baseline `live`: the customers as the API shows them."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bulk_patch.baselines import Baseline
from bulk_patch.baselines.live_cache import LiveCache
from bulk_patch.baselines.settings import LiveSettings
from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.client.reads import read_live
from bulk_patch.client.session import ApiSession
from bulk_patch.inputs.columns import texts_of
from bulk_patch.inputs.source import Source
from bulk_patch.job.settings import Job
from bulk_patch.ledgers import RunReader
from bulk_patch.targets import Target

_UNREADABLE = "(unreadable)"  # a column beside the fields: why a customer's record cannot be used
LIVE_PAGE = 5_000  # customers that are read, and kept, at a time


class LiveBaseline(Baseline):
    """`live`: the customers as the API shows them, up to a hundred a request, within the run's rate.

    What has been read is kept until the plan is sealed: after a kill it is not read again.
    """

    Settings = LiveSettings

    sha256 = ""

    def __init__(self, job: Job, target: Target, session: ApiSession) -> None:
        self._job = job
        self._target = target
        self._session = session
        self._pages: LiveCache | None = None
        self._page = 0
        self._held = 0  # customers that an unfinished plan has read
        self._reads_made = 0
        self.taken_at = time.time()

    def reads(self, customers: int) -> int:
        """Return one request per hundred customers that must be read, rounded up: about as many will be made."""
        return -(-max(0, customers - self._held) // self._target.ids_per_read)

    @property
    def reads_made(self) -> int:
        """Return how many requests it has made for this plan."""
        return self._reads_made

    async def expect(self, asking: Source, *, rows: int, folder: Path, ledger: RunReader) -> None:
        """Find what a killed plan of the same input has read, if nothing has been sent since."""
        sent = [(run.id, run.stats.get("requests", 0)) for run in ledger.runs(self._job.target_name) if run.plan_sha256]
        about = f"{asking.sha256} {self._job.identity} {self._job.target_name} {rows} {LIVE_PAGE} {sent}"
        self._pages = LiveCache(folder, about, max_age_s=self._job.baseline.max_age_h * 3600)
        self._held = self._pages.customers()

    def sealed(self) -> None:
        """Remove the pages."""
        if self._pages is not None:
            self._pages.remove()

    async def snapshot(self, ids: pd.Series) -> Snapshot:
        """Read the customers.

        Raises:
            BulkPatchError: As `read_live`.
        """
        is_id = self._target.ids.pattern.fullmatch
        wanted = [record_id for record_id in dict.fromkeys(texts_of(ids)) if is_id(record_id)]
        frames = [await self._look(wanted[at : at + LIVE_PAGE]) for at in range(0, len(wanted), LIVE_PAGE)]
        frame = pd.concat(frames) if frames else _as_frame([])
        if _UNREADABLE not in frame:
            return Snapshot(frame, complete=True, authoritative=True)
        unreadable = frame[_UNREADABLE].dropna()
        frame = frame.drop(columns=_UNREADABLE).drop(index=unreadable.index)
        return Snapshot(
            frame, complete=True, authoritative=True, unreadable=dict(zip(unreadable.index, unreadable, strict=True))
        )

    async def _look(self, ids: Sequence[str]) -> pd.DataFrame:
        """Return one page, from the cache or read now."""
        number = self._page
        self._page += 1
        kept = self._pages.load(number, ids) if self._pages is not None else None
        if kept is not None:
            frame, read_at = kept
            self.taken_at = min(self.taken_at, read_at)
            return frame
        read_at = time.time()
        before = self._session.reads_made
        read = await read_live(self._session, ids)
        self._reads_made += self._session.reads_made - before
        rows = [{**self._target.evidence.flatten(one), "id": name} for name, one in read.by_id.items()]
        frame = _as_frame([*rows, *({"id": name, _UNREADABLE: why} for name, why in read.unreadable.items())])
        if self._pages is not None:
            self._pages.save(number, ids, frame, read_at=read_at)
        return frame


def _as_frame(rows: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, dtype="str") if rows else pd.DataFrame({"id": pd.Series(dtype="str")})
    return frame.drop_duplicates("id").set_index("id")

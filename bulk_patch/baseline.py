"""What desired values are compared with: nothing, a file, or the live customers. One class a kind."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pandas as pd

from bulk_patch import source
from bulk_patch.diff import Picture
from bulk_patch.errors import BulkPatchError, CredentialError, Exit, IncompleteError, InputError, StoppedError
from bulk_patch.job import Input, Job
from bulk_patch.model import Act, Stop
from bulk_patch.read import NOT_THE_API, Halt, Session, Unreadable
from bulk_patch.targets import Target


class Baseline(Protocol):
    """The contract of every baseline: pictures of customers, a chunk at a time."""

    sha256: str  # of the file behind it, "" where there is none
    taken_at: float  # when its picture was taken, Unix seconds; 0: never

    def reads(self, customers: int) -> int:
        """Return how many requests it takes to see so many customers."""

    async def picture(self, ids: Sequence[str]) -> Picture | None:
        """Return what is known of these customers; None: nothing at all."""


class NoBaseline:
    """`none`: everything that is given is sent."""

    sha256 = ""
    taken_at = 0.0

    def __init__(self, job: Job, target: Target, session: Session) -> None:
        pass

    def reads(self, customers: int) -> int:
        """Return 0."""
        return 0

    async def picture(self, ids: Sequence[str]) -> None:
        """Know nothing."""
        return


class FileBaseline:
    """`file`: an export of the customers, CSV or Parquet, with dotted columns and the id as `id` or as in the input."""

    def __init__(self, job: Job, target: Target, session: Session) -> None:
        path = job.baseline.path
        assert path is not None  # the job model sees to it
        self.sha256 = source.sha256_of(path)
        self.taken_at = datetime.fromtimestamp(source.fingerprint(path)[1] / 1e9, tz=UTC).timestamp()
        self._frame = _load(path, job.input.id, target)

    def reads(self, customers: int) -> int:
        """Return 0."""
        return 0

    async def picture(self, ids: Sequence[str]) -> Picture:
        """Look the customers up in the file; a column that is not in it is not known."""
        return Picture(self._frame, complete=False, authoritative=False)


class LiveBaseline:
    """`live`: the customers as the API shows them, up to a hundred a request, under the run's rate."""

    sha256 = ""

    def __init__(self, job: Job, target: Target, session: Session) -> None:
        self._target = target
        self._session = session
        self.taken_at = datetime.now(tz=UTC).timestamp()

    def reads(self, customers: int) -> int:
        """Return one per hundred customers, rounded up."""
        return -(-customers // self._target.ids_per_read)

    async def picture(self, ids: Sequence[str]) -> Picture:
        """Read the customers.

        Raises:
            InputError: The address answers 404 or a page that is not the API's.
            IncompleteError: The API cannot be read now.
            CredentialError, StoppedError: It refuses, or something is wrong on the way.
        """
        wanted = [customer_id for customer_id in dict.fromkeys(ids) if self._target.id_pattern.fullmatch(customer_id)]
        try:
            records = await self._session.read_many(wanted)
        except Unreadable as failure:
            verdict = failure.verdict
            if verdict.status == 403 and verdict.act is Act.REJECTED:  # in the API's own words
                hint = "the token lacks a permission, or belongs to another workspace"
                raise CredentialError(f"the live baseline may not be read: {verdict.reason}", hint) from None
            if verdict.status == 404 or verdict.kind in NOT_THE_API:
                what = "404" if verdict.status == 404 else f"a page that is not the API's ({verdict.reason})"
                hint = "check target.base_url and target.resource; nothing was sent"
                raise InputError(f"the baseline's address answers {what}", hint) from None
            hint = "nothing was sent; run the same command again when the API answers"
            raise IncompleteError(f"the live baseline could not be read: {verdict.reason}", hint) from None
        except Halt as halt:
            raise as_error(halt.stop) from None
        rows = [{**self._target.evidence.flatten(record), "id": str(record["id"]).lower()} for record in records]
        frame = pd.DataFrame(rows, dtype="str") if rows else pd.DataFrame({"id": pd.Series(dtype="str")})
        return Picture(frame.drop_duplicates("id").set_index("id"), complete=True, authoritative=True)


def as_error(stop: Stop) -> BulkPatchError:
    """Turn a stop that came before anything was sent into the error of its exit code."""
    kinds = {Exit.CREDENTIAL: CredentialError, Exit.STOPPED: StoppedError, Exit.INCOMPLETE: IncompleteError}
    return kinds[stop.exit_code](stop.reason, stop.hint)


def _load(path: Path, input_id: str, target: Target) -> pd.DataFrame:
    """Read a baseline file as text, indexed by id; what is no field of the target may be of any type."""
    header = source.read_header(path)
    failure = InputError(f"{path.name} has no column 'id' or {input_id!r}", "a baseline names the customer of each row")
    for id_column in dict.fromkeys(name for name in (input_id, "id") if name in header):
        foreign = {name: "" for name in header if name != id_column and target.field(name) is None}
        settings = Input(path=path, id=id_column, rename=foreign)
        try:
            found = source.scan(settings, knows=lambda name: True, id_pattern=target.id_pattern)
        except InputError as error:
            failure = error
            continue
        if found.repeated_ids:
            hint = "a baseline holds every customer once: take the repeated ones out"
            raise InputError(f"{path.name}: {len(found.repeated_ids)} ids occur more than once", hint)
        # An object is compared by its dotted columns; one in a single cell has no spelling to rely on.
        columns = tuple(name for name in found.columns if target.whole(name) is None)
        frames = list(source.frames(replace(found, columns=columns)))
        frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(columns), dtype="str")
        frame = frame[frame[id_column].fillna("") != ""]
        frame.index = pd.Index(frame[id_column].str.lower(), name="id")
        return frame.drop(columns=id_column)
    raise InputError(f"baseline file: {failure.message}", failure.hint)

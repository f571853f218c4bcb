"""Cache of what a live baseline has read, kept until the plan is sealed: after a crash it is not read again.

Pages are in a folder named by a hash of all that they depend on, one file for each call, with the time of the read.
"""

import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bulk_patch.files.atomic import explaining, make_private_folder, replacing

_READ_AT = b"read_at"
_IDS = b"ids_sha256"
_CUSTOMERS = b"customers"


class LiveCache:
    """Frames that were read from one target for one input.

    Args:
        folder: Of the job.
        about: What the pages depend on; pages about anything else are removed.
        max_age_s: Older pages are read again.
    """

    def __init__(self, folder: Path, about: str, *, max_age_s: float) -> None:
        self._folder = folder / f"live-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
        self._max_age_s = max_age_s
        with explaining(folder):
            for other in folder.glob("live-*"):
                if other != self._folder:
                    shutil.rmtree(other)

    def customers(self) -> int:
        """Return how many customers need not be read again."""
        return sum(int(self._facts(path).get(_CUSTOMERS, 0)) for path in self._folder.glob("*.parquet"))

    def load(self, number: int, ids: Sequence[str]) -> tuple[pd.DataFrame, float] | None:
        """Return a page, indexed by id, and the Unix time at which reading started; None: it must be read."""
        path = self._path(number)
        facts = self._facts(path)
        if facts.get(_IDS) != _hash(ids):
            return None
        try:
            frame: pd.DataFrame = pq.read_table(path).to_pandas()
        except (pa.ArrowException, OSError):  # damaged
            return None
        return frame, float(facts[_READ_AT])

    def save(self, number: int, ids: Sequence[str], frame: pd.DataFrame, *, read_at: float) -> None:
        """Keep a page.

        Args:
            number: The number of the call.
            ids: The customers that were asked for.
            frame: The customers that exist, indexed by id.
            read_at: When reading started, Unix seconds.
        """
        make_private_folder(self._folder)
        table = pa.Table.from_pandas(frame)
        facts = dict(table.schema.metadata or {})
        facts |= {_READ_AT: repr(read_at).encode(), _IDS: _hash(ids), _CUSTOMERS: str(len(ids)).encode()}
        table = table.replace_schema_metadata(facts)
        with replacing(self._path(number)) as file:
            pq.write_table(table, file)

    def remove(self) -> None:
        """Remove all pages: the sealed plan has what it needs of them."""
        with explaining(self._folder):
            if self._folder.exists():
                shutil.rmtree(self._folder)

    def _facts(self, path: Path) -> dict[bytes, bytes]:
        """Return the metadata of a page; empty when the page is missing, damaged or too old."""
        try:
            facts = dict(pq.read_schema(path).metadata or {})
            age_s = time.time() - float(facts[_READ_AT])
        except (pa.ArrowException, OSError, KeyError, ValueError):
            return {}
        return facts if 0 <= age_s <= self._max_age_s else {}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.parquet"


def _hash(ids: Sequence[str]) -> bytes:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest().encode()

"""The index of customers in a SQLite ledger, compared part by part with what was hashed when each plan was sealed.

An entry that is gone would hide a row from `lookup`, from `verify`, and from what was applied before. So the event that
seals a plan carries the hash of its entries, in parts by the first byte of the customer's id.
"""

import hashlib
import json
from collections import defaultdict
from typing import Any

from bulk_patch.ledgers.events import SEALED
from bulk_patch.ledgers.sqlite import chain_queries
from bulk_patch.ledgers.sqlite.chain import Chain
from bulk_patch.model import encode_json

_OTHER = -1  # the part of all ids that are no UUID
_HEX_DIGITS = 16


class IndexBuilder:
    """Hashes the entries of a plan as its rows come in."""

    def __init__(self) -> None:
        self._parts: defaultdict[int, Any] = defaultdict(hashlib.sha256)

    def add(self, row: int, packed: bytes | str) -> None:
        """Account for the entry of one row."""
        if isinstance(packed, bytes):
            self._parts[packed[0]].update(b"%d:%b" % (row, packed))
        else:
            self._parts[_OTHER].update(_entry(row, packed))

    def encode(self) -> str:
        """Return the hashes as the event of the seal keeps them."""
        return encode_json({part: found.hexdigest()[:_HEX_DIGITS] for part, found in self._parts.items()}).decode()


class CustomerIndex:
    """Compares parts of the index, each once.

    Args:
        chain: Of the ledger.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._checked: dict[int, int] = {}  # part -> the event at which it was compared

    def check(self, packed: bytes | str) -> None:
        """Compare the part that a customer's entries are in, and see that the rows are there that they name.

        Raises:
            DamagedLedgerError: An entry is gone, was added, or is not as it was sealed; or its row is gone.
        """
        self._check_part(packed)
        if line := self._chain.database.first(chain_queries.DANGLING_ENTRY, {"customer_id": packed}):
            raise self._chain.damage("a row that its index of customers names", line[0])

    def _check_part(self, packed: bytes | str) -> None:
        part = packed[0] if isinstance(packed, bytes) and packed else _OTHER
        if not self._chain.is_chained or self._checked.get(part) == self._chain.last()[0]:
            return
        self._chain.check_all()
        with self._chain.database.snapshot():
            number, *_ = self._chain.last()
            parts = self._parts(part)
            runs = [run for run, _ in self._chain.database.all(chain_queries.RUN_IDS)]
            for run in runs:
                sealed = self._sealed(run)
                if sealed is not None and sealed.get(str(part)) != parts.get(run):
                    raise self._chain.damage("the index of customers", run)
            self._checked[part] = number

    def _parts(self, part: int) -> dict[int, str]:
        """Return the hash of this part as it is now, of every run that has something in it."""
        first, last = (bytes((part,)), bytes((part + 1,)) if part < 255 else None) if part != _OTHER else ("", b"")
        found: defaultdict[int, Any] = defaultdict(hashlib.sha256)
        for run, row, packed in self._chain.database.all(chain_queries.INDEX_PART, {"first": first, "last": last}):
            found[run].update(_entry(row, packed))
        return {run: entries.hexdigest()[:_HEX_DIGITS] for run, entries in found.items()}

    def _sealed(self, run: int) -> dict[str, str] | None:
        """Return what was hashed when the plan of a run was sealed; None where nothing was."""
        line = self._chain.database.first(chain_queries.SEALED_EVENT, {"run": run})
        if line is None:
            (begun,) = self._chain.database.first(chain_queries.RUN_STATE_NUMBER, {"run": run}) or ("planning",)
            if begun == "planning" or run <= self._chain.unchained_runs():
                return None
            raise self._chain.damage("the event of its seal", run)
        (loaded,) = self._chain.load([line[0]])
        parts: dict[str, str] = json.loads(loaded.rows) if loaded.kind == SEALED else {}
        return parts


def _entry(row: int, packed: Any) -> bytes:
    return b"%d:%b" % (row, packed if isinstance(packed, bytes) else str(packed).encode())

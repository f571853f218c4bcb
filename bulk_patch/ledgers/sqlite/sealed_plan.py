"""One sealed plan of a SQLite ledger, verified against its hash: its facts at once, its rows chunk by chunk."""

import hashlib
import struct
from bisect import bisect_right

from bulk_patch.errors import DamagedLedgerError
from bulk_patch.ledgers.records import Run
from bulk_patch.ledgers.seal import Chunk, frame_version_1, hash_leaves, hash_plan, leaf
from bulk_patch.ledgers.sqlite import queries
from bulk_patch.ledgers.sqlite.database import Database
from bulk_patch.ledgers.sqlite.planning import span, unpack_customer


class SealedPlan:
    """What a connection has verified of one plan; a chunk is verified once.

    Args:
        database: The ledger.
        run: The run as it is now.
        number: Its number in the ledger.

    Raises:
        LedgerError: The facts of the run, its summary or the hashes of its rows are not as they were sealed.
    """

    def __init__(self, database: Database, run: Run, number: int) -> None:
        self.run = run
        self._database = database
        self._span = span(number)
        self._chunks = [Chunk(*line) for line in database.all(queries.CHUNKS, {"run": number})]
        self._first_rows = [chunk.first_row for chunk in self._chunks]
        self._verified: set[int] = set()
        (salts,) = database.first(queries.SUMMARY_SALTS, {"run": number}) or (b"",)
        if hash_plan(run, self._chunks, salts) != run.plan_sha256:
            raise self.damage("its facts, its summary or the hashes of its rows")

    @property
    def covers_all_rows(self) -> bool:
        """Tell whether every row that the ledger keeps is in a chunk; in version 1 those to send are."""
        return self.run.seal_version > 1

    def trust(self, before: "SealedPlan") -> None:
        """Take over what was verified of the same plan, when facts that the seal does not cover have changed since."""
        if (before.run.plan_sha256, before._chunks) == (self.run.plan_sha256, self._chunks):
            self._verified = before._verified

    def trust_all(self) -> None:
        """Mark all rows as verified: the caller has just written and hashed them."""
        self._verified.update(range(len(self._chunks)))

    def verify_row(self, row: int) -> int:
        """Compare the chunk that a row is in with its sealed hash, once.

        Returns:
            The last row of that chunk.

        Raises:
            LedgerError: It is not as it was sealed, or the row was never sealed.
        """
        place = bisect_right(self._first_rows, row) - 1
        if place < 0 or row > self._chunks[place].last_row:
            raise self.damage(f"row {row}")
        if place not in self._verified:
            self._verify_chunk(self._chunks[place])
            self._verified.add(place)
        return self._chunks[place].last_row

    def verify_all(self) -> None:
        """Compare the whole plan with its seal, chunk by chunk.

        Raises:
            LedgerError: When a row is not as it was sealed, is gone, or was never sealed.
        """
        for place, chunk in enumerate(self._chunks):
            if place not in self._verified:
                self._verify_chunk(chunk)
                self._verified.add(place)
        sealed = sum(chunk.rows for chunk in self._chunks)
        count = queries.COUNT_ROWS if self.covers_all_rows else queries.COUNT_OLD_ROWS
        if self._database.first(count, self._span) != (sealed,):
            raise self.damage("the number of its rows")

    def _verify_chunk(self, chunk: Chunk) -> None:
        offset = self._span["first"]
        limits = {"first": offset | chunk.first_row, "last": offset | chunk.last_row}
        found = self._hash(limits) if self.covers_all_rows else self._hash_version_1(limits)
        if found != chunk.sha256:
            raise self.damage(f"a row from {chunk.first_row} to {chunk.last_row}")

    def _hash(self, limits: dict[str, int]) -> bytes:
        leaves = []
        try:
            for row, customer_id, *rest, salt, kept in self._database.all(queries.CHUNK_ROWS, limits):
                found = leaf(salt, (row, unpack_customer(customer_id), *rest))
                leaves.append(found if found == kept else b"")
        except (TypeError, AttributeError, ValueError, struct.error):  # a value of another type than was written
            return b""
        return hash_leaves(leaves)

    def _hash_version_1(self, limits: dict[str, int]) -> bytes:
        found = hashlib.sha256()
        for row, customer_id, *rest in self._database.all(queries.OLD_CHUNK_ROWS, limits):
            found.update(frame_version_1(row, unpack_customer(customer_id), *rest))
        return found.digest()

    def damage(self, what: str) -> DamagedLedgerError:
        """Return the error that says what is not as it was sealed."""
        return DamagedLedgerError(
            f"run {self.run.id} is not as it was sealed: {what} changed; nothing more of it is sent",
            f"Restore {self._database.path} from a backup, or find out who changed it before you plan again.",
        )

"""What a plan's hash covers: pure functions, the same for every ledger.

Version 2. Each row that the ledger keeps is one leaf: the SHA-256 of 16 random bytes and the row, so that its values
can be purged later and the leaf stays. Leaves are hashed in chunks, so that a chunk can be verified when one of its
rows is sent or shown. The hash of the plan covers the hashes of the chunks and all facts of the run that its plan
fixed: what people were shown (`PlanSummary`), who asked and why, the terms, the target, and the secret that the keys
come from.

Version 1 covered rows that are to be sent, and of the facts neither summary, actor nor terms. Such plans stay readable.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from bulk_patch.ledgers.records import PlanRow, Run
from bulk_patch.model import encode_json

VERSION = 2
CHUNK_ROWS = 1_000
SALT_BYTES = 16

_ROW = struct.Struct(">QIIIIIIqqB")  # row, then the lengths of what follows (-1: none), then the flags
_OLD_ROW = struct.Struct(">QIqqB")
_CHUNK = struct.Struct(">QQI32s")

#: Draws so many random bytes; fixed in tests, so that the same input gives the same hash.
DrawSalts = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows under one hash."""

    first_row: int
    last_row: int
    rows: int
    sha256: bytes


#: One planned row: row, customer id, state, cells, reason, hint, names of its fields as a JSON array, body,
#: before-image, read_back, recheck.
Values = tuple[int, str, str, bytes, str, str, str, bytes | None, bytes | None, int, int]


@lru_cache(maxsize=4096)  # a plan has few combinations of changed fields, and many rows
def encode_names(names: tuple[str, ...]) -> str:
    """Return names of fields as the ledger keeps them: a JSON array."""
    return encode_json(names).decode()


def values_of(row: PlanRow) -> Values:
    """Return what a leaf covers of a planned row: all of it."""
    return (
        row.row,
        row.customer_id,
        str(row.state),
        row.cells,
        row.reason,
        row.hint,
        encode_names(row.fields),
        row.body,
        row.before,
        int(row.read_back),
        int(row.recheck),
    )


def leaf(salt: bytes, values: Values) -> bytes:
    """Return the leaf of one planned row.

    Args:
        salt: `SALT_BYTES` random bytes.
        values: The row as it was planned.
    """
    return hashlib.sha256(salt + frame(values)).digest()


def frame(values: Values) -> bytes:
    """Return all of a planned row as bytes; no two different rows have the same frame."""
    row, customer_id, state, cells, reason, hint, names, body, before, read_back, recheck = values
    texts = (customer_id.encode(), state.encode(), names.encode(), reason.encode(), hint.encode(), cells)
    head = _ROW.pack(
        row,
        *map(len, texts),
        -1 if body is None else len(body),
        -1 if before is None else len(before),
        read_back | recheck << 1,
    )
    return b"".join((head, *texts, body or b"", before or b""))


class ChunkBuilder:
    """Collects the leaves of rows that come in order, and makes a chunk of every thousand.

    Args:
        draw: Draws the salts.
    """

    def __init__(self, draw: DrawSalts = os.urandom) -> None:
        self.chunks: list[Chunk] = []
        self._draw = draw
        self._salts = b""
        self._leaves: list[bytes] = []
        self._first_row = self._last_row = 0

    def add(self, values: Values) -> tuple[bytes, bytes]:
        """Return the salt and the leaf of the next row."""
        if not self._leaves:
            self._first_row, self._salts = values[0], self._draw(SALT_BYTES * CHUNK_ROWS)
        at = SALT_BYTES * len(self._leaves)
        salt = self._salts[at : at + SALT_BYTES]
        found = leaf(salt, values)
        self._leaves.append(found)
        self._last_row = values[0]
        if len(self._leaves) == CHUNK_ROWS:
            self.finish()
        return salt, found

    def finish(self) -> None:
        """End the chunk that is not full."""
        if self._leaves:
            self.chunks.append(Chunk(self._first_row, self._last_row, len(self._leaves), hash_leaves(self._leaves)))
            self._leaves = []


def hash_leaves(leaves: Iterable[bytes]) -> bytes:
    """Return the hash of a chunk: the SHA-256 of its rows' leaves, in order."""
    return hashlib.sha256(b"".join(leaves)).digest()


def hash_plan(run: Run, chunks: Iterable[Chunk], summary_salts: bytes) -> str:
    """Return the plan's SHA-256 as hex digits.

    Args:
        run: The run with its summary, `input_rows` and `unchanged` as sealed.
        chunks: All chunks of the plan, in input order.
        summary_salts: Two salts, for what the summary shows of customers: transitions and samples; none in version 1.
    """
    facts = _old_facts(run) if run.seal_version == 1 else _facts(run, summary_salts)
    plan = hashlib.sha256(encode_json(facts))
    for chunk in chunks:
        plan.update(_CHUNK.pack(chunk.first_row, chunk.last_row, chunk.rows, chunk.sha256))
    return plan.hexdigest()


def _facts(run: Run, salts: bytes) -> dict[str, Any]:
    summary = run.summary.to_json()
    values = {name: summary.pop(name) for name in ("transitions", "samples")}
    leaves = {
        name: hashlib.sha256(salts[at * SALT_BYTES : (at + 1) * SALT_BYTES] + encode_json(value)).hexdigest()
        for at, (name, value) in enumerate(values.items())
    }
    return {
        **_old_facts(run),
        "seal": run.seal_version,
        "actor": [run.actor.operator, run.actor.login, run.actor.host],
        "reason": run.reason,
        "ticket": run.ticket,
        "job_file": run.job_file,
        "overrides": run.overrides,
        "terms": run.terms,
        "target_spec": run.target_spec,
        "summary": summary,
        "summary_leaves": leaves,
    }


# --- version 1


def frame_version_1(
    row: int, customer_id: str, body: bytes, before: bytes | None, read_back: bool, recheck: bool
) -> bytes:
    """Return what a chunk's hash of version 1 covers of one row to send."""
    customer = customer_id.encode()
    image = b"" if before is None else before
    length = -1 if before is None else len(before)
    head = _OLD_ROW.pack(row, len(customer), len(body), length, read_back | recheck << 1)
    return b"".join((head, customer, body, image))


def _old_facts(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "job": run.job,
        "target": run.target,
        "kind": run.kind,
        "secret": run.secret,
        "identity": run.identity,
        "baseline": run.baseline,
        "baseline_sha256": run.baseline_sha256,
        "input_sha256": run.input_sha256,
        "columns": run.columns,
        "input_rows": run.input_rows,
        "unchanged": run.unchanged,
    }

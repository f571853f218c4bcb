"""What a plan's hash covers: pure functions, the same for every ledger.

A plan is hashed in chunks of pending rows, so that a chunk can be checked when its first row is to be sent. The hash of
the plan covers the hashes of the chunks and the facts of the run, its secret among them, since the keys come from it.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from bulk_patch.ledgers.records import Run
from bulk_patch.model import encode_json

CHUNK_ROWS = 1_000  # pending rows

_HEAD = struct.Struct(">QIqqB")  # row, then the lengths of what follows (-1: none), then the flags
_CHUNK = struct.Struct(">QQI32s")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive pending rows under one hash."""

    first_row: int
    last_row: int
    rows: int
    sha256: bytes


def frame_row(row: int, customer_id: str, body: bytes, before: bytes | None, read_back: bool, recheck: bool) -> bytes:
    """Return what a chunk's hash covers of one pending row; no two different rows have the same frame."""
    customer = customer_id.encode()
    image = b"" if before is None else before
    length = -1 if before is None else len(before)
    head = _HEAD.pack(row, len(customer), len(body), length, read_back | recheck << 1)
    return b"".join((head, customer, body, image))


def hash_plan(run: Run, chunks: Iterable[Chunk]) -> str:
    """Return the plan's SHA-256 as hex digits.

    Args:
        run: The run with `input_rows` and `unchanged` as sealed.
        chunks: All chunks of the plan, in input order.
    """
    facts = {
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
    plan = hashlib.sha256(encode_json(facts))
    for chunk in chunks:
        plan.update(_CHUNK.pack(chunk.first_row, chunk.last_row, chunk.rows, chunk.sha256))
    return plan.hexdigest()

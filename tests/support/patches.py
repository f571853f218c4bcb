"""Rows of a plan and answers to them, as values."""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from bulk_patch.model import History, Meaning, Patch, Reply, encode_json
from bulk_patch.targets.synctera.target import Synctera

ANN = "7d943c51-e4ff-4e57-9558-08cab6b963c7"
BEN = "0c51a3d2-93e4-4f6b-8a57-b2d1f0e6c9a8"
KEY = "1f0e6c9a-51a3-5d29-8a57-93e44f6bb2d1"
HEADERS = {"Content-Type": "application/json", "Idempotency-Key": KEY}
NEW_MAIL = {"email": "ann.lee@example.com"}
OLD_MAIL = {"email": "ann@example.com"}
SOON = dt.date(2030, 1, 1)


def make_target(resource: str = "customers") -> Synctera:
    """Return the target that is tested."""
    return Synctera(resource, today=SOON)


def make_patch(
    body: Any = NEW_MAIL, before: Any = OLD_MAIL, *, customer_id: str = ANN, row: int = 1, **facts: Any
) -> Patch:
    """Return a row; `before` None means that nothing is known of the customer."""
    image = encode_json(before) if before is not None else None
    return Patch(row, customer_id, encode_json(body), image, **{"key": KEY, **facts})


def make_reply(
    status: int = 200, body: Any = b"", *, headers: Mapping[str, str] | None = None, whole: bool = True
) -> Reply:
    """Return an answer: bytes as they are, anything else as JSON."""
    return Reply(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode(), whole)


def history(*, ambiguous: bool = False, renewed: bool = False, seen: Mapping[str, int] | None = None) -> History:
    """Return what happened to a row before."""
    return History(ambiguous, {Meaning(name): times for name, times in (seen or {}).items()}, renewed)

"""Rows sent for real, to a sandbox that fails as it is told."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulk_patch.client.credential import Credential
from bulk_patch.client.http import HttpClient
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.client.session import ApiSession
from bulk_patch.job.settings import Retry
from bulk_patch.model import Outcome, Patch, encode_json, idempotency_key
from bulk_patch.sandbox import Fault, Hook, Sandbox, Seen
from bulk_patch.sending.sender import Sender
from bulk_patch.targets.synctera.target import LOGIN
from tests.support.patches import make_target

SECRET = "6f1c1c9e-3a43-4d0f-9a3f-5f4b1f6d7a10"
PAGE = b"<html><body>Forbidden</body></html>"


def make_id(row: int) -> str:
    """Return the customer of a row."""
    return f"7d943c51-e4ff-4e57-9558-{row:012x}"


def old(row: int) -> dict[str, Any]:
    """Return what a customer has before."""
    return {"email": f"old{row}@example.com"}


def new(row: int) -> dict[str, Any]:
    """Return what is planned for a customer."""
    return {"email": f"new{row}@example.com"}


def people(count: int) -> list[dict[str, Any]]:
    """Return the customers of so many rows."""
    return [{"id": make_id(row), "first_name": "Ann", "middle_name": "Q", **old(row)} for row in range(1, count + 1)]


def make_row(row: int = 1, *, body: Any = None, before: Any = None, generation: int = 0, **facts: Any) -> Patch:
    """Return a row about to be sent for the first time."""
    usual = {"generation": generation, "intent_at": time.time()}
    return Patch(
        row,
        make_id(row),
        encode_json(body if body is not None else new(row)),
        encode_json(before if before is not None else old(row)),
        idempotency_key(SECRET, row, generation),
        **{**usual, **facts},
    )


def again(patch: Patch, outcome: Outcome) -> Patch:
    """Hand a row out once more as the dispatcher would."""
    generation = patch.generation + outcome.new_generation
    return make_row(patch.row, generation=generation, ambiguous=outcome.ambiguous, intent_at=patch.intent_at)


def faults(*of_patches: Fault | None, reads: Sequence[Fault | None] = (), then: Fault | None = None) -> Hook:
    """Spoil the attempts of every key in this order, and the reads of the run in that; `then`: all later attempts."""
    read = iter(reads)

    def hook(seen: Seen) -> Fault | None:
        if seen.method == "GET":
            return next(read, None)
        return of_patches[seen.attempt - 1] if seen.attempt <= len(of_patches) else then

    return hook


_KEPT = (400, 403, 404, 405, 409, 410, 422)


def refusal(status: int, code: str = "BAD_REQUEST_BODY", **how: Any) -> Fault:
    """Refuse in the API's own words; a true refusal is kept under the key."""
    how = {"cached": status in _KEPT and not code.startswith("IDEMPOTENCY"), **how}
    return Fault(status=status, body=json.dumps({"code": code, "status": status}).encode(), **how)


def page(status: int, **how: Any) -> Fault:
    """Answer with a page that is not the API's."""
    return Fault(status=status, body=PAGE, content_type="text/html", **how)


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that a row passes."""

    sandbox: Sandbox
    session: ApiSession
    sender: Sender
    limiter: RateLimiter

    async def send(self, *patches: Patch) -> list[Outcome]:
        """Send rows at once."""
        return list(await asyncio.gather(*(self.sender.send(patch) for patch in patches)))

    async def send_one(self, patch: Patch | None = None) -> Outcome:
        """Send one row."""
        return await self.sender.send(patch or make_row())

    def seen(self, method: str = "PATCH") -> list[dict[str, Any]]:
        """Return the requests that arrived."""
        return [line for line in self.sandbox.requests if line["method"] == method]

    def count(self) -> tuple[int, int, int]:
        """Return how many PATCHes and GETs arrived, and how many changed a customer."""
        methods = Counter(line["method"] for line in self.sandbox.requests)
        return methods["PATCH"], methods["GET"], sum(line["executed"] for line in self.sandbox.requests)

    def keys(self) -> set[str]:
        """Return the keys that arrived."""
        return {line["key"] for line in self.seen()}


@asynccontextmanager
async def open_bench(
    fault: Hook | None = None,
    *,
    rows: int = 1,
    token: str = "",
    rate_per_s: float | None = None,
    timeout_s: float = 5.0,
    base_url: str = "",
    ca_file: Path | None = None,
    resource: str = "customers",
    sandbox: dict[str, Any] | None = None,
    retry: dict[str, Any] | None = None,
) -> AsyncIterator[Bench]:
    """Open a sandbox and a session with it; no pause of our own is longer than 20 ms unless `retry` says so."""
    async with Sandbox(people(rows), fault=fault, **(sandbox or {})) as world:
        credential = Credential(token, Path(), LOGIN) if token else Credential.of_sandbox(world.token, LOGIN)
        settings = Retry(**{"attempts": 8, "longest_delay_s": 0.02, "give_up_after_s": 60, **(retry or {})})
        target = make_target(resource)
        limiter = RateLimiter(
            rate_per_s,
            longest_delay_s=settings.longest_delay_s,
            give_up_after_s=settings.give_up_after_s,
            streaks=target.streaks,
        )
        url = base_url or world.base_url
        async with HttpClient(
            url, credential=credential, limiter=limiter, timeout_s=timeout_s, ca_file=ca_file
        ) as http:
            session = ApiSession(target, http, credential=credential, retry=settings, concurrency=8)
            yield Bench(world, session, Sender(session), limiter)


def on_bench(scenario: Callable[[Bench], Coroutine[Any, Any, None]], fault: Hook | None = None, **options: Any) -> None:
    """Run a scenario on a bench."""

    async def run() -> None:
        async with open_bench(fault, **options) as bench:
            await scenario(bench)

    asyncio.run(run())

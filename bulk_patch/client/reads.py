"""Read customers: one as evidence, many for baselines and drift checks; at the run's rate, and repeated."""

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bulk_patch.client.attempts import Attempts
from bulk_patch.client.permits import LimiterClosed
from bulk_patch.client.session import ApiSession, RunHalted
from bulk_patch.errors import CredentialError, IncompleteError, InputError, error_with
from bulk_patch.model import Action, Answer, History, Meaning, NetworkFailure, Reply, Request, Verdict
from bulk_patch.observe import get_logger
from bulk_patch.targets import Record
from bulk_patch.targets.answers import http_date
from bulk_patch.targets.faults import NOT_THE_API, NOTHING_THERE, TOO_MANY_IDS

_MOST_PAGES = 100  # of a list, and two for each customer

log = get_logger()


@dataclass(frozen=True, slots=True)
class Read:
    """What a read of one customer gave."""

    record: Record | None  # None: the API does not know the customer
    skew_s: float  # the server's clock minus ours


@dataclass(frozen=True, slots=True)
class Found:
    """What a read of several customers gave; those who are in neither do not exist in the API."""

    by_id: Mapping[str, Record]  # by normalised id
    unreadable: Mapping[str, str]  # id -> why its record cannot be used


class Unreadable(Exception):  # noqa: N818 - a finding
    """A read did not succeed within its attempts."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


async def read_one(session: ApiSession, record_id: str, *, answers: list[Answer] | None = None) -> Read:
    """Read one record; how each request ended is added to `answers`.

    Raises:
        Unreadable: Not within the attempts.
        RunHalted: The run must stop.
        LimiterClosed: The run is stopping already.
    """
    reply, verdict = await _ask(session, session.target.read_one(record_id), answers=answers)
    record = session.target.record(reply, record_id) if verdict.act is Action.APPLIED else None
    if record is None and verdict.meaning is not Meaning.NOT_FOUND:  # refused, or not an answer to this question
        raise Unreadable(verdict)
    if record is not None and (why := session.target.evidence.oddity(record)):
        raise _unusable(verdict, f"the {session.target.noun}'s record cannot be used: {why}")
    sent = http_date(reply.headers.get("date"))
    return Read(record, sent.timestamp() - time.time() if sent is not None else 0.0)


async def read_many(session: ApiSession, ids: Sequence[str], *, answers: list[Answer] | None = None) -> Found:
    """Read records by their ids, unknown ones left out; a batch is halved where the API finds it too long.

    How each request ended is added to `answers`.

    Raises:
        Unreadable, RunHalted, LimiterClosed: As `read_one`.
    """
    batches = [_read_batch(session, batch, answers) for batch in _batches(ids, session.ids_per_read)]
    tasks = [asyncio.ensure_future(batch) for batch in batches]
    try:
        read = [record for records in await asyncio.gather(*tasks) for record in records]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    by_id = {session.target.record_id(record): record for record in read}
    odd = {record_id: why for record_id, record in by_id.items() if (why := session.target.evidence.oddity(record))}
    return Found({record_id: record for record_id, record in by_id.items() if record_id not in odd}, odd)


async def read_live(session: ApiSession, ids: Sequence[str], *, what: str = "the live baseline") -> Found:
    """Read customers as they are now, before anything is sent.

    Args:
        session: With the API.
        ids: Of the customers.
        what: Could not be read, where it fails.

    Raises:
        InputError: The address answers 404 or a page that is not the API's.
        IncompleteError: The API cannot be read now, or the session has stopped.
        CredentialError, StoppedError: It refuses, or something is wrong on the way.
    """
    try:
        return await read_many(session, ids)
    except Unreadable as failure:
        verdict = failure.verdict
        if verdict.meaning is Meaning.FORBIDDEN:
            hint = "the token lacks a permission, or belongs to another workspace"
            raise CredentialError(f"{what} may not be read: {verdict.reason}", hint) from None
        if verdict.status == NOTHING_THERE or verdict.meaning in NOT_THE_API:
            what = (
                f"{NOTHING_THERE}"
                if verdict.status == NOTHING_THERE
                else f"a page that is not the API's ({verdict.reason})"
            )
            hint = "check target.base_url and target.resource; nothing was sent for this input"
            raise InputError(f"the baseline's address answers {what}", hint) from None
        hint = "nothing was sent for this input; run the same command again when the API answers"
        raise IncompleteError(f"{what} could not be read: {verdict.reason}", hint) from None
    except RunHalted as halt:
        raise error_with(halt.stop.exit_code, halt.stop.reason, halt.stop.hint) from None
    except LimiterClosed:
        hint = "run the same command again"
        raise IncompleteError(f"this command is stopping and reads no more {session.target.noun}s", hint) from None


@dataclass(slots=True, kw_only=True)
class ReadAttempts(Attempts):
    """The attempts of one GET."""

    session: ApiSession

    def judge(self, reply: Reply | NetworkFailure) -> Verdict:
        """Judge one answer."""
        return self.session.target.judge_read(reply, History(seen=self.seen, renewed=self.renewed))

    def probe(self) -> Request:
        """Return the request itself: a read is a probe."""
        return self.request

    def counts(self, verdict: Verdict, streak: Meaning | None) -> bool:
        """Tell whether it counts: a read does not answer a PATCH, so it can only end a streak of foreign pages."""
        return bool(verdict.streak) or streak in NOT_THE_API

    def is_over(self, reply: Reply | NetworkFailure, verdict: Verdict, budget: int) -> bool:
        """Tell whether to ask no more."""
        return self.is_at_wrong_address(verdict) or _is_settled(reply, verdict) or self.tried >= budget

    def is_at_wrong_address(self, verdict: Verdict) -> bool:
        """Tell whether something else answers and the API never has: that is not worth a second attempt."""
        return verdict.meaning in NOT_THE_API and not self.session.has_answered

    def repeats(self, verdict: Verdict) -> None:
        """Tell those who watch, the first time, why nothing happens."""
        if sum(self.seen.values()) == 1 and verdict.reason not in self.session.said:  # sixteen reads fail alike
            self.session.said.add(verdict.reason)
            log.warning("reading_again", reason=verdict.reason)


def _is_settled(reply: Reply | NetworkFailure, verdict: Verdict) -> bool:
    return verdict.act in (Action.APPLIED, Action.REJECTED) and isinstance(reply, Reply)


async def _ask(
    session: ApiSession, request: Request, *, answers: list[Answer] | None, gives_way_to: Collection[int] = ()
) -> tuple[Reply, Verdict]:
    """Ask until the answer can be used or is a refusal.

    Args:
        session: With the API.
        request: A GET.
        answers: How each time ended is added to it, if it is given.
        gives_way_to: Statuses, of the API or of anything before it, that make it unreadable at once.
    """
    answers = [] if answers is None else answers
    attempts = ReadAttempts(request=request, session=session, gives_way_to=gives_way_to, answers=answers)
    reply, verdict, stop = await session.ask(attempts)
    if stop is not None:
        raise RunHalted(stop)
    if verdict.status in gives_way_to or attempts.is_at_wrong_address(verdict) or not _is_settled(reply, verdict):
        raise Unreadable(verdict)
    assert isinstance(reply, Reply)  # as a settled one is
    session.has_answered = True
    return reply, verdict


async def _read_batch(session: ApiSession, ids: Sequence[str], answers: list[Answer] | None) -> list[Record]:
    """Read a batch, in halves where it is too long."""
    try:
        records = await _read_pages(session, ids, answers)
        session.on_read(len(ids))
        return records
    except Unreadable as failure:
        if failure.verdict.status not in TOO_MANY_IDS or len(ids) == 1:
            raise
    half = (len(ids) + 1) // 2
    session.ids_per_read = min(session.ids_per_read, half)
    return [record for batch in _batches(ids, half) for record in await _read_batch(session, batch, answers)]


async def _read_pages(session: ApiSession, ids: Sequence[str], answers: list[Answer] | None) -> list[Record]:
    """Read the pages of a batch until all customers are found, or the list ends.

    A list proves that a customer does not exist only where it held what was asked for and nothing else.
    """
    asked = frozenset(ids)
    missing = set(ids)
    found: list[Record] = []
    token: str | None = None
    tokens: set[str] = set()
    is_proof = True
    gives_way_to = TOO_MANY_IDS if len(ids) > 1 else frozenset()
    while True:
        request = session.target.read(ids, token)
        reply, verdict = await _ask(session, request, answers=answers, gives_way_to=gives_way_to)
        if verdict.act is not Action.APPLIED:
            raise Unreadable(verdict)
        page = session.target.page(reply)
        if page is None:
            raise _unusable(verdict, f"the answer is not a list of {session.target.noun}s")
        for record in page.records:
            record_id = session.target.record_id(record)
            is_proof = is_proof and record_id in asked
            if record_id in missing:
                missing.discard(record_id)
                found.append(record)
        is_proof = is_proof and not page.is_partial
        token = page.next_token
        if not missing or token is None:
            break
        if token in tokens or len(tokens) >= 2 * len(ids) + _MOST_PAGES:
            raise _unusable(verdict, f"the list of {session.target.noun}s does not end")
        tokens.add(token)
    if missing and not is_proof:
        raise _unusable(
            verdict,
            f"the list holds others than the {session.target.noun}s asked for, so it does not show who is missing",
        )
    return found


def _unusable(verdict: Verdict, reason: str) -> Unreadable:
    """Make the finding that an answer came and cannot be used."""
    words = f"{reason} (HTTP {verdict.status})" if verdict.status is not None else reason
    return Unreadable(replace(verdict, act=Action.RETRY, reason=words))


def _batches(items: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])

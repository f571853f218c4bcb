"""Reading customers: pages for baselines and drift checks, single ones as evidence; paced and retried."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

from bulk_patch.client.backoff import backoff_s, steps_s
from bulk_patch.client.credential import Credential
from bulk_patch.client.http import HttpClient
from bulk_patch.client.rate_limiter import LimiterClosed, RateLimiter
from bulk_patch.concurrency import wait_or
from bulk_patch.errors import BulkPatchError, Exit
from bulk_patch.job.settings import Job, Retry
from bulk_patch.model import Action, History, NetworkFailure, Reply, Request, Stop, Verdict, Wait
from bulk_patch.observe import get_logger
from bulk_patch.targets import Record, Streak, Target
from bulk_patch.targets.answers import http_date
from bulk_patch.words import duration_words

LONGEST_PAUSE_S = 15 * 60
#: Before the API ever answered, a page that is not its own means a wrong address: not worth a second try.
NOT_THE_API = frozenset({"not the API's word", "unreadable answer"})
TOO_MANY_IDS = frozenset({400, 414, 431})
GONE = frozenset({404, 410})

log = get_logger()


class RunHalted(Exception):  # noqa: N818 - carries a finding, is not an error by itself
    """The run must stop."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


@dataclass(frozen=True, slots=True)
class Read:
    """What a read of one customer gave."""

    record: Record | None  # None: the API does not know the customer
    skew_s: float  # the server's clock minus ours


class Unreadable(Exception):  # noqa: N818 - a finding
    """A read did not succeed within its attempts."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class ApiSession:
    """What all requests of one process share: wire, pace, credential, streaks, and the word to stop."""

    def __init__(
        self, target: Target, http: HttpClient, *, credential: Credential, retry: Retry, concurrency: int
    ) -> None:
        self.target = target
        self.http = http
        self.limiter: RateLimiter = http.limiter
        self.retry = retry
        self.stopping = asyncio.Event()
        self._credential = credential
        self._renewing = asyncio.Lock()
        self.slots = asyncio.Semaphore(concurrency)  # held from before the permit, so that nobody who has one waits
        self._ids_per_read = target.ids_per_read
        self._streak: tuple[str, int] = ("", 0)
        self.on_read: Callable[[int], None] = lambda customers: None
        self.on_answer: Callable[[int, float | None], None] = lambda status, patch_s: None  # of every request
        self._met = False  # the API has answered a read in its own words
        self._refused: Stop | None = None  # why a renewed credential does not help

    def stop(self) -> None:
        """Send nothing new; what is out may finish."""
        self.stopping.set()
        self.limiter.close()

    # --- reads

    async def read_one(self, customer_id: str) -> Read:
        """Read one customer.

        Raises:
            Unreadable: Not within the attempts.
            Halt: The run must stop.
            Closed: The run stops already.
        """
        reply, verdict = await self._call(self.target.read_one(customer_id))
        record = self.target.record(reply, customer_id) if verdict.act is Action.APPLIED else None
        if record is None and verdict.status not in GONE:  # refused, or not an answer to this question
            raise Unreadable(verdict)
        sent = http_date(reply.headers.get("date"))
        return Read(record, sent.timestamp() - time.time() if sent is not None else 0.0)

    async def read_many(self, ids: Sequence[str]) -> list[Record]:
        """Read customers by their ids, unknown ones left out; the batch is halved where the API finds it too long.

        Raises:
            Unreadable, Halt, Closed: As `read_one`.
        """
        batches = [self._read_some(batch) for batch in _batches(ids, self._ids_per_read)]
        tasks = [asyncio.ensure_future(batch) for batch in batches]
        try:
            return [record for records in await asyncio.gather(*tasks) for record in records]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_some(self, ids: Sequence[str]) -> list[Record]:
        try:
            records = await self._read_batch(ids)
            self.on_read(len(ids))
            return records
        except Unreadable as failure:
            if failure.verdict.status not in TOO_MANY_IDS or len(ids) == 1:
                raise
        half = (len(ids) + 1) // 2
        self._ids_per_read = min(self._ids_per_read, half)
        return [record for batch in _batches(ids, half) for record in await self._read_some(batch)]

    async def _read_batch(self, ids: Sequence[str]) -> list[Record]:
        records: list[Record] = []
        token: str | None = None
        tokens: set[str] = set()
        while True:
            gives_way_to = TOO_MANY_IDS if len(ids) > 1 else frozenset()
            reply, verdict = await self._call(self.target.read(ids, token), gives_way_to=gives_way_to)
            page = self.target.page(reply) if verdict.act is Action.APPLIED else None
            if page is None:
                raise Unreadable(verdict)
            records += page.records
            token = page.next_token
            if token is None or not page.records:
                return records
            if token in tokens:  # in circles
                raise Unreadable(verdict)
            tokens.add(token)

    async def _call(self, request: Request, *, gives_way_to: Collection[int] = ()) -> tuple[Reply, Verdict]:
        """Make a read until it can be used, is refused, or its attempts are spent.

        Args:
            request: A GET.
            gives_way_to: Statuses, whoever speaks them, that the caller has a better answer to than asking again.
        """
        seen: dict[str, int] = {}
        renewed = False
        tried = 0
        while True:
            reply, permitted_at, version = await self._exchange(request)
            verdict = self.target.judge_read(reply, History(seen=seen, renewed=renewed))
            if verdict.status in gives_way_to:
                self.limiter.passed(permitted_at)
                raise Unreadable(verdict)
            self.tell_pace(verdict, 0, permitted_at)
            # A read is no answer to a PATCH, so it ends no row of refusals; but it may end a row of foreign pages.
            counts = verdict.streak or self._streak[0] in NOT_THE_API
            stop = verdict.stop or (self.streak(verdict, canary=False) if counts else None)
            if stop is not None:
                raise RunHalted(stop)
            if verdict.kind in NOT_THE_API and not self._met:
                raise Unreadable(verdict)
            if verdict.act in (Action.APPLIED, Action.REJECTED) and isinstance(reply, Reply):
                self._met = True
                return reply, verdict
            tried += not verdict.free
            if tried >= self.retry.attempts:
                raise Unreadable(verdict)
            if not seen:  # the first time: whoever watches must not wonder why nothing happens
                log.warning("reading_again", reason=verdict.reason)
            if verdict.act is Action.RENEW:
                await self.renew(version, request)
                renewed = True
            else:
                await self.wait(verdict, seen.get(verdict.kind, 0))
            seen[verdict.kind] = seen.get(verdict.kind, 0) + 1

    async def _exchange(self, request: Request, *, probe: bool = False) -> tuple[Reply | NetworkFailure, float, int]:
        # A probe takes the slot of the refused request: nobody else gets a permit until it is answered.
        async with nullcontext() if probe else self.slots:
            permitted_at = await self.limiter.permit(probe=probe)
            try:
                reply, version = await self.http.send(request)
            except (asyncio.CancelledError, LimiterClosed):
                self.limiter.passed(permitted_at)
                raise
        self.on_answer(reply.status if isinstance(reply, Reply) else 0, None)
        return reply, permitted_at, version

    # --- what answers do to everybody

    def tell_pace(self, verdict: Verdict, row: int, permitted_at: float) -> None:
        """Let an answer act on the pace that all share.

        Raises:
            Halt: The API asks for a pause longer than a process should sleep, or nothing succeeded for too long.
        """
        if (verdict.pause_s or 0) > LONGEST_PAUSE_S:
            self.limiter.passed(permitted_at)
            self.limiter.pause(
                verdict.pause_s or 0, "the API asked to wait"
            )  # for those who have not heard of the stop
            until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time.time() + (verdict.pause_s or 0)))
            raise RunHalted(
                Stop(Exit.INCOMPLETE, f"the API asks to wait until {until}", "run the same command again then")
            )
        if verdict.wait is Wait.PAUSE and verdict.kind == "throttled":
            self.limiter.passed(permitted_at)
            self.limiter.throttle(permitted_at, verdict.pause_s)
            self._give_up_after(self.limiter.throttled_s, verdict)
        elif verdict.outage:
            self.limiter.failed(row, permitted_at)
            if verdict.pause_s:
                self.limiter.pause(verdict.pause_s, "the API asked to wait")
            self._give_up_after(self.limiter.outage_s, verdict)
        elif verdict.wait is Wait.PAUSE and verdict.act is Action.RETRY:
            self.limiter.passed(permitted_at)
            self.limiter.pause(max(1.0, backoff_s(self._streak[1], self.retry.longest_delay_s)), verdict.kind)
        elif verdict.kind in NOT_THE_API:
            self.limiter.passed(permitted_at)
        else:
            self.limiter.succeeded()

    def _give_up_after(self, lasting_s: float, verdict: Verdict) -> None:
        if lasting_s > self.retry.give_up_after_s:
            reason = f"no success for {duration_words(lasting_s)}: {verdict.reason}"
            hint = "check target.base_url and the API's status page; then run the same command again"
            raise RunHalted(Stop(Exit.INCOMPLETE, reason, hint))

    def streak(self, verdict: Verdict, *, canary: bool) -> Stop | None:
        """Count answers of one kind in a row over the run; return the stop that so many mean."""
        kind = verdict.streak
        self._streak = (kind, self._streak[1] + 1 if kind == self._streak[0] else 1) if kind else ("", 0)
        streak: Streak | None = self.target.streaks.get(kind)
        if streak is None:
            return None
        if self._streak[1] >= streak.length or (canary and streak.canary):
            times = "in the canary" if canary and streak.canary else f"{self._streak[1]} times in a row"
            return Stop(streak.exit_code, f"{verdict.reason}, {times}", streak.hint)
        return None

    async def wait(self, verdict: Verdict, times: int) -> None:
        """Wait as a verdict says, before the same row is tried again; a stop ends it early."""
        if verdict.wait is Wait.BACKOFF:
            await wait_or(self.stopping, backoff_s(times, self.retry.longest_delay_s))
        elif verdict.wait is Wait.STEPS:
            await wait_or(self.stopping, min(steps_s(times), self.retry.longest_delay_s))

    async def renew(self, version: int, probe: Request) -> None:
        """Renew the credential once, while all wait, and probe it.

        Args:
            version: The credential that was refused; when it is no longer the current one, somebody else renewed it.
            probe: A read.

        Raises:
            Halt: It cannot be renewed, or the probe is refused too; then all go on waiting, until the run has stopped.
        """
        async with self._renewing:
            if self._refused is None:
                if self._credential.version != version:
                    return
                self.limiter.hold()
                try:
                    self._refused = await self._try_new_credential(probe)
                finally:
                    if self._refused is None:
                        self.limiter.release()
            if self._refused is not None:
                raise RunHalted(self._refused)

    async def _try_new_credential(self, probe: Request) -> Stop | None:
        """Renew and probe; return the stop when that does not help.

        Raises:
            Halt: The probe's answer asks to wait for longer than a process should sleep.
        """
        try:
            await asyncio.to_thread(self._credential.renew)
        except BulkPatchError as error:
            return Stop(Exit.CREDENTIAL, error.message, error.hint)
        reply, permitted_at, _ = await self._exchange(probe, probe=True)
        verdict = self.target.judge_read(reply, History())
        if verdict.kind == "throttled":
            self.tell_pace(verdict, 0, permitted_at)
        else:
            self.limiter.passed(permitted_at)
        if verdict.status == 401:
            hint = "check [target] token: is it for this workspace, and still valid? Then run the same command again"
            return Stop(Exit.CREDENTIAL, "the API refuses the token (HTTP 401)", hint)
        return None


def _batches(items: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


@asynccontextmanager
async def open_session(job: Job, target: Target) -> AsyncIterator[ApiSession]:
    """Yield a session with the API of a job, or with the sandbox that it is aimed at; nothing is asked for yet.

    Raises:
        CredentialError: The token cannot be had.
    """
    if job.sandbox_token:
        credential = Credential.of_sandbox(job.sandbox_token)
    else:
        credential = Credential(job.target.token, job.file.parent)
    rate = job.limits.rate_per_s
    limiter = RateLimiter(None if isinstance(rate, str) else float(rate), longest_delay_s=job.retry.longest_delay_s)
    http = HttpClient(
        job.target.base_url,
        credential=credential,
        limiter=limiter,
        timeout_s=job.limits.timeout_s,
        proxy=job.target.proxy,
        ca_file=job.target.ca_file,
    )
    async with http:
        yield ApiSession(target, http, credential=credential, retry=job.retry, concurrency=job.limits.concurrency)

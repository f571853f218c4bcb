"""A session with one API: the credential, the limiter, the streaks, the stop; and one loop that makes requests."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bulk_patch.client.attempts import Attempts, Exchange
from bulk_patch.client.backoff import backoff_s, steps_s
from bulk_patch.client.credential import Credential, with_login
from bulk_patch.client.permits import NOTHING, LimiterClosed, Permit, Signal, SignalKind
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.client.send_spec import SendSpec
from bulk_patch.client.shared_rate import FileRate
from bulk_patch.concurrency import wait_or
from bulk_patch.errors import BulkPatchError, Exit
from bulk_patch.job.settings import Retry
from bulk_patch.model import (
    NEVER_LEFT,
    Action,
    Answer,
    History,
    Meaning,
    NetworkFailure,
    Reply,
    Request,
    Stop,
    Verdict,
    Wait,
)
from bulk_patch.observe import get_logger
from bulk_patch.targets import Target
from bulk_patch.targets.answers import UNKNOWN_CODE, repeats_a_value
from bulk_patch.targets.faults import NOT_THE_API

if TYPE_CHECKING:
    from bulk_patch.client.http import HttpClient

_REFUSALS = frozenset({Meaning.REFUSED, Meaning.FORBIDDEN, Meaning.NOT_FOUND})  # in the API's own words


log = get_logger()


class RunHalted(Exception):  # noqa: N818 - carries a finding, is not an error by itself
    """The run must stop."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.reason)
        self.stop = stop


class ApiSession:
    """What all requests of one process share: HTTP client, limiter, credential, streaks, and the stop.

    Args:
        target: Makes requests and judges answers.
        http: Sends them.
        credential: Is renewed when the API refuses it.
        retry: Budget and delays.
        concurrency: How many requests may be under way.
    """

    def __init__(
        self, target: Target, http: "HttpClient", *, credential: Credential, retry: Retry, concurrency: int
    ) -> None:
        self.target = target
        self.http = http
        self.limiter: RateLimiter = http.limiter
        self.retry = retry
        self.stopping = asyncio.Event()
        self.slots = asyncio.Semaphore(concurrency)  # taken before the permit, so that a permit never waits for one
        self.ids_per_read = target.ids_per_read  # less, once the API found so many too long
        self.has_answered = False  # the API has answered a read in its own words
        self.said: set[str] = set()  # reasons for reading again
        self.reads_made = 0  # requests without a body
        self.on_read: Callable[[int], None] = lambda customers: None
        self._credential = credential
        self._renewing = asyncio.Lock()
        self._refused: Stop | None = None  # why a renewed credential does not help
        self._said_unread_wish = False
        self._too_early: Stop | None = None  # an earlier process was asked for a longer wait than this one should sleep

    def aim(self, target: Target) -> None:
        """Use another target of the same API from now on: the one that a run was planned with."""
        self.target, self.ids_per_read = target, target.ids_per_read
        self._credential.show_by(target.login)

    def stop(self) -> None:
        """Send nothing new; what is under way may finish."""
        self.stopping.set()
        self.limiter.close()

    def wait_on(self, asked_at: float, until: float) -> None:
        """Take over a wait that the API asked an earlier process for: no request is made before it ends."""
        self._too_early = self.limiter.wait_on(asked_at, until)

    async def ask(self, attempts: Attempts) -> tuple[Reply | NetworkFailure, Verdict, Stop | None]:
        """Send a request until an answer settles it, its attempts are spent, or the run must stop.

        Returns:
            The last answer, the verdict on it, and the stop that the verdict or a streak of its kind asks for.

        Raises:
            RunHalted: The API refuses the credential, or asked an earlier process for a long wait.
            LimiterClosed: The run stops; this attempt was not sent.
        """
        budget = self.retry.attempts
        while True:
            reply, permit, version = await self._exchange(attempts)
            verdict = self._without_echo(attempts.judge(reply), attempts.request)
            times = attempts.seen.get(verdict.meaning, 0)
            if verdict.status not in attempts.gives_way_to and _has_to_come_again(attempts, reply, verdict):
                if not attempts.unconfirmed:
                    self.limiter.settle(permit, NOTHING)
                    attempts.note(reply, replace(verdict, free=True))
                    attempts.unconfirmed = True
                    continue
                verdict = self._without_echo(
                    attempts.judge_in_doubt(reply), attempts.request
                )  # the new connection says more than it was asked, too
            attempts.note(reply, verdict)
            attempts.unconfirmed = False
            if verdict.status in attempts.gives_way_to:
                self.limiter.settle(permit, NOTHING)
                return reply, verdict, None
            self._say_unread_wish(reply, verdict)
            counts = verdict.stop is None and attempts.counts(verdict, self.limiter.streak)
            signal = _signal(verdict, row=attempts.row, counts=counts, canary=attempts.canary)
            stop = self.limiter.settle(permit, signal) or verdict.stop
            if stop is not None or attempts.is_over(reply, verdict, budget):
                return reply, verdict, stop
            attempts.repeats(verdict)
            if verdict.act is Action.RENEW:
                await self._renew(version, Exchange(request=attempts.probe(), answers=attempts.answers))
                attempts.renewed = True
                if attempts.tried >= budget:
                    return reply, verdict, None
            else:
                await self._wait(verdict, times)

    async def _exchange(self, exchange: Exchange, *, probe: bool = False) -> tuple[Reply | NetworkFailure, Permit, int]:
        """Send a request once; return the answer, its permit, and the version of the credential that was used."""
        if self._too_early is not None:
            raise RunHalted(self._too_early)
        request = exchange.request
        # A probe takes the slot of the refused request: no other request gets a permit until it is answered.
        async with nullcontext() if probe else self.slots:
            permit = await self.limiter.acquire(probe=probe)
            exchange.is_out = True
            try:
                if exchange.unconfirmed:
                    reply, version = await self.http.send(request, permit, fresh=True)
                else:
                    reply, version = await self.http.send(request, permit)
            except asyncio.CancelledError:
                self.limiter.settle(permit, NOTHING)
                raise
            except LimiterClosed:  # it still waited for its connection: nothing has left
                self.limiter.settle(permit, NOTHING)
                exchange.is_out = False
                raise
            exchange.is_out = False
        if request.body is None and not (isinstance(reply, NetworkFailure) and reply.lost in NEVER_LEFT):
            self.reads_made += 1
        is_answered = isinstance(reply, Reply)
        patch_s = reply.elapsed_s if is_answered and request.body is not None else None
        exchange.answers.append(Answer(reply.status if isinstance(reply, Reply) else 0, patch_s, time.monotonic()))
        return reply, permit, version

    # --- what answers do to all requests

    def _without_echo(self, verdict: Verdict, request: Request) -> Verdict:
        """Drop a code that repeats what was sent, token or values: an API may echo anything."""
        code = verdict.api_code
        if not code or not (self._credential.is_in(code) or repeats_a_value(code, request.body)):
            return verdict
        return replace(verdict, api_code=UNKNOWN_CODE, reason=UNKNOWN_CODE)

    def _say_unread_wish(self, reply: Reply | NetworkFailure, verdict: Verdict) -> None:
        """Say, the first time, that an answer asks to wait in a form that nobody can read; never what it says."""
        if verdict.pause_s is not None or not isinstance(reply, Reply) or self._said_unread_wish:
            return
        if "retry-after" in reply.headers and verdict.meaning in (Meaning.THROTTLED, Meaning.SERVER_ERROR):
            self._said_unread_wish = True
            log.warning("retry_after_unreadable", http_status=reply.status, reason="waiting as if it were not there")

    async def _wait(self, verdict: Verdict, times: int) -> None:
        """Wait as a verdict says, before the same row is tried again; a stop ends it early."""
        is_lone = verdict.meaning is Meaning.THROTTLED and not verdict.pause_s  # then it is for the row to wait
        if verdict.wait is Wait.BACKOFF or is_lone:
            await wait_or(self.stopping, backoff_s(times, self.retry.longest_delay_s))
        elif verdict.wait is Wait.STEPS:
            await wait_or(self.stopping, min(steps_s(times), self.retry.longest_delay_s))

    async def _renew(self, version: int, probe: Exchange) -> None:
        """Renew the credential once, while all requests wait, and probe it.

        Args:
            version: Of the credential that was refused; when it is no longer the current one, it was renewed already.
            probe: A read.

        Raises:
            RunHalted: It cannot be renewed, or the probe is refused too; all others wait until the run has stopped.
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

    async def _try_new_credential(self, probe: Exchange) -> Stop | None:
        """Renew and probe; return the stop when that does not help.

        Raises:
            RunHalted: The probe's answer asks to wait for longer than a process should sleep.
        """
        try:
            await asyncio.to_thread(self._credential.renew)
        except BulkPatchError as error:
            return Stop(Exit.CREDENTIAL, error.message, error.hint)
        reply, permit, _ = await self._exchange(probe, probe=True)
        verdict = self.target.judge_read(reply, History())
        signal = _signal(verdict) if verdict.meaning is Meaning.THROTTLED else NOTHING
        if (stop := self.limiter.settle(permit, signal)) is not None:
            raise RunHalted(stop)
        if verdict.meaning is Meaning.UNAUTHENTICATED:
            hint = "check [target] token: is it for this workspace, and still valid? Then run the same command again"
            return Stop(Exit.CREDENTIAL, f"the API refuses the token (HTTP {verdict.status})", hint)
        return None


def _has_to_come_again(attempts: Attempts, reply: Reply | NetworkFailure, verdict: Verdict) -> bool:
    """Tell whether an answer would prove something, if it is no stray one: a refusal names no customer."""
    if not isinstance(reply, Reply):
        return False
    if verdict.act is Action.NEW_KEY and not attempts.unconfirmed:  # a mistake here would execute twice
        return True
    return reply.may_be_stray and (verdict.meaning in _REFUSALS or verdict.act is Action.NEW_KEY)


def _signal(verdict: Verdict, *, row: int = 0, counts: bool = False, canary: bool = False) -> Signal:
    """Return what a verdict means to all other requests."""
    if verdict.meaning is Meaning.THROTTLED:
        kind = SignalKind.THROTTLED
    elif verdict.outage:
        kind = SignalKind.OUTAGE
    elif verdict.wait is Wait.PAUSE and verdict.act is Action.RETRY:
        kind = SignalKind.FOREIGN
    else:
        kind = SignalKind.NOTHING if verdict.meaning in NOT_THE_API else SignalKind.OK
    return Signal(
        kind=kind,
        row=row,
        reason=verdict.reason,
        asked_s=verdict.pause_s,
        streak=verdict.streak,
        counts=counts,
        canary=canary,
    )


@asynccontextmanager
async def open_session(
    spec: SendSpec, target: Target, *, sandbox_token: str | None = None
) -> AsyncIterator[ApiSession]:
    """Yield a session with the API of a job, or with the sandbox that it is aimed at; nothing is asked for yet.

    Args:
        spec: How the rows of the job are sent.
        target: Made from the spec's.
        sandbox_token: Of a rehearsal: the job's own token is neither read nor needed then.

    Raises:
        CredentialError: The token cannot be had.
        UsageError: Another job shares its rate with another limit.
        StorageError: The rate cannot be shared.
    """
    credential = (
        Credential.of_sandbox(sandbox_token, target.login)
        if sandbox_token
        else Credential(spec.token, spec.folder, target.login)
    )
    with ExitStack() as stack:
        share = None if sandbox_token else stack.enter_context(_sharing(spec, credential))
        async with _open_client(spec, target, credential, share) as http:
            yield ApiSession(target, http, credential=credential, retry=spec.retry, concurrency=spec.concurrency)


@contextmanager
def _sharing(spec: SendSpec, credential: Credential) -> Iterator[FileRate | None]:
    """Share the rate as the job says, and say who uses the same token without sharing. Not in a rehearsal."""
    share = FileRate(spec.share) if spec.share is not None else None
    try:
        name = spec.share.name if spec.share is not None else None
        with credential.noted(urlsplit(spec.base_url).netloc, job=spec.job, share=name) as others:
            for other in others:
                hint = "together they may exceed the API's limit; give both jobs one limits.share"
                log.warning("token_in_use", other_job=other.job, process=other.pid, hint=hint)
            yield share
    finally:
        if share is not None:
            share.close()


def _open_client(spec: SendSpec, target: Target, credential: Credential, share: FileRate | None) -> "HttpClient":
    from bulk_patch.client.http import HttpClient  # here, so that a plan that asks no API does without aiohttp

    limiter = RateLimiter(
        spec.rate_per_s,
        longest_delay_s=spec.retry.longest_delay_s,
        give_up_after_s=spec.retry.give_up_after_s,
        streaks=target.streaks,
    )
    if share is not None:
        limiter.share_with(share)
    return HttpClient(
        spec.base_url,
        credential=credential,
        limiter=limiter,
        timeout_s=spec.timeout_s,
        proxy=with_login(spec.proxy, spec.proxy_auth, spec.folder),
        ca_file=spec.ca_file,
    )

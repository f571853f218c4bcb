"""The simulated API behind the seam of HttpClient: the sandbox's rules, keys and log, on virtual time.

There are no sockets.
"""

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from bulk_patch.client.credential import Credential
from bulk_patch.client.http import HttpClient
from bulk_patch.client.permits import Permit
from bulk_patch.client.rate_limiter import CONNECT_LATE_S, RateLimiter
from bulk_patch.client.transport import BODY_CAP
from bulk_patch.model import FailureKind, NetworkFailure, Reply, Request
from bulk_patch.sandbox import Fault, Sandbox, Seen
from bulk_patch.sandbox.api import Call, Served, read_path
from bulk_patch.sandbox.problems import Answer, problem
from tests.chaos.universe import Killed, Universe
from tests.chaos.weather import NEVER_LEFT, Trip, Weather

Tell = Callable[[Reply | NetworkFailure], None]
_BASE = "/v0"


class SimulatedApi(Sandbox):
    """A sandbox that is called in place of being connected to; it lives on while clients die.

    Args:
        universe: Gives time, and lets it work later.
        customers: Of its world.
        token: The bearer token asked for.
        options: Those of `Sandbox`.
    """

    def __init__(self, universe: Universe, customers: Iterable[dict[str, Any]], *, token: str, **options: Any) -> None:
        super().__init__(customers, token=token, clock=universe.true_time, **options)
        self._universe = universe
        self.crossed: set[str] = set()  # customers of requests that came when another process was there

    def take(self, request: Request, token: str, trip: Trip, tell: Tell) -> None:
        """Let a request arrive now; the answer leaves when it is ready, if it is ever.

        Args:
            request: As it was sent.
            token: Of its Authorization header.
            trip: How it fares.
            tell: Gets the answer, whether or not anybody still waits for it.
        """
        universe, fault = self._universe, trip.fault
        call = self._call_of(request, token)
        wait_s = 0.0 if self._limiter is None else self._limiter.admit(universe.now_s)
        universe.tell("arrived", call.n, request.method, call.customer_id, _key_of(request), trip.name)

        def send(answer: Answer | None) -> None:
            seen = _as_seen(answer, fault, universe.true_time())
            if seen is not None:
                universe.after(trip.back_s + (fault.lag_s if fault else 0.0), lambda: tell(seen))

        if fault is not None and not fault.execute:
            self._record(call, None, fault)
            send(None)
        elif wait_s > 0:
            limited = problem("TOO_MANY_REQUESTS", "slow down", retry_after=math.ceil(wait_s))
            self._record(call, Served(limited, is_new=False), fault)
            send(limited)
        else:
            self._begin_work(call, trip, send)

    def _begin_work(self, call: Call, trip: Trip, send: Callable[[Answer], None]) -> None:
        holding = ExitStack()
        refusal = holding.enter_context(self._api.hold_key(call))

        def work() -> None:
            outcome = refusal or self._api.respond(call)
            self._record(call, outcome, trip.fault)
            holding.close()
            self._universe.tell("worked", call.n, outcome.answer.status, outcome.executed, outcome.replayed)
            send(outcome.answer)

        delay_s = trip.work_s + (trip.fault.delay_s if trip.fault else 0.0)
        self._universe.after(0.0 if refusal is not None else delay_s, work)

    def _call_of(self, request: Request, token: str) -> Call:
        path, _, query = f"{_BASE}{request.path}".partition("?")
        resource, customer_id = read_path(path)
        body = request.body or b""
        return Call(
            n=self._world.next_number(),
            t=self._now(),
            method=request.method,
            path=path,
            query=dict(parse_qsl(query)),
            key=_key_of(request),
            token=token,
            media_type="application/json",
            body=body,
            body_sha256=hashlib.sha256(body).hexdigest(),
            resource=resource,
            customer_id=customer_id,
        )


def _key_of(request: Request) -> str | None:
    return request.headers.get("Idempotency-Key")


def _as_seen(true: Answer | None, fault: Fault | None, now: float) -> Reply | NetworkFailure | None:
    """Return what a client gets to see of an answer; None: nothing, ever."""
    if fault is None:
        assert true is not None  # nothing kept it from the API
        return _reply(true, now)
    if fault.wire == "hang":
        return None
    if fault.wire in ("reset", "close"):
        return NetworkFailure(FailureKind.RESET)
    if fault.raw is not None:
        return NetworkFailure(FailureKind.RESET if fault.raw.startswith(b"HTTP") else FailureKind.PROTOCOL)
    answer = fault.answer(true)
    cut = fault.wire in ("truncate", "drip")
    return _reply(answer, now, headers=fault.headers, size=len(answer.body) // 2 if cut else BODY_CAP)


def _reply(answer: Answer, now: float, *, headers: Mapping[str, str] | None = None, size: int = BODY_CAP) -> Reply:
    names = {"Date": formatdate(now, usegmt=True), "Content-Type": answer.content_type, **(headers or {})}
    body = answer.body[:size]
    return Reply(answer.status, {name.lower(): text for name, text in names.items()}, body, body == answer.body)


def _tells_nothing(request: Request, reply: Reply | NetworkFailure) -> bool:
    """Tell whether a client knows no more than before: a PATCH may have been carried out, a read showed nothing."""
    is_read = _key_of(request) is None
    if isinstance(reply, NetworkFailure):
        return is_read or reply.lost not in NEVER_LEFT
    return is_read and not (reply.status == 200 and reply.whole)


class SimulatedHttp(HttpClient):
    """The product's end: sends into the universe what the real one sends through a socket.

    Args:
        universe: Where requests travel.
        api: Where they arrive.
        weather: How they fare.
        credential: The bearer token.
        limiter: Of the run.
        timeout_s: For a whole exchange.
    """

    def __init__(
        self,
        universe: Universe,
        api: SimulatedApi,
        weather: Weather,
        *,
        credential: Credential,
        limiter: RateLimiter,
        timeout_s: float,
    ) -> None:
        self._universe, self._api, self._weather = universe, api, weather
        self._credential = credential
        self._timeout_s = timeout_s
        self._sent = 0
        self._under_way = 0
        self.limiter = limiter
        self.sent_at: list[float] = []
        self.pauses: list[tuple[float, float]] = []  # an answer that asked to wait: when it came, until when
        self.unheard: set[str] = set()  # customers of requests whose answers told the client nothing
        self.most_under_way = 0

    async def send(
        self, request: Request, permit: Permit, *, fresh: bool = False
    ) -> tuple[Reply | NetworkFailure, int]:
        """Send one request now; see `HttpClient`."""
        universe = self._universe
        if universe.is_dead:
            raise Killed
        header, version = self._credential.header_lines(), self._credential.version
        begun = universe.now_s
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                reply = await self._exchange(
                    request, permit, header.removeprefix("Authorization: Bearer ").rstrip(), deadline
                )
        except TimeoutError:
            reply = NetworkFailure(FailureKind.TIMEOUT)
        finally:
            self._under_way -= 1
        elapsed_s = universe.now_s - begun
        universe.tell(
            "answered",
            _key_of(request),
            reply.status if isinstance(reply, Reply) else reply.lost.value,
        )
        if _tells_nothing(request, reply):
            self.unheard.add(read_path(_BASE + request.path)[1] or "")
        if isinstance(reply, Reply):
            self._note_pause(reply)
            return Reply(reply.status, reply.headers, reply.body, reply.whole, elapsed_s), version
        return NetworkFailure(reply.lost, elapsed_s), version

    async def _exchange(
        self, request: Request, permit: Permit, token: str, deadline: asyncio.Timeout
    ) -> Reply | NetworkFailure:
        universe = self._universe
        self._sent += 1
        path = f"{_BASE}{request.path}"
        customer_id = read_path(path.partition("?")[0])[1]
        seen = Seen(
            self._sent,
            request.method,
            path,
            _key_of(request),
            customer_id,
            request.body or b"",
            1,
        )
        trip = self._weather.trip(request, seen)
        if trip.connect_s:
            begun = universe.now_s
            await asyncio.sleep(trip.connect_s)
            if trip.lost is not None:
                return NetworkFailure(trip.lost)
            if universe.now_s - begun > CONNECT_LATE_S:
                deadline.reschedule(None)
                await self.limiter.retake(permit)
                deadline.reschedule(universe.now_s + self._timeout_s - trip.connect_s)
        if universe.is_dead:
            raise Killed
        self.sent_at.append(universe.now_s)
        universe.tell("sent", request.method, customer_id, _key_of(request), trip.name)
        answer: asyncio.Future[Reply | NetworkFailure] = asyncio.get_running_loop().create_future()

        def tell(reply: Reply | NetworkFailure) -> None:
            if not answer.done():
                answer.set_result(reply)

        pid = universe.pid

        def arrive() -> None:
            if universe.pid != pid and customer_id is not None:
                self._api.crossed.add(customer_id)
            self._api.take(request, token, trip, tell)

        universe.after(trip.there_s, arrive)
        if trip.again_s is not None:
            universe.after(trip.there_s + trip.again_s, arrive)
        return await answer

    def _note_pause(self, reply: Reply) -> None:
        if reply.status == 429 and reply.headers.get("retry-after", "").isdigit():
            now_s = self._universe.now_s
            self.pauses.append((now_s, now_s + float(reply.headers["retry-after"])))

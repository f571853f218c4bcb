"""The sandbox as a server: HTTP in front of the API, with its limiter, latency, faults and request log."""

import asyncio
import hashlib
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from .api import DEFAULT_TOKEN, Api, Call, Served, edited, newcomer, read_path
from .exchange import respond, spoil
from .faults import Fault, Hook, Seen, is_kept
from .fields import Document
from .problems import Answer, problem
from .world import KeptAnswer, SandboxError, World

_HOST = "127.0.0.1"
_LONGEST_STOP_S = 1.0
_OWN_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Sandbox:
    """A lifelike local Synctera API.

    Use it as an async context manager on a running loop, or as a plain one, which runs it in a thread of its
    own::

        async with Sandbox([{"id": customer_id, "first_name": "Ann"}]) as sandbox:
            await session.patch(f"{sandbox.base_url}/customers/{customer_id}", ...)
        assert sandbox.customer(customer_id)["first_name"] == "Anne"
    """

    def __init__(
        self,
        customers: Iterable[Document] | None = None,
        *,
        token: str = DEFAULT_TOKEN,
        port: int = 0,
        rate_per_s: int | None = None,
        latency_ms: float = 0.0,
        fault: Hook | None = None,
        state: Path | None = None,
        log: Path | None = None,
        clock: Callable[[], float] = time.time,
        clears: bool = True,
        merges: bool = False,
        concurrent_status: int = 422,
        kyc_rerun: Callable[[str], str] | None = None,
        wait_s: float = 0.0,
    ) -> None:
        """Open the world, and take the customers in if it is new.

        Args:
            customers: Customers of a new world, each with an ``id``; not read when the world was kept.
            token: The bearer token asked for.
            port: Port to listen on; 0 picks a free one.
            rate_per_s: Requests let through in any second; the next get 429. None: no limit.
            latency_ms: Milliseconds that each request let through takes.
            fault: Asked for each request what should go wrong with it; see `Fault` and `random_faults`.
            state: Folder the world is kept in; None: in memory.
            log: File that gets one JSON line a request, before its reply.
            clock: Returns unix seconds; keys age and updates are dated by it.
            clears: Whether ``""`` clears a text field; the real API does not say. False: it is ignored.
            merges: Whether an object in a PATCH is merged into the stored one, in place of replacing it.
            concurrent_status: Status of IDEMPOTENCY_CONCURRENT_USE: 422 by the code list, 409 by the guide.
            kyc_rerun: The program's automatic KYC: given the id of a customer whose personal data a PATCH
                names, returns the new ``kyc_status``.
            wait_s: Seconds to wait for another process to let go of ``state``.

        Raises:
            SandboxError: The world cannot be opened, or the customers cannot be taken in.
        """
        self._clock, self._advanced_s = clock, 0.0
        self._port = port
        self._latency_s = latency_ms / 1000
        self._fault = fault
        self._limiter = None if rate_per_s is None else _Limiter(rate_per_s)
        self._attempts: Counter[str] = Counter()
        self._closing = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self._thread: _ServerThread | None = None
        self._world = World(state, log=log, wait_s=wait_s)
        self._api = Api(
            self._world,
            token=token,
            clears=clears,
            merges=merges,
            concurrent_status=concurrent_status,
            kyc_rerun=kyc_rerun,
        )
        try:
            if customers is not None and not self._world.is_seeded:
                now = self._now()
                self._world.seed(newcomer(customer, unix_s=now) for customer in customers)
        except BaseException:
            self._world.close()
            raise

    async def __aenter__(self) -> Self:
        """Start to serve on the running loop."""
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_LONGEST_STOP_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _HOST, self._port, backlog=1024).start()
        except OSError as error:
            await self.__aexit__()
            raise SandboxError(f"the sandbox cannot listen on port {self._port}: {error.strerror}") from error
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop to serve, and let go of the state folder; a world in memory can still be read."""
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
        self._world.close()

    def __enter__(self) -> Self:
        """Start to serve in a thread of its own."""
        self._thread = _ServerThread(self)
        self._thread.start_serving()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the thread, and let go of the state folder; a world in memory can still be read."""
        if self._thread is not None:
            self._thread.stop_serving()

    @property
    def base_url(self) -> str:
        """Return the address that paths like ``/customers`` are added to."""
        return f"http://{_HOST}:{self._port}/v0"

    @property
    def token(self) -> str:
        """Return the bearer token asked for; set it to rotate it."""
        return self._api.token

    @token.setter
    def token(self, token: str) -> None:
        self._api.token = token

    @property
    def requests(self) -> list[Document]:
        """Return the request log, oldest first."""
        return self._world.entries()

    def customer(self, customer_id: str) -> Document:
        """Return a customer as stored: the whole SSN, the list of ``notes``, addresses without ids."""
        customer = self._world.find(customer_id.lower())
        if customer is None:
            raise KeyError(customer_id)
        return customer

    def edit(self, customer_id: str, **fields: Any) -> None:
        """Change a customer the way another user of the API would; None removes a field."""
        with self._world.alone():
            self._world.replace(edited(self.customer(customer_id), fields, unix_s=self._now()))

    def advance(self, *, days: float = 0.0, hours: float = 0.0, seconds: float = 0.0) -> None:
        """Let time pass for keys and updates."""
        self._advanced_s += (days * 24 + hours) * 3600 + seconds

    def _now(self) -> float:
        return self._clock() + self._advanced_s

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if _name_of(request.headers.get("Host", "")) not in _OWN_NAMES:  # a page in a browser, by DNS rebinding
            return respond(problem("MISDIRECTED_REQUEST", "This server is for programs on this machine."))
        try:
            call = await self._receive(request)
        except (web.RequestPayloadError, ConnectionError):
            return web.Response()  # the client left in mid-sentence: there is nobody to hear, and nothing to log
        fault = self._pick_fault(call)
        wait_s = 0.0 if self._limiter is None else self._limiter.admit(time.monotonic())
        if fault is None:
            return respond(await self._carry_out(call, wait_s, None))
        true = None
        if fault.execute:
            true = await self._carry_out(call, wait_s, fault)
        else:
            await asyncio.sleep(fault.delay_s)
            self._record(call, None, fault)
        await asyncio.sleep(fault.lag_s)
        return await spoil(request, fault, fault.answer(true), closing=self._closing)

    async def _receive(self, request: web.BaseRequest) -> Call:
        body = await request.read()
        path = request.raw_path.partition("?")[0]
        resource, customer_id = read_path(path)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return Call(
            n=self._world.next_number(),
            t=self._now(),
            method=request.method,
            path=path,
            query=request.query if request.query_string else {},
            key=request.headers.get("Idempotency-Key") or None,
            token=token.strip() if scheme.lower() == "bearer" else None,
            media_type=request.content_type,
            body=body,
            body_sha256=hashlib.sha256(body).hexdigest(),
            resource=resource,
            customer_id=customer_id,
        )

    def _pick_fault(self, call: Call) -> Fault | None:
        if self._fault is None:
            return None
        attempt = 1
        if call.key is not None:
            self._attempts[call.key] += 1
            attempt = self._attempts[call.key]
        return self._fault(Seen(call.n, call.method, call.path, call.key, call.customer_id, call.body, attempt))

    async def _carry_out(self, call: Call, wait_s: float, fault: Fault | None) -> Answer:
        """Let the limiter and the API answer, and record what they did, before anything is sent."""
        if wait_s > 0:
            limited = problem("TOO_MANY_REQUESTS", "slow down", retry_after=math.ceil(wait_s))
            self._record(call, Served(limited, is_new=False), fault)
            return limited
        with self._api.hold_key(call) as refusal:
            delay_s = self._latency_s + (fault.delay_s if fault else 0.0)
            if delay_s > 0 and refusal is None:
                await asyncio.sleep(delay_s)
            with self._world.alone():
                outcome = refusal or self._api.respond(call)
                self._record(call, outcome, fault)
        return outcome.answer

    def _record(self, call: Call, outcome: Served | None, fault: Fault | None) -> None:
        """Store and log what a call did; without an outcome, a fault kept it from the API."""
        answer = self._answer_to_keep(call, outcome, fault)
        self._world.commit(
            _log_entry(call, outcome, fault),
            customer=outcome.customer if outcome else None,
            kept=KeptAnswer(call.key, call.request, answer, call.t) if answer and call.key else None,
        )

    def _answer_to_keep(self, call: Call, outcome: Served | None, fault: Fault | None) -> Answer | None:
        if call.write_key is None:
            return None
        if outcome is None:
            # A fault in front of the API must not replace what the API already has under the key.
            return fault.kept(None) if fault and self._api.kept_answer(call) is None else None
        if not outcome.is_new:
            return None
        true = outcome.answer if is_kept(outcome.answer.status) else None
        return fault.kept(true) if fault else true


def _log_entry(call: Call, outcome: Served | None, fault: Fault | None) -> Document:
    """Describe a request for the log. Query and body stay out, and with them every customer's value."""
    true = outcome.answer if outcome else None
    ids = call.ids
    return {
        "n": call.n,
        "t": call.t,
        "method": call.method,
        "path": call.path,
        "customer_id": call.customer_id,
        "ids": None if ids is None else len(ids),
        "key": call.key,
        "body_sha256": call.body_sha256,
        "status": fault.wire_status(true) if fault else true and true.status,
        "executed": outcome is not None and outcome.executed,
        "replayed": outcome is not None and outcome.replayed,
        "fault": fault.label if fault else None,
    }


class _Limiter:
    """Let through at most a number of requests in any window of one second."""

    def __init__(self, rate_per_s: int) -> None:
        self._rate_per_s = rate_per_s
        self._admitted: deque[float] = deque()

    def admit(self, now_s: float) -> float:
        """Let a request through and return 0, or return the seconds until the next may pass."""
        while self._admitted and self._admitted[0] <= now_s - 1:
            self._admitted.popleft()
        if len(self._admitted) < self._rate_per_s:
            self._admitted.append(now_s)
            return 0.0
        return self._admitted[0] + 1 - now_s


class _ServerThread:
    """Run a sandbox on a loop and a thread of its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start_serving(self) -> None:
        """Return when the sandbox listens, or raise what kept it from that."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop_serving(self) -> None:
        """Return when the thread has ended."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._sandbox:
            self._ready.set()
            await self._stop.wait()


def _name_of(host: str) -> str:
    """Return the name in a Host header, without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()

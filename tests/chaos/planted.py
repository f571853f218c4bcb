"""Planted bugs in what is said and sent: keys, bodies, verdicts, the rate. See `planted_books` for the rest."""

import asyncio
import json
import math
import ssl
import time
import uuid
from dataclasses import replace
from typing import Any

from yarl import URL

from bulk_patch.client import session as sessions
from bulk_patch.client.attempts import Exchange
from bulk_patch.client.http import HttpClient
from bulk_patch.client.permits import Permit
from bulk_patch.client.rate_limiter import RateLimiter
from bulk_patch.client.session import ApiSession
from bulk_patch.engines.local import LocalEngine
from bulk_patch.model import Action, FailureKind, History, Meaning, NetworkFailure, Patch, Reply, Request, Verdict, Wait
from bulk_patch.sending.sender import RowAttempt
from bulk_patch.targets import KeyRetention, answers
from bulk_patch.targets.synctera.target import Synctera
from tests.chaos.mutant import Mutants, around, change_rule, change_verdicts

planted = Mutants()

#: A run that nothing ends, with one row for each sort of fault.
WHOLE = "crash-points/plain/kill/999999"
_WHOLES = (WHOLE, "crash-points/canary/kill/999999", "crash-points/checked/kill/999999")


# --- keys


def _change_key_on(*kinds: str) -> None:
    def change(verdict: Verdict, patch: Patch, reply: Any) -> Verdict:
        if verdict.meaning is None or verdict.meaning.value not in kinds:
            return verdict
        return replace(verdict, act=Action.NEW_KEY, ambiguous=False, wait=Wait.NONE, stop=None)

    change_verdicts(change)
    sessions._has_to_come_again = lambda *_: False  # else the second look makes up for it


@planted("a random key for each attempt", WHOLE)
def _() -> None:
    around(
        Synctera, "request", lambda request: lambda self, patch: replace(request(self, patch), headers=_random_key())
    )


def _random_key() -> dict[str, str]:
    return {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}


@planted("a new key after a timeout", "faults/no answer: never after/once/middle/1")
def _() -> None:
    def change(verdict: Verdict, patch: Patch, reply: Any) -> Verdict:
        if isinstance(reply, NetworkFailure) and reply.lost is FailureKind.TIMEOUT:
            return replace(verdict, act=Action.NEW_KEY, ambiguous=False)
        return verdict

    change_verdicts(change)


@planted("a new key while the old one is still worked on", "faults/processing: 409 own/once/first/1")
def _() -> None:
    _change_key_on("still processing")


@planted("a 429 changes the key", "faults/throttled: 429 after/once/last/1")
def _() -> None:
    _change_key_on("throttled")


@planted("a new key when the old one was used for something else", "faults/reused: 422 own/once/middle/8")
def _() -> None:
    _change_key_on("key reused")


@planted("a key of more than six days is used again", *(f"crash-points/plain/later/{n}" for n in range(40, 400, 12)))
def _() -> None:
    Synctera.keys = KeyRetention(safe_age_s=math.inf)


# --- bodies


@planted("the body is encoded again for a second attempt", WHOLE)
def _() -> None:
    def make(exchange: Any) -> Any:
        def changed(self: ApiSession, attempts: Exchange, **options: Any) -> Any:
            if isinstance(attempts, RowAttempt) and attempts.tried:
                body = json.dumps(json.loads(attempts.patch.body)).encode()
                attempts.request = replace(attempts.request, body=body)
            return exchange(self, attempts, **options)

        return changed

    around(ApiSession, "_exchange", make)


@planted("the body is not the one of the sealed plan", WHOLE)
def _() -> None:
    def changed(self: Synctera, patch: Patch) -> Request:
        body = {**json.loads(patch.body), "status": "ACTIVE"}
        headers = {"Content-Type": "application/json", "Idempotency-Key": patch.key}
        return Request("PATCH", f"/customers/{patch.customer_id}", json.dumps(body).encode(), headers)

    around(Synctera, "request", lambda _: changed)


# --- verdicts


@planted("any 2xx is taken for applied", "faults/unconfirmed: 202/once/middle/1")
def _() -> None:
    change_rule("unconfirmed", act=Action.APPLIED, doubt=False, again=0)


@planted("a 200 that cannot be read is taken for applied", "faults/unreadable: page/once/first/8")
def _() -> None:
    change_rule("unreadable answer", act=Action.APPLIED, doubt=False, again=0)


@planted("a 4xx after an ambiguous attempt is taken for a refusal", "golden")
def _() -> None:
    def make(judge: Any) -> Any:
        return lambda self, patch, reply, history: judge(self, patch, reply, replace(history, ambiguous=False))

    around(Synctera, "judge", make)


@planted("a 5xx proves that nothing was carried out", "golden")
def _() -> None:
    change_rule("server error", doubt=False)


@planted("a 5xx is taken for a refusal", "faults/failing: 500 own after/once/first/1")
def _() -> None:
    change_rule("server error", act=Action.REJECTED, doubt=False)


@planted("a foreign page with 4xx is taken for the API's refusal", "faults/foreign: 404 empty after/once/first/1")
def _() -> None:
    change_rule("not the API's word", act=Action.REJECTED, doubt=False, wait=Wait.NONE, streak=False)


@planted("the 401 of an expired token is taken for a refusal", "faults/unauthenticated: 401 own/once/middle/1")
def _() -> None:
    change_rule("unauthenticated", act=Action.REJECTED)


@planted("the new token is not probed", "faults/unauthenticated: 401 own/once/middle/1")
def _() -> None:
    async def renew(self: ApiSession, probe: Request) -> None:
        self._credential.renew()

    around(ApiSession, "_try_new_credential", lambda _: renew)


@planted("another customer's answer is taken", "faults/wrong customer: before/once/middle/1")
def _() -> None:
    change_rule("wrong record", act=Action.APPLIED, doubt=False, exit_code=None)


@planted("another value in the answer is not read back", "faults/differs: before/once/first/1")
def _() -> None:
    change_rule("differs", act=Action.APPLIED)


@planted("a redirect is followed", "faults/redirected: 307/once/middle/1")
def _() -> None:
    def make(send: Any) -> Any:
        async def changed(self: HttpClient, request: Request, permit: Permit) -> Any:
            reply, version = await send(self, request, permit)
            if isinstance(reply, Reply) and "location" in reply.headers:
                path = URL(reply.headers["location"]).path.removeprefix(self._base_path)
                return await send(self, replace(request, path=path), permit)
            return reply, version

        return changed

    around(HttpClient, "send", make)


@planted("a refused connection leaves doubt", "connections/refused connection/none/8/0")
def _() -> None:
    change_rule("unreachable", doubt=True)


@planted("certificates are not checked", "connections/bad certificate, unknown authority/none/1/0")
def _() -> None:
    def make(init: Any) -> Any:
        def changed(self: HttpClient, *args: Any, **options: Any) -> None:
            init(self, *args, **options)
            tls = vars(self._transport)["_address"].tls
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE

        return changed

    around(HttpClient, "__init__", make)


# --- rate, pauses, concurrency


@planted("a retry passes by the limiter", *_WHOLES)
def _() -> None:
    def make(exchange: Any) -> Any:
        async def changed(self: ApiSession, attempts: Exchange, **options: Any) -> Any:
            if not (isinstance(attempts, RowAttempt) and attempts.tried):
                return await exchange(self, attempts, **options)
            permit = Permit(time.monotonic())
            reply, version = await self.http.send(attempts.request, permit)
            return reply, permit, version

        return changed

    around(ApiSession, "_exchange", make)


@planted("the limiter is full at the start", WHOLE)
def _() -> None:
    def make(init: Any) -> Any:
        def changed(self: RateLimiter, *args: Any, **options: Any) -> None:
            init(self, *args, **options)
            self._next_at = self._clock() - 1.0

        return changed

    def reserve(self: RateLimiter, now: float) -> None:
        self._next_at = max(self._next_at, now - 1.0) + 1 / self.rate_per_s  # a bucket of one second

    around(RateLimiter, "__init__", make)
    around(RateLimiter, "_reserve", lambda _: reserve)


@planted("a pause does not hold for all requests", WHOLE)
def _() -> None:
    def make(wait: Any) -> Any:
        async def changed(self: ApiSession, verdict: Verdict, times: int) -> None:
            if verdict.meaning is Meaning.THROTTLED:
                await asyncio.sleep(verdict.pause_s or 0.0)
            await wait(self, verdict, times)

        return changed

    around(ApiSession, "_wait", make)
    around(RateLimiter, "pause", lambda _: lambda self, seconds, reason: None)


@planted("a Retry-After that is a date is ignored", "faults/throttled: 429 date pause=1/once/middle/1")
def _() -> None:
    answers.http_date = lambda text: None


@planted("one more is under way than the job allows", *_WHOLES)
def _() -> None:
    def make(init: Any) -> Any:
        return lambda self, *args, concurrency, **options: init(self, *args, concurrency=concurrency + 1, **options)

    around(LocalEngine, "__init__", make)
    around(ApiSession, "__init__", make)


@planted("reads do not count among what is under way", "simulation/2", "simulation/8")
def _() -> None:
    def make(exchange: Any) -> Any:
        async def changed(self: ApiSession, attempts: Exchange, **options: Any) -> Any:
            if isinstance(attempts, RowAttempt):
                return await exchange(self, attempts, **options)
            self.slots.release()
            try:
                return await exchange(self, attempts, **options)
            finally:
                await self.slots.acquire()

        return changed

    around(ApiSession, "_exchange", make)


@planted("a row is given up as unknown when it could be tried again", "faults/failing: 500 own/once/middle/8")
def _() -> None:
    def make(judge: Any) -> Any:
        def changed(self: Synctera, patch: Patch, reply: Reply, history: History) -> Verdict:
            verdict: Verdict = judge(self, patch, reply, history)
            return replace(verdict, act=Action.LOOK) if verdict.meaning is Meaning.SERVER_ERROR else verdict

        return changed

    around(Synctera, "judge", make)

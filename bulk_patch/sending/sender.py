"""One row to one outcome: attempts, the key law's decisions carried out, evidence read where an answer proves nothing.

What an answer means is decided in the target, when the next request may go in `limiter`; here is only the loop between
them. Each attempt passes the limiter, then the wire: retry(pace(http)).
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from bulk_patch.client.rate_limiter import LimiterClosed
from bulk_patch.client.session import ApiSession, RunHalted, Unreadable
from bulk_patch.errors import Exit
from bulk_patch.model import (
    NEVER_LEFT,
    Action,
    History,
    NetworkFailure,
    Outcome,
    Patch,
    Precheck,
    Reply,
    Request,
    State,
    Stop,
    Verdict,
)
from bulk_patch.targets import Record

QUIET_S = 300.0  # after which no earlier attempt can still be under way, to the API or in it
_ENDS = {Action.APPLIED: State.APPLIED, Action.REJECTED: State.REJECTED, Action.MISMATCH: State.MISMATCH}


@dataclass(slots=True)
class RowAttempt:
    """What happened to one row since it was handed out."""

    patch: Patch
    ambiguous: bool
    attempts: int = 0  # PATCHes that may have left
    tried: int = 0  # of the row's budget
    renewed: bool = False
    out: bool = False  # a request is under way
    seen: dict[str, int] = field(default_factory=dict)  # answers by kind
    last: Verdict | None = None
    answered: Verdict | None = None  # the last that was an answer
    elapsed_s: list[float] = field(default_factory=list)
    watched: dict[str, str] = field(default_factory=dict)

    def see(self, record: Record | None, names: Iterable[str]) -> None:
        """Remember the watched fields of an answer."""
        if record is not None:
            self.watched = {name: str(record[name]) for name in names if name in record}

    def note(self, reply: Reply | NetworkFailure, verdict: Verdict) -> None:
        """Remember one answer."""
        self.seen[verdict.kind] = self.seen.get(verdict.kind, 0) + 1
        self.tried += not verdict.free
        self.ambiguous = self.ambiguous or verdict.ambiguous
        self.last = verdict
        if isinstance(reply, Reply):
            self.answered = verdict
            self.elapsed_s.append(reply.elapsed_s)
        if not (isinstance(reply, NetworkFailure) and reply.lost in NEVER_LEFT):
            self.attempts += 1

    def ends(
        self,
        state: State,
        reason: str,
        stop: Stop | None = None,
        *,
        fields: tuple[str, ...] = (),
        spent: bool = False,
        final: bool = False,
        new_generation: bool = False,
    ) -> Outcome:
        """Make the outcome."""
        last, answered = self.last, self.answered
        return Outcome(
            row=self.patch.row,
            state=state,
            reason=reason,
            fields=fields or (last.api_fields if last is not None else ()),
            attempts=self.attempts,
            ambiguous=self.ambiguous and state in (State.UNKNOWN, State.PENDING) and not new_generation,
            spent=spent,
            final=final,
            new_generation=new_generation,
            http_status=answered.status if answered is not None else None,
            api_code=answered.api_code if answered is not None else "",
            stop=stop,
            watched=self.watched,
            elapsed_s=tuple(self.elapsed_s),
        )

    def stays_open(self, reason: str, stop: Stop | None = None, *, spent: bool = False) -> Outcome:
        """Leave the row for later: `unknown` unless every attempt is proven not executed."""
        self.ambiguous = self.ambiguous or self.out
        self.attempts += self.out
        return self.ends(State.UNKNOWN if self.ambiguous else State.PENDING, reason, stop, spent=spent)


class Sender:
    """Sends rows, many at once; every row comes back as exactly one outcome.

    Args:
        session: What all requests of the process share.
        watch: Names of fields whose values the outcome of an applied row tells, for a guard.
    """

    def __init__(self, session: ApiSession, *, watch: Collection[str] = ()) -> None:
        self._session = session
        self._watch = watch
        self._target = session.target
        self._rekeyed: set[int] = set()

    async def send(self, patch: Patch) -> Outcome:
        """Bring one row as far as it goes now.

        Never raises for anything a server or network can do. When cancelled, it still returns what is known: the
        outcome of a row must not be lost to a cancel.
        """
        story = RowAttempt(patch, patch.ambiguous)
        try:
            if patch.first is not Precheck.SEND:
                outcome = await self._look_first(story)
                if outcome is not None:
                    return outcome
            return await self._attempts(story)
        except LimiterClosed:
            return story.stays_open("stopped before an answer that proves anything")
        except RunHalted as halt:
            return story.stays_open(halt.stop.reason, halt.stop)
        except asyncio.CancelledError:
            return story.stays_open("cut off while it was out")

    async def _attempts(self, story: RowAttempt) -> Outcome:
        session, patch = self._session, story.patch
        request = self._target.request(patch)
        while story.tried < session.retry.attempts:
            reply, permitted_at, version = await self._exchange(story, request)
            verdict = self._target.judge(patch, reply, History(story.ambiguous, story.seen.copy(), story.renewed))
            times = story.seen.get(verdict.kind, 0)
            story.note(reply, verdict)
            session.tell_pace(verdict, patch.row, permitted_at)
            # A refusal that the API kept since an earlier session says nothing about the token or the address of today.
            is_news = not (patch.ambiguous and verdict.cached)
            stop = verdict.stop or (session.streak(verdict, canary=patch.canary) if is_news else None)
            if verdict.act in _ENDS:
                if self._watch and isinstance(reply, Reply):
                    story.see(self._target.record(reply, patch.customer_id), self._watch)
                return story.ends(_ENDS[verdict.act], verdict.reason, stop)
            if verdict.stop is None and verdict.act in (Action.CONFIRM, Action.LOOK, Action.SETTLE):
                # Also when a streak stops the run: the API repeats a cached refusal, and left open it would for ever.
                return replace(await self._read_back(story, verdict), stop=stop)
            if stop is not None:
                return story.stays_open(stop.reason, stop)
            if verdict.act is Action.NEW_KEY:
                return self._new_key(story, verdict)
            if verdict.act is Action.RENEW:
                await session.renew(version, self._target.read_one(patch.customer_id))
                story.renewed = True
            elif story.tried < session.retry.attempts:
                await session.wait(verdict, times)
        last = story.last.reason if story.last is not None else "none"
        return story.stays_open(f"{story.tried} attempts proved nothing; the last answer: {last}", spent=True)

    async def _exchange(self, story: RowAttempt, request: Request) -> tuple[Reply | NetworkFailure, float, int]:
        session = self._session
        async with session.slots:
            permitted_at = await session.limiter.permit()
            story.out = True
            try:
                reply, version = await session.http.send(request)
            except asyncio.CancelledError:
                session.limiter.passed(permitted_at)
                raise
            except LimiterClosed:  # it still waited for its connection: nothing has left
                session.limiter.passed(permitted_at)
                story.out = False
                raise
            story.out = False
        if isinstance(reply, Reply):
            session.on_answer(reply.status, reply.elapsed_s)
        else:
            session.on_answer(0, None)
        return reply, permitted_at, version

    def _new_key(self, story: RowAttempt, verdict: Verdict) -> Outcome:
        """Leave with a new generation, once: a fresh key that is refused again was not answered from a cache."""
        row = story.patch.row
        if row in self._rekeyed:
            reason = "the API refuses the PATCH (HTTP 401) though it accepts the token for reading"
            return story.stays_open(reason, Stop(Exit.CREDENTIAL, reason, "check what the token may do"))
        self._rekeyed.add(row)
        return story.ends(State.PENDING, verdict.reason, new_generation=True)

    async def _read_back(self, story: RowAttempt, verdict: Verdict) -> Outcome:
        """Let a read decide what the answer could not."""
        patch = story.patch
        story.ambiguous = True  # it may have executed: a read that is cut off leaves the row unknown
        try:
            read = await self._session.read_one(patch.customer_id)
        except (Unreadable, LimiterClosed) as failure:
            if verdict.kind == "confirmed":  # the API said so itself; only the second look failed
                return story.ends(State.APPLIED, "confirmed by the answer; the read-back failed")
            if isinstance(failure, LimiterClosed):
                raise
            reason = f"{verdict.reason}, and it could not be read: {failure.verdict.reason}"
            return self._undecided(story, reason)
        story.see(read.record, self._watch)
        weigh = self._target.evidence.weigh
        found = weigh(patch, read.record, verdict.act, cached=verdict.cached, skew_s=read.skew_s)
        if found.act is Action.REJECTED:
            return story.ends(State.REJECTED, verdict.reason)
        if found.act in _ENDS:
            return story.ends(_ENDS[found.act], found.reason, fields=found.api_fields)
        return self._undecided(story, f"{verdict.reason}; {found.reason}", found.api_fields)

    async def _look_first(self, story: RowAttempt) -> Outcome | None:
        """Read an ambiguous row before anything is sent again; None: it may be sent, under the same key."""
        patch = story.patch
        expired = patch.first is Precheck.READ_EXPIRED
        try:
            read = await self._session.read_one(patch.customer_id)
        except Unreadable as failure:
            return self._undecided(story, f"it could not be read: {failure.verdict.reason}")
        act = Action.NEW_KEY if expired else Action.RETRY
        found = self._target.evidence.weigh(patch, read.record, act, cached=False, skew_s=read.skew_s)
        if found.act is Action.RETRY:
            return None
        if found.act is Action.APPLIED:
            return story.ends(State.APPLIED, found.reason)
        if found.act is Action.NEW_KEY and time.time() - patch.left_at < QUIET_S:
            # It may show the old values of what is carried out a moment later: then two keys would have executed.
            reason = f"row {patch.row} needs a new key, and its last attempt may still be under way"
            return story.stays_open(reason, Stop(Exit.INCOMPLETE, reason, "run the same command again in five minutes"))
        if found.act is Action.NEW_KEY:
            return story.ends(State.PENDING, found.reason, new_generation=True)
        if expired:
            return story.ends(State.UNKNOWN, found.reason, final=True, fields=found.api_fields)
        return self._undecided(story, found.reason, found.api_fields)

    def _undecided(self, story: RowAttempt, reason: str, fields: tuple[str, ...] = ()) -> Outcome:
        story.ambiguous = True
        return story.ends(State.UNKNOWN, reason, spent=True, fields=fields)

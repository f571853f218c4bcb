"""Bring one row to one outcome: send it, and read evidence where an answer proves nothing.

The target decides what an answer means, the limiter when the next request may go, and `ApiSession.ask` makes the
attempts; here the outcome is made of what they showed.
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from bulk_patch.client.attempts import Attempts
from bulk_patch.client.permits import LimiterClosed
from bulk_patch.client.reads import Unreadable, read_one
from bulk_patch.client.session import ApiSession, RunHalted
from bulk_patch.errors import Exit
from bulk_patch.model import (
    NEVER_LEFT,
    Action,
    History,
    Meaning,
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
from bulk_patch.targets import Record, Target
from bulk_patch.words import duration_words

_QUIET_S = 300.0  # the same of an API without keys: no client or gateway waits for longer
#: The same request may go once more. (A target that has nothing better to say is asked again too.)
_OPEN = (Action.RETRY, Action.RENEW, Action.UNKNOWN, Action.STOP)
_ENDS = {Action.APPLIED: State.APPLIED, Action.REJECTED: State.REJECTED, Action.MISMATCH: State.MISMATCH}


@dataclass(slots=True, kw_only=True)
class RowAttempt(Attempts):
    """What has happened to one row since it was handed out.

    Attributes:
        patch: The row.
        target: Judges the answers.
        ambiguous: An attempt may have executed.
        attempts: PATCHes that may have left.
        answered: The verdict on the last answer, if any came.
        watched: Watched fields as the last answer showed them.
    """

    patch: Patch
    target: Target
    ambiguous: bool
    attempts: int = 0
    last: Verdict | None = None  # on the last attempt, answered or not
    answered: Verdict | None = None
    watched: dict[str, str] = field(default_factory=dict)

    def judge(self, reply: Reply | NetworkFailure) -> Verdict:
        """Judge one answer to the PATCH."""
        return self.target.judge(self.patch, reply, History(self.ambiguous, self.seen.copy(), self.renewed))

    def judge_in_doubt(self, reply: Reply | NetworkFailure) -> Verdict:
        """Judge an answer that may be a stray one: then the row may have been carried out."""
        self.ambiguous = True
        return self.judge(reply)

    def probe(self) -> Request:
        """Return a read of the same customer."""
        return self.target.read_one(self.patch.customer_id)

    def counts(self, verdict: Verdict, streak: Meaning | None) -> bool:
        """Tell whether an answer counts: one that the API kept since an earlier session says nothing about today's
        token and address.
        """
        return not (self.patch.ambiguous and verdict.cached)

    def is_over(self, reply: Reply | NetworkFailure, verdict: Verdict, budget: int) -> bool:
        """Tell whether to send it no more; a refused token is renewed also for a row that has no attempts left."""
        if verdict.act in _OPEN:
            return self.tried >= budget and verdict.act is not Action.RENEW
        return True

    def see(self, record: Record | None, names: Iterable[str]) -> None:
        """Remember the watched fields of an answer."""
        if record is not None:
            self.watched = {name: str(record[name]) for name in names if name in record}

    def note(self, reply: Reply | NetworkFailure, verdict: Verdict) -> None:
        """Remember one answer."""
        self.seen[verdict.meaning] = self.seen.get(verdict.meaning, 0) + 1
        self.tried += not verdict.free
        is_refused_again = self.unconfirmed and (verdict.cached or verdict.act is Action.APPLIED)
        self.ambiguous = self.ambiguous or verdict.ambiguous or (self.unconfirmed and not is_refused_again)
        self.last = verdict
        if isinstance(reply, Reply):
            self.answered = verdict
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
            answers=tuple(self.answers),
        )

    def stays_open(self, reason: str, stop: Stop | None = None, *, spent: bool = False) -> Outcome:
        """Leave the row for later: `unknown` unless every attempt is proven not executed."""
        self.ambiguous = self.ambiguous or self.is_out or self.unconfirmed
        self.attempts += self.is_out
        return self.ends(State.UNKNOWN if self.ambiguous else State.PENDING, reason, stop, spent=spent)


class Sender:
    """Sends rows, many at once; each comes back as exactly one outcome.

    Args:
        session: What all requests of the process share.
        watch: Names of fields whose values an outcome reports, for the watch guard.
    """

    def __init__(self, session: ApiSession, *, watch: Collection[str] = ()) -> None:
        self._session = session
        self._watch = watch
        self._target = session.target
        self._rekeyed: set[int] = set()
        keys = session.target.keys
        self._quiet_s = _QUIET_S if keys is None else keys.quiet_s

    async def send(self, patch: Patch) -> Outcome:
        """Send one row; return what became of it.

        Raises nothing, whatever a server or network does. When cancelled, it still returns what is known: a cancel
        must not lose the outcome of a row.
        """
        target = self._target
        attempt = RowAttempt(
            request=target.request(patch),
            row=patch.row,
            canary=patch.canary,
            patch=patch,
            target=target,
            ambiguous=patch.ambiguous,
        )
        try:
            if patch.first is not Precheck.SEND:
                outcome = await self._look_first(attempt)
                if outcome is not None:
                    return outcome
            reply, verdict, stop = await self._session.ask(attempt)
            if (state := _ENDS.get(verdict.act)) is None:
                return await self._end_unproven(attempt, verdict, stop)
            if self._watch and isinstance(reply, Reply):
                attempt.see(target.record(reply, patch.customer_id), self._watch)
            return attempt.ends(state, verdict.reason, stop)
        except LimiterClosed:
            return attempt.stays_open("stopped before an answer that proves anything")
        except RunHalted as halt:
            return attempt.stays_open(halt.stop.reason, halt.stop)
        except asyncio.CancelledError:
            return attempt.stays_open("cut off while it was out")

    async def _end_unproven(self, attempt: RowAttempt, verdict: Verdict, stop: Stop | None) -> Outcome:
        """Make the outcome of a row whose last answer is not the end by itself."""
        if verdict.stop is None and verdict.act in (Action.CONFIRM, Action.LOOK, Action.SETTLE):
            # Also when a streak stops the run: the API repeats a cached refusal, so an open row would meet it for ever.
            return replace(await self._read_back(attempt, verdict), stop=stop)
        if stop is not None:
            return attempt.stays_open(stop.reason, stop)
        if verdict.act is Action.NEW_KEY:
            return self._new_key(attempt, verdict)
        reason = f"{attempt.tried} attempts proved nothing; the last answer: {verdict.reason}"
        return attempt.stays_open(reason, spent=True)

    def _new_key(self, attempt: RowAttempt, verdict: Verdict) -> Outcome:
        """Ask for a new generation, once: if a fresh key is refused again, the refusal did not come from a cache."""
        row = attempt.patch.row
        if row in self._rekeyed:
            reason = f"the API refuses the PATCH (HTTP {verdict.status}) though it accepts the token for reading"
            return attempt.stays_open(reason, Stop(Exit.CREDENTIAL, reason, "check what the token may do"))
        self._rekeyed.add(row)
        return attempt.ends(State.PENDING, verdict.reason, new_generation=True)

    async def _read_back(self, attempt: RowAttempt, verdict: Verdict) -> Outcome:
        """Let a read decide what the answer left open."""
        patch = attempt.patch
        attempt.ambiguous = True  # it may have executed: a read that is cut off leaves the row unknown
        try:
            read = await read_one(self._session, patch.customer_id, answers=attempt.answers)
        except (Unreadable, LimiterClosed) as failure:
            if verdict.meaning is Meaning.CONFIRMED:  # the API said so itself; only the second look failed
                return attempt.ends(State.APPLIED, "confirmed by the answer; the read-back failed")
            if isinstance(failure, LimiterClosed):
                raise
            reason = f"{verdict.reason}, and it could not be read: {failure.verdict.reason}"
            return self._undecided(attempt, reason)
        attempt.see(read.record, self._watch)
        weigh = self._target.evidence.weigh
        found = weigh(patch, read.record, verdict.act, cached=verdict.cached, skew_s=read.skew_s)
        if found.act is Action.REJECTED:
            return attempt.ends(State.REJECTED, verdict.reason)
        if found.act in _ENDS:
            return attempt.ends(_ENDS[found.act], found.reason, fields=found.api_fields)
        return self._undecided(attempt, f"{verdict.reason}; {found.reason}", found.api_fields)

    async def _look_first(self, attempt: RowAttempt) -> Outcome | None:
        """Read an ambiguous row before it is sent again; return None if it may be sent, under the same key."""
        patch = attempt.patch
        expired = patch.first is Precheck.READ_EXPIRED
        try:
            read = await read_one(self._session, patch.customer_id, answers=attempt.answers)
        except Unreadable as failure:
            return self._undecided(attempt, f"it could not be read: {failure.verdict.reason}")
        age_s = time.time() + max(0.0, read.skew_s) - patch.intent_at  # the server's clock counts where it is ahead
        keys = self._target.keys
        expired = expired or keys is None or age_s > keys.safe_age_s
        act = Action.NEW_KEY if expired else Action.RETRY
        found = self._target.evidence.weigh(patch, read.record, act, cached=False, skew_s=read.skew_s)
        if found.act is Action.RETRY:
            return None
        if found.act is Action.APPLIED:
            return attempt.ends(State.APPLIED, found.reason)
        if found.act is Action.NEW_KEY and time.time() - patch.left_at < self._quiet_s:
            # The read may show old values of a change that executes a moment later: then two keys would execute.
            reason = f"row {patch.row} needs a new key, and its last attempt may still be under way"
            return attempt.stays_open(
                reason, Stop(Exit.INCOMPLETE, reason, f"run the same command again in {duration_words(self._quiet_s)}")
            )
        if found.act is Action.NEW_KEY:
            return attempt.ends(State.PENDING, found.reason, new_generation=True)
        return attempt.ends(State.UNKNOWN, found.reason, final=True, fields=found.api_fields)

    def _undecided(self, attempt: RowAttempt, reason: str, fields: tuple[str, ...] = ()) -> Outcome:
        attempt.ambiguous = True
        return attempt.ends(State.UNKNOWN, reason, spent=True, fields=fields)

"""The fault table: what each kind of answer means and what happens next, for every target.

To change how an answer is handled, change `FAULT_TABLE`. A target says what only it can know, as a `Dialect`: which
answers are the API's own, what its codes mean, and whether a 200 shows the planned values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from bulk_patch.errors import Exit
from bulk_patch.model import (
    NEVER_LEFT,
    Action,
    FailureKind,
    History,
    Meaning,
    NetworkFailure,
    Patch,
    Reply,
    Stop,
    Verdict,
    Wait,
)
from bulk_patch.targets import Streak
from bulk_patch.targets.answers import asks_to_wait, json_object, retry_after_s, status_words


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """How one kind of answer to a PATCH is handled. The key is kept in every line except NEW_KEY."""

    act: Action
    doubt: bool  # this attempt may have executed
    again: int = 0  # this many more tries with the same key before `act`
    wait: Wait = Wait.NONE
    free: bool = False  # does not count as an attempt of the row
    outage: bool = False  # counts towards the outage brake
    streak: bool = False  # several of this kind in a row stop the run, see STREAKS
    exit_code: Exit | None = None  # of an immediate stop


B, P, M = Wait.BACKOFF, Wait.PAUSE, Meaning
FAULT_TABLE: Mapping[Meaning, AnswerRule] = {
    # what came back            act              executed?    and
    M.CONFIRMED: AnswerRule(Action.APPLIED, doubt=False),
    M.DIFFERS: AnswerRule(Action.CONFIRM, doubt=False),
    M.WRONG_RECORD: AnswerRule(Action.STOP, doubt=True, exit_code=Exit.STOPPED),
    M.UNREADABLE: AnswerRule(Action.LOOK, doubt=True, again=2, wait=B),  # not JSON, cut short, over 1 MiB
    M.UNCONFIRMED: AnswerRule(Action.LOOK, doubt=True, again=2, wait=B),  # 202, 204 and other 2xx
    M.SWITCHED: AnswerRule(Action.STOP, doubt=True, exit_code=Exit.STOPPED),  # 101
    M.REDIRECTED: AnswerRule(Action.STOP, doubt=True, exit_code=Exit.STOPPED),  # never followed
    M.REFUSED: AnswerRule(Action.REJECTED, doubt=False),  # 400 404 409 422 … in the API's own JSON
    M.FORBIDDEN: AnswerRule(Action.REJECTED, doubt=False, streak=True),  # 403 in the API's own JSON
    M.NOT_FOUND: AnswerRule(Action.REJECTED, doubt=False, streak=True),  # 404 in the API's own JSON
    M.STILL_PROCESSING: AnswerRule(Action.RETRY, doubt=True, wait=Wait.STEPS),  # by the API's code, any status
    M.KEY_REUSED: AnswerRule(Action.STOP, doubt=True, exit_code=Exit.STOPPED),  # by the API's code
    M.FOREIGN: AnswerRule(Action.RETRY, doubt=True, wait=P, streak=True),  # 4xx that is not the API's own
    M.UNAUTHENTICATED: AnswerRule(Action.RENEW, doubt=False, wait=P),  # 401
    M.UNSETTLED: AnswerRule(Action.SETTLE, doubt=True, again=2, wait=B),  # 408 423 424 425 499
    # 429, 503 with Retry-After: may be a vendor's, in mid-execution
    M.THROTTLED: AnswerRule(Action.RETRY, doubt=True, wait=P, free=True),
    M.SERVER_ERROR: AnswerRule(Action.RETRY, doubt=True, wait=B, outage=True),  # 5xx
    M.NO_ANSWER: AnswerRule(Action.RETRY, doubt=True, wait=B, outage=True),  # reset, timeout, half-open, dribble
    M.UNREACHABLE: AnswerRule(Action.RETRY, doubt=False, wait=B, outage=True),  # refused, DNS, connect, proxy
    M.BAD_CERTIFICATE: AnswerRule(Action.STOP, doubt=False, exit_code=Exit.CREDENTIAL),
    M.BAD_HANDSHAKE: AnswerRule(Action.STOP, doubt=False, exit_code=Exit.CREDENTIAL),
    M.PROXY_LOGIN: AnswerRule(Action.STOP, doubt=False, exit_code=Exit.CREDENTIAL),  # 407
    M.FOREIGN_PEER: AnswerRule(Action.STOP, doubt=False, exit_code=Exit.CREDENTIAL),  # plain http elsewhere
}

_NO_PERMISSION = "the token lacks a permission, or belongs to another workspace"
STREAKS: Mapping[Meaning, Streak] = {
    M.FORBIDDEN: Streak(
        3, Exit.CREDENTIAL, "the token lacks a permission, or belongs to another workspace", canary=True
    ),
    M.NOT_FOUND: Streak(5, Exit.STOPPED, "the base URL or the workspace looks wrong", canary=True),
    M.FOREIGN: Streak(5, Exit.STOPPED, "a gateway, a firewall or a sign-in page answers instead of the API"),
}

HINTS: Mapping[Meaning, str] = {
    M.WRONG_RECORD: "the API answered for another {noun}: keep the ledger and call the API's support",
    M.REDIRECTED: "check target.base_url: a redirect is never followed, since the row would be sent elsewhere",
    M.SWITCHED: "check target.base_url: something other than the API answers",
    M.KEY_REUSED: "a key was used before with other content: keep the ledger, do not plan again, and ask for help",
    M.BAD_CERTIFICATE: "have the server's certificate replaced; for a private authority, set target.ca_file",
    M.BAD_HANDSHAKE: "check scheme and port of target.base_url, and which versions of TLS the server speaks",
    M.PROXY_LOGIN: "check target.proxy and its user and password",
    M.FOREIGN_PEER: "use https: plain http is only for this machine, and the name leads elsewhere",
}

#: Answers that something else than the API gave.
NOT_THE_API = frozenset({M.FOREIGN, M.UNREADABLE})
#: To a read of many records, whoever says so: a gateway may be what finds an address too long.
TOO_MANY_IDS = frozenset({400, 414, 431})
NOTHING_THERE = 404  # whoever says so: the base URL is wrong where a read of many records gets it
UNSETTLED_STATUSES = frozenset({408, 423, 424, 425, 499})
_BY_FAILURE = {
    FailureKind.CERTIFICATE: M.BAD_CERTIFICATE,
    FailureKind.TLS: M.BAD_HANDSHAKE,
    FailureKind.PROXY_LOGIN: M.PROXY_LOGIN,
    FailureKind.FOREIGN_PEER: M.FOREIGN_PEER,
    FailureKind.PROTOCOL: M.UNREADABLE,
}
_BY_STATUS = {101: M.SWITCHED, 401: M.UNAUTHENTICATED, 429: M.THROTTLED}
_BY_CLASS = {2: M.UNCONFIRMED, 3: M.REDIRECTED, 5: M.SERVER_ERROR}
_OWN_BY_STATUS = {403: M.FORBIDDEN, 404: M.NOT_FOUND}
_SAY_WHEN = frozenset({M.THROTTLED, M.SERVER_ERROR})  # whose wish to wait is heard

CONFIRMED = Verdict(Action.APPLIED, "confirmed (HTTP 200)", meaning=M.CONFIRMED, status=200)
CONFIRMED_SO_FAR = replace(CONFIRMED, act=Action.CONFIRM)  # to be read back


class Dialect(Protocol):
    """What only a target knows of its API's answers. Pure; nothing that a server can answer makes it raise."""

    def is_own(self, reply: Reply) -> bool:
        """Tell whether a body of an error is the API's own, in its own words."""

    def error(self, reply: Reply) -> tuple[str, tuple[str, ...]]:
        """Return the API's code and the names of the fields that an error of its own complains of; never a value."""

    def meaning_of_code(self, code: str) -> Meaning | None:
        """Return what a code of the API means whatever its status: STILL_PROCESSING, KEY_REUSED; None: nothing."""

    def meaning_of_200(self, patch: Patch, reply: Reply) -> Meaning:
        """Return CONFIRMED, DIFFERS, WRONG_RECORD or UNREADABLE."""


class FaultTable:
    """Judges answers by the table.

    Args:
        dialect: What only the target knows.
        noun: What a record is called: "customer".
        has_keys: The API knows an idempotency key again, so the same request may be repeated.
    """

    def __init__(self, dialect: Dialect, *, noun: str, has_keys: bool = True) -> None:
        self._dialect = dialect
        self._noun = noun
        self._has_keys = has_keys

    def judge(self, patch: Patch, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Look the answer to a PATCH up and apply what depends on the row's history."""
        meaning = self.meaning(patch, reply)
        if meaning is M.CONFIRMED:  # almost every answer
            return CONFIRMED_SO_FAR if patch.read_back else CONFIRMED
        rule = FAULT_TABLE[meaning] if self._has_keys else _without_keys(meaning)
        own = isinstance(reply, Reply) and 400 <= reply.status < 500 and self._dialect.is_own(reply)
        ambiguous = rule.doubt or (meaning is M.UNAUTHENTICATED and not own)
        act, wait, cached = rule.act, rule.wait, own and meaning is not M.THROTTLED
        if history.seen.get(meaning, 0) < rule.again:
            act = Action.RETRY
        elif act is Action.REJECTED and history.ambiguous:
            # This proves nothing: the 5xx before this answer is not cached, so the first attempt may have executed.
            act = Action.SETTLE
        elif act is Action.RENEW and history.renewed:
            # The probe was accepted and only this row refused: a cached 401.
            act, wait = (Action.SETTLE if history.ambiguous or ambiguous else Action.NEW_KEY), Wait.NONE
        if not self._has_keys and ambiguous and act in (Action.RETRY, Action.RENEW):
            act, wait = Action.LOOK, Wait.NONE  # a second request would be executed a second time
        reason = self._words(meaning, reply)
        stop = None
        if rule.exit_code is not None:
            stop = Stop(rule.exit_code, reason, HINTS[meaning].format(noun=self._noun))
        code, names = self._dialect.error(reply) if own and isinstance(reply, Reply) else ("", ())
        return Verdict(
            act=act,
            reason=code or reason,
            ambiguous=ambiguous,
            wait=wait,
            pause_s=retry_after_s(reply) if meaning in _SAY_WHEN else None,
            free=rule.free,
            outage=rule.outage,
            streak=meaning if rule.streak else None,
            api_code=code,
            api_fields=names,
            cached=cached,
            stop=stop,
            meaning=meaning,
            status=reply.status if isinstance(reply, Reply) else None,
        )

    def judge_read(self, reply: Reply | NetworkFailure, history: History) -> Verdict:
        """Judge the answer to a GET: nothing can have executed, everything else is as in the table."""
        if isinstance(reply, Reply) and reply.status == 200 and json_object(reply) is not None:
            return Verdict(Action.APPLIED, "read", meaning=M.CONFIRMED, status=200)
        if isinstance(reply, Reply) and reply.status == 200:
            reason = self._words(M.UNREADABLE, reply)
            return Verdict(Action.RETRY, reason, wait=Wait.BACKOFF, meaning=M.UNREADABLE, status=200)
        meaning = self.meaning(None, reply)
        rule = FAULT_TABLE[meaning]
        act = {Action.LOOK: Action.RETRY, Action.SETTLE: Action.RETRY}.get(rule.act, rule.act)
        if meaning is M.UNAUTHENTICATED and history.renewed:
            act = Action.STOP
        reason = self._words(meaning, reply)
        stop = None
        if act is Action.STOP:
            hint = HINTS.get(meaning, "check the token: [target] token").format(noun=self._noun)
            stop = Stop(rule.exit_code or Exit.CREDENTIAL, f"{reason} on a read", hint)
        is_own = isinstance(reply, Reply) and self._dialect.is_own(reply)
        code = self._dialect.error(reply)[0] if is_own and isinstance(reply, Reply) else ""
        return Verdict(
            act,
            code or reason,
            wait=rule.wait,
            pause_s=retry_after_s(reply) if meaning in _SAY_WHEN else None,
            free=rule.free,
            outage=rule.outage,
            streak=meaning if meaning is M.FOREIGN else None,
            api_code=code,
            stop=stop,
            meaning=meaning,
            status=reply.status if isinstance(reply, Reply) else None,
        )

    def meaning(self, patch: Patch | None, reply: Reply | NetworkFailure) -> Meaning:
        """Name the line of the table; without a patch a 200 is unreadable."""
        if isinstance(reply, NetworkFailure):
            if reply.lost in _BY_FAILURE:
                return _BY_FAILURE[reply.lost]
            return M.UNREACHABLE if reply.lost in NEVER_LEFT else M.NO_ANSWER
        status = reply.status
        if status == 200:
            return M.UNREADABLE if patch is None else self._dialect.meaning_of_200(patch, reply)
        if status in _BY_STATUS:
            return _BY_STATUS[status]
        if status == 503 and asks_to_wait(reply):  # what nginx answers above its limit_req
            return M.THROTTLED
        if status in UNSETTLED_STATUSES:
            return M.UNSETTLED
        if 400 <= status < 500:
            return self._meaning_of_4xx(reply)
        return _BY_CLASS.get(status // 100, M.UNREADABLE)

    def _meaning_of_4xx(self, reply: Reply) -> Meaning:
        if not self._dialect.is_own(reply):
            return M.FOREIGN
        by_code = self._dialect.meaning_of_code(self._dialect.error(reply)[0])
        return by_code or _OWN_BY_STATUS.get(reply.status, M.REFUSED)

    def _words(self, meaning: Meaning, reply: Reply | NetworkFailure) -> str:
        name = f"wrong {self._noun}" if meaning is M.WRONG_RECORD else meaning.value
        return f"{name}{status_words(reply)}"


def _without_keys(meaning: Meaning) -> AnswerRule:
    """Return the line for an API without keys: what it refused to begin (a 429) is not in doubt."""
    rule = FAULT_TABLE[meaning]
    return replace(rule, doubt=False) if meaning is M.THROTTLED else rule

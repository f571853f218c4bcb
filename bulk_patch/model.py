"""The terms of the field as frozen data: states, rows, requests, replies, verdicts, outcomes. No I/O."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from bulk_patch.errors import Exit


class State(StrEnum):
    """Where one input row stands; exactly one per row, and their counts sum to the input's rows."""

    PENDING = "pending"
    SENDING = "sending"  # in flight, or left so by a kill; reports call it `unknown`
    APPLIED = "applied"
    REJECTED = "rejected"
    MISMATCH = "mismatch"
    DRIFTED = "drifted"
    UNKNOWN = "unknown"
    UNCHANGED = "unchanged"  # only counted
    DUPLICATE = "duplicate"
    INVALID = "invalid"
    KEPT = "kept"  # of an undo: someone changed the row since; of a run: an undo took its values back


#: The only legal moves. A ledger refuses any other.
MOVES: Mapping[tuple[State, State], str] = {
    (State.PENDING, State.SENDING): "the intent is durable before the first byte leaves",
    (State.SENDING, State.APPLIED): "the API answered with the planned values, or a read-back showed them",
    (State.SENDING, State.REJECTED): "the API refused in its own words, and no attempt can have gone through",
    (State.SENDING, State.MISMATCH): "accepted, but a read-back shows another value",
    (State.PENDING, State.DRIFTED): "the drift check found that someone changed the row since the plan",
    (State.SENDING, State.UNKNOWN): "budget spent, or the process stopped, without proof either way",
    (State.SENDING, State.PENDING): "proven not executed, or not sent at all",
    (State.UNKNOWN, State.SENDING): "a later run settles it: same key, or a read first",
    (State.REJECTED, State.SENDING): "an operator asked: retry, new generation",
}

#: What a report may count; `sending` is reported as `unknown`.
REPORTED = tuple(state for state in State if state is not State.SENDING)

#: Goals reached: nothing is left to do for such a row.
REACHED = frozenset({State.APPLIED, State.UNCHANGED, State.DUPLICATE})


def idempotency_key(secret: str, row: int, generation: int) -> str:
    """Derive the Idempotency-Key of one row and generation.

    Not a hash of the content: A→B, reverted by someone, A→B again within the API's seven days would replay a
    cached 200 and change nothing.

    Args:
        secret: The run's secret UUID, drawn when the run is planned.
        row: Data row of the input, the first is 1.
        generation: 0, and one more each time that every earlier attempt is proven not executed.
    """
    # uuid.uuid5 returns the same and takes five times as long, and a claim needs hundreds at once.
    digest = hashlib.sha1(_bytes_of(secret) + f"{row}.{generation}".encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"


@lru_cache(maxsize=16)
def _bytes_of(secret: str) -> bytes:
    return uuid.UUID(secret).bytes


#: `json.dumps` would make a new encoder for each call.
_JSON = json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def encode_json(value: Any) -> bytes:
    """Encode once; the same bytes are stored, hashed and sent.

    Raises:
        ValueError: For NaN or infinity, which other encoders turn into `null`, which would erase the field.
    """
    return _JSON.encode(value).encode()


class Precheck(Enum):
    """What has to happen to a row before anything is sent."""

    SEND = "send"
    READ = "read"  # ambiguous since an earlier session: read, then the same key
    READ_EXPIRED = "read_expired"  # ambiguous, and the key is too old: read, then a new generation or nothing


@dataclass(frozen=True, slots=True)
class Patch:
    """One row of a sealed plan, as an engine gets it."""

    row: int
    customer_id: str
    body: bytes  # the exact bytes to send
    before: bytes | None  # JSON of the planned top-level fields before; null: absent; missing: not known
    key: str
    generation: int = 0
    first: Precheck = Precheck.SEND
    ambiguous: bool = False  # an earlier attempt may have executed
    intent_at: float = 0.0  # first intent that may have left under this key, Unix seconds
    left_at: float = 0.0  # when an earlier attempt can have left for the last time, Unix seconds
    read_back: bool = False  # confirm by a GET even after a good answer: something is cleared, or the canary
    canary: bool = False  # one of the first rows, sent one by one


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, relative to the target's base URL."""

    method: str
    path: str  # with query, percent-encoded; compared with what is really sent
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)  # besides the client's own: media type, key, If-Match


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer, whole or not."""

    status: int
    headers: Mapping[str, str]  # lower-case names; a repeated header has one line for each value
    body: bytes
    whole: bool = True  # False: cut short, or longer than the cap
    elapsed_s: float = 0.0
    may_be_stray: bool = False  # it may answer another request: its connection was used before, or more came unasked


class FailureKind(Enum):
    """Why there was no answer."""

    DNS = "dns"
    REFUSED = "refused"
    CONNECT = "connect"
    TLS = "tls"
    CERTIFICATE = "certificate"
    PROXY = "proxy"  # it cannot be reached, or refuses
    PROXY_LOGIN = "proxy login"  # it asks for another user or password
    FOREIGN_PEER = "foreign peer"  # plain http led somewhere else than to this machine
    TIMEOUT = "timeout"
    RESET = "reset"
    PROTOCOL = "protocol"


#: Failures before the first byte of the request.
NEVER_LEFT = frozenset(
    {
        FailureKind.DNS,
        FailureKind.REFUSED,
        FailureKind.CONNECT,
        FailureKind.TLS,
        FailureKind.CERTIFICATE,
        FailureKind.PROXY,
        FailureKind.PROXY_LOGIN,
        FailureKind.FOREIGN_PEER,
    }
)


@dataclass(frozen=True, slots=True)
class NetworkFailure:
    """No usable answer came back."""

    lost: FailureKind
    elapsed_s: float = 0.0
    detail: str = ""  # in words of ours, where there is more to say than the kind


@dataclass(frozen=True, slots=True)
class Stop:
    """The run must not continue: an integrity fault, a refused credential, an outage, a guard."""

    exit_code: Exit
    reason: str
    hint: str = ""


class Meaning(Enum):
    """What one answer means: the lines of the fault table, `targets/faults.py`. The value is how people are told."""

    CONFIRMED = "confirmed"
    DIFFERS = "differs"
    WRONG_RECORD = "wrong record"
    UNREADABLE = "unreadable answer"
    UNCONFIRMED = "unconfirmed"
    SWITCHED = "protocol switched"
    REDIRECTED = "redirected"
    REFUSED = "refused"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not found"
    STILL_PROCESSING = "still processing"
    KEY_REUSED = "key reused"
    FOREIGN = "not the API's word"
    UNAUTHENTICATED = "unauthenticated"
    UNSETTLED = "unsettled"
    THROTTLED = "throttled"
    SERVER_ERROR = "server error"
    NO_ANSWER = "no answer"
    UNREACHABLE = "unreachable"
    BAD_CERTIFICATE = "bad certificate"
    BAD_HANDSHAKE = "failed handshake"
    PROXY_LOGIN = "the proxy asks for a login"
    FOREIGN_PEER = "not this machine"


class Action(Enum):
    """What one answer asks for."""

    APPLIED = "applied"
    REJECTED = "rejected"
    MISMATCH = "mismatch"
    UNKNOWN = "unknown"
    RETRY = "retry"  # same key, same bytes
    CONFIRM = "confirm"  # read back: applied or mismatch
    LOOK = "look"  # read back: applied or unknown
    SETTLE = "settle"  # read back: applied, rejected or unknown
    RENEW = "renew"  # the credential, once; then the same key
    NEW_KEY = "new_key"  # every earlier attempt is proven not executed
    STOP = "stop"


class Wait(Enum):
    """How long before the same row is tried again."""

    NONE = "none"
    BACKOFF = "backoff"  # full jitter
    STEPS = "steps"  # 1, 2, 4 … 30 s
    PAUSE = "pause"  # all requests wait


@dataclass(frozen=True, slots=True)
class History:
    """What happened to one row so far, as far as a verdict depends on it."""

    ambiguous: bool = False  # an attempt before this one may have executed
    seen: Mapping[Meaning | None, int] = field(default_factory=dict)  # earlier answers of this call
    renewed: bool = False  # the credential was renewed and a probe accepted it since


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target's judgement of one answer."""

    act: Action
    reason: str  # the API's code or the line of the fault table; never a value
    ambiguous: bool = False  # this attempt may have executed
    wait: Wait = Wait.NONE
    pause_s: float | None = None  # what the API asked for, seconds
    free: bool = False  # costs none of the row's attempts
    outage: bool = False  # counts towards the outage brake
    streak: Meaning | None = None  # counted over the run: so many in a row stop it
    api_code: str = ""
    api_fields: tuple[str, ...] = ()  # names of the fields that the API complained of
    cached: bool = False  # the API's own 4xx, which it will repeat under this key
    stop: Stop | None = None
    meaning: Meaning | None = None  # the line of the fault table; None: not of an answer
    status: int | None = None


class Answer(NamedTuple):
    """How one request ended: what the figures of a run are made of.

    Attributes:
        status: Of HTTP; 0: there was no answer.
        patch_s: How long a PATCH took to be answered, seconds; None: a read, or no answer.
        at: When, on the monotonic clock of the process that sent it, seconds.
    """

    status: int
    patch_s: float | None
    at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one handed-out row."""

    row: int
    state: State  # applied, rejected, mismatch, unknown, or pending: proven not executed
    reason: str = ""
    fields: tuple[str, ...] = ()  # names of the fields that the reason is about
    attempts: int = 0  # PATCHes sent since it was handed out
    ambiguous: bool = False
    spent: bool = False  # the budget of attempts is used up
    final: bool = False  # unknown for good
    new_generation: bool = False
    http_status: int | None = None
    api_code: str = ""
    stop: Stop | None = None
    watched: Mapping[str, str] = field(default_factory=dict)  # guarded fields as the last answer showed them
    answers: tuple[Answer, ...] = ()  # to all requests that were made for it, reads included


Counts = dict[State, int]

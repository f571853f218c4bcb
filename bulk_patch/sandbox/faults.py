"""What can go wrong with one request, as a value; and faults at random, by a short text."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from .problems import JSON, Answer, typical

Wire = Literal["answer", "reset", "close", "truncate", "drip", "hang"]


def is_kept(status: int) -> bool:
    """Say whether the API keeps an answer of this status under its Idempotency-Key: all but 5xx and 429."""
    return status < 500 and status != 429


@dataclass(frozen=True, slots=True)
class Seen:
    """What a fault hook is told of a request.

    Attributes:
        n: Number of the request in its world, the first is 1.
        method: HTTP method.
        path: Path as sent, without the query.
        key: The Idempotency-Key, if any.
        customer_id: The customer named by the path, if any.
        body: The body's bytes.
        attempt: How many requests, this one included, this process has seen with the key; 1 without a key.
    """

    n: int
    method: str
    path: str
    key: str | None
    customer_id: str | None
    body: bytes
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How one request goes wrong. Fields left alone follow the true answer, or what is typical of the status.

    In order: wait ``delay_s`` (the key in use, if the request is carried out), carry the request out if
    ``execute``, wait ``lag_s``, then treat the client to ``wire``.

    Attributes:
        status: Status to answer with; any number, also outside 100-599.
        body: Body to answer with.
        content_type: Its media type.
        headers: Further headers, such as ``Location`` or ``Retry-After``; they win over the sandbox's own.
        raw: Bytes written to the socket in place of an HTTP answer, before it is closed.
        execute: Whether the API does its work, with key and cache, before the answer is spoiled.
        cached: The answer said here is kept under the key, as the API keeps its own 4xx.
        gateway: The answer comes from something in front of the API, which keeps its own, true answer under
            the key (when ``execute``). Without it, an executed request answered 5xx or 429 is kept by nobody,
            and executes again when it is repeated.
        wire: ``answer`` sends it; ``truncate`` sends half the body, then closes; ``drip`` sends the body byte
            by byte, one each ``drip_s``; ``reset`` resets the connection, ``close`` closes it and ``hang``
            holds it, unanswered.
        delay_s: Seconds before the request is carried out.
        lag_s: Seconds between that and the answer.
        drip_s: Seconds between two bytes of a ``drip``.
        name: What the request log calls it; by default built from the other fields.
    """

    status: int | None = None
    body: bytes | None = None
    content_type: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    execute: bool = False
    cached: bool = False
    gateway: bool = False
    wire: Wire = "answer"
    delay_s: float = 0.0
    lag_s: float = 0.0
    drip_s: float = 0.05
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        says_something = self.status is not None or self.body is not None or self.raw is not None
        if self.wire in ("answer", "truncate", "drip") and not (says_something or self.execute):
            raise ValueError("a fault that answers without executing needs a status, a body or raw bytes")
        if self.cached and (self.status is None or not is_kept(self.status)):
            raise ValueError("only an answer with a status other than 5xx and 429 is ever kept under a key")

    @property
    def label(self) -> str:
        """Name the fault for the request log."""
        if self.name:
            return self.name
        said = "raw" if self.raw is not None else "" if self.status is None else str(self.status)
        what = said if self.wire == "answer" else f"{said}{self.wire}"
        return (what or "late") + ("-after" if self.execute else "")

    def answer(self, true: Answer | None) -> Answer:
        """Return the answer to send, built on the true one where the request was carried out."""
        if self.status is not None and (true is None or self.status != true.status):
            ground = typical(self.status)
        else:
            ground = true or Answer(200, b"", JSON)
        return Answer(
            ground.status,
            ground.body if self.body is None else self.body,
            self.content_type or ground.content_type,
        )

    def kept(self, true: Answer | None) -> Answer | None:
        """Return what stays under the request's key, given the true answer if it was carried out."""
        if self.cached:
            return self.answer(true)
        hidden = self.status is not None and not is_kept(self.status) and not self.gateway
        return None if hidden else true

    def wire_status(self, true: Answer | None) -> int | None:
        """Return the status that the client gets to see, None if it gets no answer."""
        speaks = self.raw is None and self.wire in ("answer", "truncate", "drip")
        return self.answer(true).status if speaks else None


Hook = Callable[[Seen], Fault | None]

_NAMED: Mapping[str, Fault] = {
    "reset": Fault(wire="reset", name="reset"),
    "drop": Fault(execute=True, wire="close", name="drop"),
    "timeout": Fault(execute=True, wire="hang", name="timeout"),
}


def random_faults(spec: str, seed: int = 0) -> Hook:
    """Build a hook that spoils requests at random, the same ones for the same seed.

    Args:
        spec: Comma-separated ``FAULT=PROBABILITY``. A fault is ``reset`` (before execution), ``drop``
            (executed, then closed without an answer), ``timeout`` (executed, never answered), a status
            400-599 (not executed), or a status with ``-after`` (executed first).
        seed: Number the draws are made from.

    Raises:
        ValueError: A part cannot be read, or the probabilities add up to more than 1.
    """
    parts = list(_parse(spec))
    if sum(probability for _, probability in parts) > 1:
        raise ValueError(f"the probabilities in {spec!r} add up to more than 1")
    bounds = list(zip(accumulate(probability for _, probability in parts), (fault for fault, _ in parts), strict=True))

    def hook(seen: Seen) -> Fault | None:
        # Drawn from the request's number, not from a running generator: a world that is killed and started
        # again goes on with fresh draws in place of repeating its first ones.
        digest = hashlib.blake2b(f"{seed}/{seen.n}".encode(), digest_size=8).digest()
        draw = int.from_bytes(digest) / 2**64
        return next((fault for bound, fault in bounds if draw < bound), None)

    return hook


def _parse(spec: str) -> Iterator[tuple[Fault, float]]:
    for part in filter(None, map(str.strip, spec.split(","))):
        name, equals, number = part.partition("=")
        try:
            probability = float(number)
        except ValueError:
            probability = -1.0
        if not equals or not 0 <= probability <= 1:
            raise ValueError(f"{part!r} is not FAULT=PROBABILITY with a probability from 0 to 1")
        yield _fault_named(name.strip(), part), probability


def _fault_named(name: str, part: str) -> Fault:
    if name in _NAMED:
        return _NAMED[name]
    number = name.removesuffix("-after")
    if number.isascii() and number.isdigit() and 400 <= int(number) <= 599:
        return Fault(status=int(number), execute=name != number, name=name)
    known = ", ".join([*_NAMED, "a status 400-599", "a status with -after"])
    raise ValueError(f"{part!r} names no fault; known are: {known}")

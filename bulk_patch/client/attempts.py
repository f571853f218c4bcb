"""The attempts of one request, and what their answers have said so far."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field

from bulk_patch.model import Answer, Meaning, NetworkFailure, Reply, Request, Verdict


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request, and whether it is under way.

    Attributes:
        request: What is sent.
        is_out: It may have left and was not answered.
        unconfirmed: It was refused, and that may have been the answer to another request: it is sent once more, over a
            new connection. A true refusal is kept by the API and comes again.
        answers: How each time ended, added to whatever is in the list.
    """

    request: Request
    is_out: bool = False
    unconfirmed: bool = False
    answers: list[Answer] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Attempts(Exchange, ABC):
    """One request that is repeated, with the same key and bytes, until an answer settles it.

    `ApiSession.ask` makes the attempts; a subclass says what an answer means.

    Attributes:
        row: Data row of the input; 0 for a read of none in particular.
        canary: It is one of the first rows, which are sent one by one.
        gives_way_to: Statuses to which the caller has a better answer than to ask again.
        tried: Attempts that count against the budget.
        renewed: The credential was renewed meanwhile.
        seen: Answers by meaning.
    """

    row: int = 0
    canary: bool = False
    gives_way_to: Collection[int] = ()
    tried: int = 0
    renewed: bool = False
    seen: dict[Meaning | None, int] = field(default_factory=dict)

    @abstractmethod
    def judge(self, reply: Reply | NetworkFailure) -> Verdict:
        """Judge one answer; pure."""

    def judge_in_doubt(self, reply: Reply | NetworkFailure) -> Verdict:
        """Judge an answer that may be a stray one."""
        return self.judge(reply)

    @abstractmethod
    def probe(self) -> Request:
        """Return the read that tells whether a renewed credential is accepted."""

    @abstractmethod
    def counts(self, verdict: Verdict, streak: Meaning | None) -> bool:
        """Tell whether an answer counts for or against the streaks of the run.

        Args:
            verdict: On the answer.
            streak: Meaning of the answers that came last.
        """

    @abstractmethod
    def is_over(self, reply: Reply | NetworkFailure, verdict: Verdict, budget: int) -> bool:
        """Tell whether nothing more is asked: the answer settles it, or the budget of attempts is spent."""

    def note(self, reply: Reply | NetworkFailure, verdict: Verdict) -> None:
        """Remember one answer."""
        self.seen[verdict.meaning] = self.seen.get(verdict.meaning, 0) + 1
        self.tried += not verdict.free

    def repeats(self, verdict: Verdict) -> None:
        """Hear that another attempt follows."""

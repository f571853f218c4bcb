"""Which rate an API takes, learnt from its answers of the throttling kind. Pure.

A 429 has one of two causes. Either we send faster than the API takes: then a lower rate makes the 429s cease. Or it
does not depend on us (a busy vendor, another client): then a lower rate helps nobody, and a limiter that halves its
rate at each 429 comes to a halt. So:

* A lone 429 changes nothing.
* Several among the last answers lower the rate to what got through, and that becomes the ceiling. The rate stays below
  it for a while, longer each time that the same ceiling is met, and then grows beyond it until several come again.
* Where each 429 asks for a wait, there are never several among the last answers. Then the rate is lowered on trial to
  what got through, waits included. Where they come as often all the same, the former rate comes back.
"""

import math
from collections import deque
from dataclasses import dataclass
from itertools import islice

FLOOR_PER_S = 0.1
#: So many throttled among so many answers are several: with 5 % of 429s at random that happens once in thousands.
SEVERAL, WINDOW = 12, 100
OVERLOAD, LAST = 6, 10  # the same where most are refused
_MARGIN = 0.96  # of what got through
_STEP = 0.98  # for each lone 429 below a known ceiling
_LOWEST = 0.7  # of the ceiling: no further in such steps
_STILL = 4  # of the last 100 answers at that rate: then it was not the reason
_GROWTH_PER_S = 0.05
_STEPS_S = 0.5
_SEARCH_PER_S = 0.1  # where no ceiling is known
_HOLD_S = 15.0
_LONGEST_HOLD_S = 80.0
_PAST = 1.3  # so far beyond the ceiling, there is none
_FIRST_TRIAL = 3  # rounds
_WITHOUT_WAITS = 1.25  # of what got through, waits included, at first
_LEAST_TRIED = 0.125  # of the former rate, at first: after a wait for each, hardly anything got through
_HALVINGS = 3  # of a rate on trial that was too high
_ASKED_STEP = 0.98  # at each further round
_MOST_EARLY = 4
_FEWEST = 60  # answers of a trial
_SURE = 4  # times as many answers without a 429 as came between two before: by chance in 2 % of cases


@dataclass(slots=True)
class _Trial:
    """A lower rate on trial, after rounds in which the API asked for a wait."""

    former_per_s: float
    passed_per_s: float  # what got through at it, waits included
    answers: int  # without a round, and the lower rate was right
    is_passed: bool = False
    early: int = 0  # rounds that came sooner, one after another


class Throttling:
    """The rate of one limiter, fed with its answers.

    Args:
        limit_per_s: Never exceeded; infinite: none.
        now: Monotonic seconds.
    """

    def __init__(self, limit_per_s: float, now: float) -> None:
        self.limit_per_s = limit_per_s
        self.rate_per_s = limit_per_s
        self._floor = min(FLOOR_PER_S, limit_per_s)
        self._ceiling = math.inf
        self._grown_at = now
        self._hold_until = -math.inf
        self._hold_s = _HOLD_S
        self._round_at = -math.inf  # requests that left before the last round belong to it
        self._recent: deque[bool] = deque(maxlen=WINDOW)  # answers to requests since then: throttled?
        self._answers = 0  # to requests since the last round
        self._passed = 0  # of any request since the last round
        self._asked: list[tuple[float, int]] = []  # rounds that asked for a wait: when, after how many answers
        self._asked_needed = _FIRST_TRIAL
        self._trial: _Trial | None = None
        self._still: deque[int] = deque(maxlen=_STILL)  # answers up to each of the last 429s at the lowest rate

    def set_limit(self, limit_per_s: float) -> None:
        """Change the rate that is never exceeded; what was learnt of a lower one stays."""
        was_free = self.rate_per_s >= self.limit_per_s
        self.limit_per_s = limit_per_s
        self.rate_per_s = limit_per_s if was_free else min(self.rate_per_s, limit_per_s)
        self._floor = min(FLOOR_PER_S, limit_per_s)

    def answered(self, sent_at: float) -> None:
        """Note an answer of the API itself."""
        self._passed += 1
        if sent_at > self._round_at:
            self._recent.append(False)
            self._answers += 1

    def refused(self, sent_at: float, now: float, *, asked: bool, measured_per_s: float) -> bool:
        """Note an answer of the throttling kind.

        Args:
            sent_at: When its request left.
            now: Monotonic seconds.
            asked: It says how long to wait.
            measured_per_s: The rate of late, for a run without a limit.

        Returns:
            Whether it begins a round: all have to pause.
        """
        if sent_at <= self._round_at:
            return False
        self._recent.append(True)
        self._answers += 1
        nothing_passed = not self._passed and self._round_at > -math.inf
        is_several = sum(self._recent) >= SEVERAL or self._is_overload()
        if not (asked or is_several or nothing_passed):
            self._note_lone(now)
            return False
        rate = self.rate_per_s if self.rate_per_s < math.inf else max(self._floor, measured_per_s)
        if nothing_passed:  # that says nothing about the rate; pauses grow
            self._asked.clear()
        elif is_several:
            self._lower_to_share(rate, now)
        else:
            self._note_asked(rate, now)
        if self.rate_per_s != rate:
            self._recent.clear()
        self._round_at = self._grown_at = now
        self._answers = self._passed = 0
        return True

    def grow(self, now: float) -> None:
        """Let a lowered rate grow by the time that has passed."""
        rate = self.rate_per_s
        if rate >= self.limit_per_s:
            return
        if not self._passed:  # since the last round
            self._grown_at = now
        elif (trial := self._trial) is not None and not trial.is_passed:
            trial.is_passed = self._answers >= trial.answers
            self._grown_at = now
        elif now < self._hold_until:
            self._grown_at = now
        elif (elapsed_s := now - self._grown_at) >= _STEPS_S:
            step = _GROWTH_PER_S * self._ceiling if self._ceiling < math.inf else _SEARCH_PER_S * rate
            self.rate_per_s = min(self.limit_per_s, rate + step * min(1.0, elapsed_s))
            self._grown_at = now
            if self.rate_per_s > _PAST * self._ceiling:
                self._ceiling, self._hold_s = math.inf, _HOLD_S

    # --- what a 429 means

    def _note_lone(self, now: float) -> None:
        if now >= self._hold_until:
            return
        lowest = max(self._floor, _LOWEST * self._ceiling)
        if self.rate_per_s > lowest:  # what got through was a little less than it seemed
            self.rate_per_s = max(self.rate_per_s * _STEP, lowest)
            self._still.clear()
            return
        self._still.append(self._answers)
        if len(self._still) == _STILL and self._still[-1] - self._still[0] < 100:
            self._forget_ceiling()

    def _lower_to_share(self, rate: float, now: float) -> None:
        if self._is_overload():  # how much would get through is not known
            self._ceiling, self._hold_until = rate, -math.inf
            self.rate_per_s = max(self._floor, rate / 2)
        else:
            self._hold_below(rate * (1 - sum(self._recent) / len(self._recent)), now)

    def _is_overload(self) -> bool:
        return sum(islice(reversed(self._recent), LAST)) >= OVERLOAD

    def _hold_below(self, ceiling: float, now: float) -> None:
        is_met_again = 1 / _PAST <= ceiling / self._ceiling <= _PAST
        self._hold_s = min(_LONGEST_HOLD_S, 2 * self._hold_s) if is_met_again else _HOLD_S
        self._ceiling = max(self._floor, ceiling)
        self.rate_per_s = max(self._floor, _MARGIN * ceiling)
        self._hold_until = now + self._hold_s

    def _note_asked(self, rate: float, now: float) -> None:
        trial = self._trial
        if trial is None:
            self._asked.append((now, self._answers))
            if len(self._asked) == self._asked_needed:
                self._begin_trial(rate)
            return
        is_early = self._answers < trial.answers
        trial.early = trial.early + 1 if is_early else 0
        if is_early and not trial.is_passed and rate > trial.passed_per_s and trial.early <= _HALVINGS:
            self.rate_per_s = max(trial.passed_per_s, rate / 2)
        elif is_early and (not trial.is_passed or trial.early > _MOST_EARLY):
            self._end_trial(trial)
        else:
            self._hold_below(rate * _ASKED_STEP, now)

    def _begin_trial(self, rate: float) -> None:
        (since, _), *others = self._asked
        answers = sum(count for _, count in others)
        passed_per_s = max(self._floor, min(rate, (answers - len(others)) / (others[-1][0] - since)))
        self._trial = _Trial(rate, passed_per_s, max(_FEWEST, math.ceil(_SURE * answers / len(others))))
        self.rate_per_s = min(rate, max(_WITHOUT_WAITS * passed_per_s, rate * _LEAST_TRIED))
        self._ceiling, self._hold_until = math.inf, -math.inf
        self._asked.clear()

    def _end_trial(self, trial: _Trial) -> None:
        """Take the former rate again: it was not the reason."""
        self.rate_per_s = min(self.limit_per_s, max(self.rate_per_s, trial.former_per_s))
        self._forget_ceiling()
        self._asked_needed *= 2
        self._trial = None

    def _forget_ceiling(self) -> None:
        self._ceiling, self._hold_until, self._hold_s = math.inf, -math.inf, _HOLD_S

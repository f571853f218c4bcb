"""What a planted bug is, and the tools to plant one.

The product's own attributes are replaced, in a process that ends with the trial; the product has no switches for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from bulk_patch.model import Meaning, Patch, Reply, Verdict
from bulk_patch.targets import faults
from bulk_patch.targets.synctera import target

Plant = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug.

    Attributes:
        name: What the product does wrong.
        plant: Makes it do so, in this process, for good.
        trials: Those that have to catch it, as their tier names them; the first violation of any is enough.
    """

    name: str
    plant: Plant
    trials: Sequence[str]


class Mutants:
    """Mutants by name, in the order in which they were written down."""

    def __init__(self) -> None:
        self.mutants: dict[str, Mutant] = {}

    def __call__(self, name: str, *trials: str) -> Callable[[Plant], Plant]:
        """Return a decorator that makes a function the plant of a mutant."""

        def remember(plant: Plant) -> Plant:
            self.mutants[name] = Mutant(name, plant, trials)
            return plant

        return remember


def around(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function or method by what is made of it."""
    setattr(owner, name, make(getattr(owner, name)))


def change_rule(kind: str, **changes: Any) -> None:
    """Change a line of the fault table."""
    table, meaning = cast(dict[Meaning, faults.AnswerRule], faults.FAULT_TABLE), Meaning(kind)
    table[meaning] = replace(table[meaning], **changes)


def change_verdicts(change: Callable[[Verdict, Patch, Any], Verdict]) -> None:
    """Let verdicts on answers to a PATCH pass through a function; it also gets the row and the answer."""

    def make(judge: Any) -> Any:
        def changed(self: Any, patch: Patch, reply: Reply, history: Any) -> Verdict:
            return change(judge(self, patch, reply, history), patch, reply)

        return changed

    around(target.Synctera, "judge", make)

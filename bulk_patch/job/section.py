"""What every table of a job file has in common, and what plug-ins of each group add to theirs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the job file: unknown keys are errors, and `"50"` is not a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TargetOptions(Section):
    """What a kind of target reads of `[target]` besides what every target takes.

    Attributes:
        test_hosts: Hosts of the API's own test systems, each with what people call it; any other host is production.
    """

    test_hosts: ClassVar[Mapping[str, str]] = {}

    def scope(self) -> str:
        """Return what the name of the target says besides kind and base URL: runs of two scopes are kept apart."""
        return ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a baseline can do; a run keeps it, so nobody has to ask for the kind.

    Attributes:
        needs_session: It reads the API while a plan is made.
        notices_resend: An input that was sent already has no changes in it.
        is_live: It shows the records as the API had them when the plan was made.
        may_be_stale: What it shows may have changed by the time the plan is made.
    """

    needs_session: bool = False
    notices_resend: bool = False
    is_live: bool = False
    may_be_stale: bool = False

    @property
    def compares(self) -> bool:
        """Tell whether it shows anything that desired values can be compared with."""
        return self.is_live or self.may_be_stale

    def to_json(self) -> dict[str, bool]:
        """Return what a run keeps."""
        return asdict(self)

    @classmethod
    def of_run(cls, kind: str, terms: Mapping[str, Any]) -> "Capabilities":
        """Return those of the baseline of a run.

        Args:
            kind: Of the baseline.
            terms: Of the run. A kind that version 0.1 knew is not in it: its capabilities never change.
        """
        kept = terms.get("baseline", {})
        return KNOWN.get(kind) or cls(**{name: bool(kept.get(name)) for name in cls.__dataclass_fields__})


#: What the kinds of version 0.1 can do, whose runs do not say it.
KNOWN = {
    "none": Capabilities(),
    "file": Capabilities(may_be_stale=True),
    "last-run": Capabilities(notices_resend=True, may_be_stale=True),
    "live": Capabilities(needs_session=True, notices_resend=True, is_live=True),
}


class BaselineOptions(Section):
    """What a kind of baseline reads of `[baseline]` besides what every baseline takes, and what it can do."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def file(self) -> Path | None:
        """Return the file that is read, if it is one whose change makes another plan."""
        return None

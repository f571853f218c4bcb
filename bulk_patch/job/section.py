"""What every table of a job file has in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the job file: unknown keys are errors, and `"50"` is not a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TargetOptions(Section):
    """What a kind of target reads of `[target]` besides what every target takes."""

    def scope(self) -> str:
        """Return what the name of the target says besides kind and base URL: runs of two scopes are kept apart."""
        return ""

"""What the built-in kinds of baseline read of `[baseline]`, and what they can do."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bulk_patch.job.section import KNOWN, BaselineOptions, Capabilities


class NoneSettings(BaselineOptions):
    """Nothing is compared."""

    capabilities: ClassVar[Capabilities] = KNOWN["none"]


class FileSettings(BaselineOptions):
    """An export of the records."""

    capabilities: ClassVar[Capabilities] = KNOWN["file"]

    path: Path = Field(strict=False)

    def file(self) -> Path | None:
        """Return the export."""
        return self.path


class LastRunSettings(BaselineOptions):
    """What the runs of the job have confirmed."""

    capabilities: ClassVar[Capabilities] = KNOWN["last-run"]


class LiveSettings(BaselineOptions):
    """The records as the API shows them."""

    capabilities: ClassVar[Capabilities] = KNOWN["live"]

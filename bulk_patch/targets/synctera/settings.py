"""Synctera's part of `[target]`."""

from typing import Literal

from bulk_patch.job.section import TargetOptions


class SyncteraSettings(TargetOptions):
    """What `[target]` may hold besides what every target takes."""

    resource: Literal["customers", "persons"] = "customers"

    def scope(self) -> str:
        """Return the resource: runs for customers and for persons are of two targets."""
        return self.resource

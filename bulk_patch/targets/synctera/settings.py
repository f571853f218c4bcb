"""Synctera's part of `[target]`."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from bulk_patch.job.section import TargetOptions


class SyncteraSettings(TargetOptions):
    """What `[target]` may hold besides what every target takes."""

    test_hosts: ClassVar[Mapping[str, str]] = {"api-sandbox.synctera.com": "Synctera's sandbox"}

    resource: Literal["customers", "persons"] = "customers"

    def scope(self) -> str:
        """Return the resource: runs for customers and for persons are of two targets."""
        return self.resource

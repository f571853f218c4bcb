"""Apply bulk updates through a PATCH API: a diff before anything is sent, a durable ledger, proof afterwards."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bulk_patch.errors import BulkPatchError
    from bulk_patch.job.load import load_job
    from bulk_patch.reports.summary import RunSummary
    from bulk_patch.workflows.options import RunOptions
    from bulk_patch.workflows.run import plan_job, run_job

__all__ = ["BulkPatchError", "RunOptions", "RunSummary", "load_job", "plan_job", "run_job"]

#: Loaded when first used: pandas alone takes over a second to import.
_MODULES = {
    "BulkPatchError": "bulk_patch.errors",
    "RunOptions": "bulk_patch.workflows.options",
    "RunSummary": "bulk_patch.reports.summary",
    "load_job": "bulk_patch.job.load",
    "plan_job": "bulk_patch.workflows.run",
    "run_job": "bulk_patch.workflows.run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'bulk_patch' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)

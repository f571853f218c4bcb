"""Run a workflow in its own event loop, for callers that have none."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from bulk_patch.errors import UsageError

T = TypeVar("T")


def run_in_event_loop(workflow: Coroutine[Any, Any, T]) -> T:
    """Run a workflow to its end; Ctrl-C cancels it.

    Raises:
        UsageError: The caller is inside a running event loop, which the workflow would block.
    """
    if _is_in_event_loop():
        workflow.close()
        raise UsageError(
            "this call starts its own event loop and was made inside a running one",
            "call it in a thread: await asyncio.to_thread(run_job, job)",
        )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(workflow)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

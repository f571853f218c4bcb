"""A signal while a session begins: it is heard once the session can be ended, and cancels nothing before."""

import asyncio
from pathlib import Path
from typing import Any, cast

from bulk_patch.errors import Exit
from bulk_patch.workflows.open_job import OpenJob, hand_over
from bulk_patch.workflows.options import RunOptions


class Heard:
    """Stands for a dispatcher."""

    def __init__(self) -> None:
        self.codes: list[Exit] = []

    def signalled(self, code: Exit) -> None:
        """Note a signal."""
        self.codes.append(code)


def opened() -> OpenJob:
    nothing: Any = None
    return OpenJob(nothing, RunOptions(), Path(), nothing, nothing, None, nothing)


def test_a_signal_while_a_session_begins_waits_for_its_dispatcher() -> None:
    async def run() -> list[Exit]:
        job, heard = opened(), Heard()
        job.begins_session = True
        job.on_signal(Exit.INTERRUPTED)
        await asyncio.sleep(0)  # a cancelled task would end here
        hand_over(job, cast(Any, heard))
        job.on_signal(Exit.TERMINATED)
        return heard.codes

    assert asyncio.run(run()) == [Exit.INTERRUPTED, Exit.TERMINATED]


def test_a_signal_before_any_session_cancels_what_has_not_begun() -> None:
    async def run() -> str:
        opened().on_signal(Exit.INTERRUPTED)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "cancelled"
        return "went on"

    assert asyncio.run(run()) == "cancelled"

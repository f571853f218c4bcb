"""Baseline `none`: nothing is compared."""

import pandas as pd

from bulk_patch.baselines import Baseline
from bulk_patch.baselines.settings import NoneSettings
from bulk_patch.client.session import ApiSession
from bulk_patch.job.settings import Job
from bulk_patch.targets import Target


class NoBaseline(Baseline):
    """`none`: every given value is sent."""

    Settings = NoneSettings

    sha256 = ""
    taken_at = 0.0

    def __init__(self, job: Job, target: Target, session: ApiSession) -> None:
        pass

    def reads(self, customers: int) -> int:
        """Return 0."""
        return 0

    async def snapshot(self, ids: pd.Series) -> None:
        """Return None: nothing is known."""
        return

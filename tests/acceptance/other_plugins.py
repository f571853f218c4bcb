"""A second distribution with a ledger, a target, an engine and a baseline, as another package would ship them."""

import os
from pathlib import Path

from tests.acceptance.commands import REPOSITORY, Workspace

ENTRY_POINTS = """
[bulk_patch.ledgers]
shelf = other_plugins:ShelfStore
other = other_plugins:OtherStore
[bulk_patch.targets]
club = other_plugins:Club
[bulk_patch.engines]
one-by-one = other_plugins:OneByOne
[bulk_patch.baselines]
cards = other_plugins:CardsBaseline
"""

MODULE = '''
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from bulk_patch.baselines import Baseline
from bulk_patch.job.section import BaselineOptions, Capabilities, Section, TargetOptions
from bulk_patch.ledgers.sqlite.store import SqliteStore
from bulk_patch.targets import IdRule
from bulk_patch.targets.synctera.target import ID_PATTERN, Synctera


class OtherStore(SqliteStore):
    file_name = "records.db"


class ShelfSettings(Section):
    shelf: str
    marks: Path | None = Field(default=None, strict=False)


class ShelfStore(SqliteStore):
    """Keeps its ledgers under another name, and needs a setting to write."""

    Settings = ShelfSettings
    file_name = "shelf.db"

    def __init__(self, output, settings=None):
        super().__init__(output, settings)
        self._settings = settings

    def write(self, job, **how):
        if self._settings is not None:
            folder = self._output / job
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "shelf.txt").write_text(f"{self._settings.shelf} {self._settings.marks}")
        return super().write(job, **how)


class ClubSettings(TargetOptions):
    tier: Literal["gold", "silver"] = "gold"

    def scope(self):
        return "club"


class Club(Synctera):
    """An API whose ids are told apart by case, and which has one more header."""

    Settings = ClubSettings
    noun = "member"
    ids = IdRule(ID_PATTERN, "a member number")

    def __init__(self, tier, *, today):
        super().__init__("customers", today=today)
        self.spec = {"kind": "club", "tier": tier}

    @staticmethod
    def spec_of(settings):
        return {"kind": "club", "tier": settings.tier}

    @classmethod
    def from_spec(cls, spec, today):
        return cls(spec["tier"], today=today)

    def request(self, patch):
        request = super().request(patch)
        return replace(request, headers={**request.headers, "X-Tier": self.spec["tier"]})


class OneByOneSettings(Section):
    traces: Path = Field(strict=False)


class OneByOne:
    """Sends one row after another."""

    Settings = OneByOneSettings

    def __init__(self, send, settings, *, concurrency):
        self._send = send
        self._traces = settings.traces

    async def run(self, batches):
        async for batch in batches:
            for patch in batch:
                outcome = await self._send(patch)
                with self._traces.open("a") as traces:
                    traces.write(f"{patch.row} {outcome.state}\\n")
                yield [outcome]

    def abort(self):
        pass


class CardsSettings(BaselineOptions):
    capabilities = Capabilities(may_be_stale=True)

    cards: Path = Field(strict=False)

    def file(self):
        return self.cards


class CardsBaseline(Baseline):
    """Compares with a JSON file: id -> field -> text."""

    Settings = CardsSettings

    def __init__(self, job, target, session):
        import hashlib

        text = job.baseline.cards.read_bytes()
        self._cards = json.loads(text)
        self.sha256 = hashlib.sha256(text).hexdigest()
        self.taken_at = job.baseline.cards.stat().st_mtime

    def reads(self, customers):
        return 0

    async def snapshot(self, ids):
        import pandas as pd

        from bulk_patch.baselines.snapshot import Snapshot

        frame = pd.DataFrame.from_dict(self._cards, orient="index", dtype="str")
        return Snapshot(frame, complete=False, authoritative=False)
'''


def install(workspace: Workspace, site: Path) -> None:
    """Install the distribution in a folder that the commands of a workspace look into."""
    install_in(site)
    workspace.environment["PYTHONPATH"] = os.pathsep.join([str(site), str(REPOSITORY)])


def install_in(site: Path) -> None:
    """Install the distribution in a folder."""
    facts = site / "other_plugins-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: other-plugins\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    (site / "other_plugins.py").write_text(MODULE)

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
traced = other_plugins:Traced
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
from bulk_patch.engines.local import LocalEngine
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


class TracedSettings(Section):
    traces: Path = Field(strict=False)


class Traced(LocalEngine):
    """Writes down what became of each row."""

    Settings = TracedSettings

    def __init__(self, send, settings, *, concurrency):
        async def traced(patch):
            outcome = await send(patch)
            with settings.traces.open("a") as traces:
                traces.write(f"{patch.row} {outcome.state}\\n")
            return outcome

        super().__init__(traced, settings, concurrency=concurrency)


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


#: The distribution's own tests: the suites of bulk_patch over its four plug-ins.
TESTS = {
    "conftest.py": """
from hypothesis import settings

settings.register_profile("few", max_examples=5, deadline=None)
settings.load_profile("few")
""",
    "test_shelf.py": """
import functools

import pytest
from bulk_patch.testing.ledger_plans import JOB
from bulk_patch.testing.ledgers import *
from other_plugins import ShelfStore, ShelfSettings


class FixedStore(ShelfStore):
    draw_salts = staticmethod(bytes)


@pytest.fixture
def open_ledger(tmp_path):
    return functools.partial(FixedStore(tmp_path, ShelfSettings(shelf="top")).write, JOB)


@pytest.fixture
def ledger(open_ledger):
    with open_ledger() as opened:
        yield opened
""",
    "test_club.py": """
import datetime as dt
import json

import pytest
from bulk_patch.testing.targets import *
from other_plugins import Club

ANN = "7d943c51-e4ff-4e57-9558-08cab6b963c7"


@pytest.fixture
def target():
    return Club("silver", today=dt.date(2030, 1, 1))


@pytest.fixture
def sample():
    return Sample(
        record={"id": ANN, "email": "new@example.com"},
        record_id=ANN,
        body={"email": "new@example.com"},
        before={"email": "old@example.com"},
        options={"tier": "silver"},
        page=lambda records: json.dumps({"customers": list(records)}).encode(),
        not_ids=(ANN.upper(), ANN[:-1]),
    )
""",
    "test_traced.py": """
import pytest
from bulk_patch.testing.engines import *
from other_plugins import Traced, TracedSettings


@pytest.fixture
def make_engine(tmp_path):
    settings = TracedSettings(traces=tmp_path / "traces.txt")
    return lambda send, concurrency: Traced(send, settings, concurrency=concurrency)
""",
    "test_cards.py": """
import datetime as dt
import json
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from bulk_patch.ledgers.sqlite.store import SqliteStore
from bulk_patch.testing.baselines import *
from other_plugins import CardsBaseline, Club

IDS = [f"7d943c51-e4ff-4e57-9558-{row:012x}" for row in range(1, 5)]


@pytest.fixture
def known():
    records = {name: {"email": f"{name[-1]}@example.com"} for name in IDS[:3]}
    return Known(target=Club("gold", today=dt.date(2030, 1, 1)), records=records, stranger=IDS[3])


@pytest.fixture
def open_baseline(tmp_path, known):
    cards = tmp_path / "cards.json"
    cards.write_text(json.dumps(known.records))
    job = SimpleNamespace(baseline=CardsBaseline.Settings(cards=cards))

    @asynccontextmanager
    async def opened():
        with SqliteStore(tmp_path).write("asking") as ledger:
            yield Opened(CardsBaseline(job, known.target, None), ledger, tmp_path)

    return opened
""",
}


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


def install_tests(folder: Path) -> None:
    """Write the distribution's own tests into a new folder."""
    folder.mkdir()
    for name, text in TESTS.items():
        (folder / name).write_text(text)

"""What acceptance tests share: a workspace, and an API that plays production."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import TOKEN, people


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a folder with the sample jobs and inputs, and no token in the environment."""
    return Workspace.copied(tmp_path)


@pytest.fixture
def office(tmp_path: Path) -> Workspace:
    """Return an empty folder whose environment has the token of `api`."""
    return Workspace(tmp_path, token=TOKEN)


@pytest.fixture
def api() -> Iterator[Sandbox]:
    """Serve twelve customers as production does: another address than --sandbox, and a token is asked for."""
    with Sandbox(people(12), token=TOKEN) as sandbox:
        yield sandbox

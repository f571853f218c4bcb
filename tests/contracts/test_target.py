"""Every kind of target in the tree goes through the suite that other packages run over theirs."""

import datetime as dt
import json

import pytest

from bulk_patch import plugins
from bulk_patch.targets import Target
from bulk_patch.targets.synctera.target import Synctera
from bulk_patch.testing.targets import *  # noqa: F403
from bulk_patch.testing.targets import MARK, Sample
from tests.support.patches import ANN

TODAY = dt.date(2026, 11, 22)
RECORD = {"id": ANN, "email": "new@example.com", "status": "ACTIVE", "last_updated_time": "2026-01-01T00:00:00Z"}


def synctera(resource: str) -> tuple[Target, Sample]:
    """Return a target and one record of its API."""
    return Synctera(resource, today=TODAY), Sample(
        record=RECORD,
        record_id=ANN,
        body={"email": "new@example.com"},
        before={"email": "old@example.com"},
        options={"resource": resource},
        page=lambda records: json.dumps({resource: list(records)}).encode(),
        refusal={"code": "SOME_CODE", "invalid": {"email": MARK}, "detail": MARK, "title": MARK},
        names=("id", "message", "missing", "invalid", "immutable", "customers", "persons"),
        not_ids=(
            *(ANN.upper(), ANN[:-1], f"{ANN}0", ANN.replace("-", ""), f"{{{ANN}}}", f"urn:uuid:{ANN}"),
            *("é", "\x00", "a&b", ANN.replace("7", "٧")),
        ),
        not_fields=("email.", ".email", "kyc_status", "last_updated_time"),
    )


#: Kind and scope -> one, with its sample; a new kind of target adds a line here and nothing else.
TARGETS = {f"synctera {resource}": synctera(resource) for resource in ("customers", "persons")}


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Target:
    """Return the target that is tested."""
    return TARGETS[request.param][0]


@pytest.fixture
def sample(target: Target) -> Sample:
    """Return the sample of the target that is tested."""
    return next(sample for known, sample in TARGETS.values() if known is target)


def test_every_target_that_a_job_can_name_is_tested_here() -> None:
    built_in = {kind for group, kind in plugins.BUILT_IN if group == "target"}
    assert built_in == {name.split()[0] for name in TARGETS}

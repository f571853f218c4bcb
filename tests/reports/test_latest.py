"""`output/<job>/latest` leads to the newest run, whatever is written again."""

import os
from pathlib import Path

import pytest

from bulk_patch.reports.files import LATEST, point_to_latest

OLD, NEW = "20261122-151203-4f2a", "20261123-021500-0b1c"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    for run in (OLD, NEW):
        (tmp_path / run).mkdir()
    return tmp_path


def test_it_follows_the_newest_run_and_no_older_one(job: Path) -> None:
    for run in (OLD, NEW, OLD):
        point_to_latest(job / run)
    assert os.readlink(job / LATEST) == NEW
    assert sorted(path.name for path in job.iterdir()) == [OLD, NEW, LATEST]


def test_what_is_no_link_is_left_alone_and_a_link_that_leads_elsewhere_is_not(job: Path) -> None:
    (job / LATEST).write_text("mine", encoding="utf-8")
    point_to_latest(job / NEW)
    assert (job / LATEST).read_text(encoding="utf-8") == "mine"
    (job / LATEST).unlink()
    (job / LATEST).symlink_to("../elsewhere")
    point_to_latest(job / NEW)
    assert os.readlink(job / LATEST) == NEW

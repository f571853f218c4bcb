"""A long wait that the API asks for holds for the next process too, and the last lines say until when."""

import re
import time

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Workspace, wait_until
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, new_emails, people, planned_at, write_job

MINUTES = 25


class Once:
    """Asks once to wait, of the first request of a method."""

    def __init__(self, method: str, asked_s: int) -> None:
        self.method, self.asked_s, self.is_over = method, asked_s, False

    def __call__(self, seen: Seen) -> Fault | None:
        if self.is_over or seen.method != self.method:
            return None
        self.is_over = True
        return Fault(status=429, body=b"", headers={"Retry-After": str(self.asked_s)})


def until(text: str) -> float:
    """Return the time that a command names."""
    found = re.search(r"the API asks to wait until (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", text)
    assert found is not None, text
    return time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) - time.timezone


@pytest.mark.parametrize(("method", "command"), [("PATCH", "run"), ("GET", "run"), ("GET", "plan")])
def test_no_process_asks_again_before_the_wait_is_over(office: Workspace, method: str, command: str) -> None:
    write_job(office, new_emails(1, 2, 3))
    with Sandbox(people(12), fault=Once(method, MINUTES * 60), token=TOKEN) as api:
        flags = aimed_at(api) if command == "run" else planned_at(api)
        first = office.run(command, FILE, *flags)
        assert first.code == 4, first.err
        named = until(first.err + first.out)
        assert named == pytest.approx(time.time() + MINUTES * 60, abs=10)
        asked = len(api.requests)
        for _ in range(2):
            again = office.run(command, FILE, *flags)
            assert again.code == 4, again.err
            assert until(again.err + again.out) == pytest.approx(named, abs=1)
            assert len(api.requests) == asked


def test_a_short_wait_holds_for_the_next_process_too(office: Workspace) -> None:
    write_job(office, new_emails(1, 2, 3))
    with Sandbox(people(12), fault=Once("PATCH", 4), token=TOKEN) as api:
        first = office.start("run", FILE, *aimed_at(api))
        while not any(line["status"] == 429 for line in api.requests):
            time.sleep(0.02)
        refused_at = next(line["t"] for line in api.requests if line["status"] == 429)
        wait_until(lambda: "asked_to_wait" in str(office.query(NAME, "SELECT stats FROM runs")))
        first.kill()
        first.communicate()
        killed_at = time.time()
        assert office.run("run", FILE, *aimed_at(api)).code == 0
        after = [line["t"] for line in api.requests if line["t"] > killed_at]
        assert min(after) >= refused_at + 3.9
        assert set(office.states(NAME).values()) == {"applied"}

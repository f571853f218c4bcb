import asyncio
import hashlib
import json
import stat
from pathlib import Path

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from tests.support.sandbox_calls import ANN, BEN, NOBODY, Caller, people, rehearse

LOG_FIELDS = [
    *("n", "t", "method", "path", "customer_id", "ids", "key", "body_sha256"),
    *("status", "executed", "replayed", "fault"),
]


def test_a_repeated_key_gets_the_first_answer_and_does_nothing() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        first = await caller.patch({"email": "a@example.com", "note": "once"}, key="k")
        sandbox.edit(ANN, email="b@example.com")
        second = await caller.patch({"email": "a@example.com", "note": "once"}, key="k")
        assert (second.status, second.body, second.content_type) == (
            first.status,
            first.body,
            first.content_type,
        )
        assert sandbox.customer(ANN)["email"] == "b@example.com"
        assert sandbox.customer(ANN)["notes"] == ["once"]
        assert [(line["executed"], line["replayed"]) for line in sandbox.requests] == [
            (True, False),
            (False, True),
        ]
        assert not [name for name in second.headers if "idempot" in name.lower() or "replay" in name.lower()]

    rehearse(scenario)


def test_without_a_key_every_patch_executes() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        for key in (None, None, ""):
            await caller.patch({"note": "again"}, key=key)
        assert sandbox.customer(ANN)["notes"] == ["again"] * 3

    rehearse(scenario)


@pytest.mark.parametrize(
    ("customer_id", "body", "status"),
    [(ANN, {"dob": "no"}, 400), (NOBODY, {}, 404), (ANN, {"status": "PROSPECT"}, 422)],
)
def test_refusals_are_kept_under_their_key(customer_id: str, body: dict[str, str], status: int) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = [await caller.patch(body, of=customer_id, key="k") for _ in range(2)]
        assert [each.status for each in heard] == [status, status]
        assert [line["replayed"] for line in sandbox.requests] == [False, True]

    rehearse(scenario)


def test_a_refused_credential_is_kept_under_the_key_too() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        assert (await caller.patch({}, key="k", Authorization="Bearer old")).status == 401
        heard = await caller.patch({}, key="k")
        assert (heard.status, heard.json["code"]) == (401, "UNAUTHENTICATED")
        assert sandbox.requests[-1]["replayed"] is True
        assert (await caller.patch({}, key="k2")).status == 200

    rehearse(scenario)


def test_a_stranger_neither_reads_nor_replaces_a_kept_answer() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        assert (await caller.patch({}, key="k")).status == 200
        assert (await caller.patch({}, key="k", Authorization="Bearer other")).status == 401
        assert (await caller.patch({}, key="k")).status == 200
        assert [line["executed"] for line in sandbox.requests] == [True, False, False]

    rehearse(scenario)


def test_a_key_used_for_another_request_is_refused_and_keeps_its_answer() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        await caller.patch(b'{"email":"a@example.com"}', key="k")
        other_bytes = await caller.patch(b'{"email": "a@example.com"}', key="k")
        other_path = await caller.patch(b'{"email":"a@example.com"}', of=BEN, key="k")
        other_resource = await caller.call("PATCH", f"/persons/{ANN}", body=b'{"email":"a@example.com"}', key="k")
        other_method = await caller.call("PUT", f"/customers/{ANN}", body=b'{"email":"a@example.com"}', key="k")
        for heard in (other_bytes, other_path, other_resource, other_method):
            assert (heard.status, heard.json["code"]) == (422, "IDEMPOTENCY_INVALID_REUSE")
        assert (await caller.patch(b'{"email":"a@example.com"}', key="k")).status == 200

    rehearse(scenario)


@pytest.mark.parametrize("status", [422, 409])
def test_a_key_in_use_is_refused_until_its_request_is_done(status: int) -> None:
    arrived: list[int] = []

    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        first = asyncio.create_task(caller.patch({"note": "x"}, key="k"))
        while not arrived:
            await asyncio.sleep(0.01)
        again, other = await asyncio.gather(caller.patch({"note": "x"}, key="k"), caller.patch({}, key="k"))
        assert (again.status, again.json["code"]) == (status, "IDEMPOTENCY_CONCURRENT_USE")
        assert again.json["status"] == status
        assert (other.status, other.json["code"]) == (422, "IDEMPOTENCY_INVALID_REUSE")
        assert (await first).status == 200
        assert (await caller.patch({"note": "x"}, key="k")).body == (await first).body
        assert sandbox.customer(ANN)["notes"] == ["x"]

    rehearse(scenario, latency_ms=500, concurrent_status=status, fault=lambda seen: arrived.append(seen.n))


def test_a_key_is_forgotten_after_seven_days() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        await caller.patch({"note": "x"}, key="k")
        sandbox.advance(days=6, hours=23)
        await caller.patch({"note": "x"}, key="k")
        assert sandbox.customer(ANN)["notes"] == ["x"]
        sandbox.advance(hours=1, seconds=1)
        await caller.patch({"note": "x"}, key="k")
        assert sandbox.customer(ANN)["notes"] == ["x", "x"]
        await caller.patch({"note": "x"}, key="k")
        assert sandbox.customer(ANN)["notes"] == ["x", "x"]

    rehearse(scenario)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_server_errors_and_throttling_are_not_kept(status: int) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        assert (await caller.patch({}, key="k")).status == status
        assert (await caller.patch({"note": "other body"}, key="k")).status == 200

    rehearse(scenario, fault=lambda seen: Fault(status=status, execute=True) if seen.n == 1 else None)


def test_reads_ignore_keys() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        for path in (f"/customers/{ANN}", f"/customers/{BEN}"):
            assert (await caller.call("GET", path, key="k")).json["id"] == path.rpartition("/")[2]

    rehearse(scenario)


def test_the_limiter_lets_so_many_through_in_any_second_and_says_when_to_come_back() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = [await caller.get() for _ in range(3)] + [await caller.patch({}, key="k") for _ in range(3)]
        assert [each.status for each in heard] == [200] * 3 + [200] + [429] * 2
        assert heard[-1].json["code"] == "TOO_MANY_REQUESTS"
        assert heard[-1].json["retry_after"] == 1
        await asyncio.sleep(1.05)
        replay = await caller.patch({}, key="k")
        assert (replay.status, sandbox.requests[-1]["replayed"]) == (200, True)
        heard = [await caller.get() for _ in range(5)]
        assert [each.status for each in heard] == [200] * 3 + [429] * 2

    rehearse(scenario, rate_per_s=4)


def test_the_limiter_stands_before_the_keys() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        assert (await caller.patch({}, key="used")).status == 200
        assert (await caller.patch({}, key="used")).status == 429
        assert (await caller.patch({"note": "x"}, key="fresh")).status == 429
        await asyncio.sleep(1.05)
        assert (await caller.patch({}, key="fresh")).status == 200

    rehearse(scenario, rate_per_s=1)


def test_latency_is_spent_on_each_request() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(caller.get() for _ in range(5)))
        assert 0.5 <= loop.time() - start < 2

    rehearse(scenario, latency_ms=500)


def test_each_request_is_one_private_line_in_the_log_without_any_customer_value(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "requests.jsonl"
    body = b'{"email":"secret@example.com","ssn":"899-22-7777"}'

    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        await caller.patch(body, key="k")
        # The reply is here, so the line must be.
        (line,) = map(json.loads, log.read_text().splitlines())
        assert list(line) == LOG_FIELDS
        assert (line["method"], line["path"], line["customer_id"]) == ("PATCH", f"/v0/customers/{ANN}", ANN)
        assert (line["key"], line["body_sha256"]) == ("k", hashlib.sha256(body).hexdigest())
        assert (line["status"], line["executed"], line["replayed"], line["fault"]) == (200, True, False, None)
        await caller.get("/customers?email=secret@example.com")
        await caller.get("/nothing/here")
        await caller.patch(body, key="k", Authorization=None)
        lines = [json.loads(text) for text in log.read_text().splitlines()]
        assert lines == sandbox.requests
        assert [line["n"] for line in lines] == [1, 2, 3, 4]
        assert [line["status"] for line in lines] == [200, 200, 404, 401]

    rehearse(scenario, log=log, clock=lambda: 1_790_000_000.25)
    assert "secret" not in log.read_text()
    assert "7777" not in log.read_text()
    assert json.loads(log.read_text().splitlines()[0])["t"] == 1_790_000_000.25
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


def test_a_torn_last_line_of_the_log_is_repaired_and_missing_lines_are_added(tmp_path: Path) -> None:
    log, state = tmp_path / "requests.jsonl", tmp_path / "state"

    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        for _ in range(4):
            await caller.patch({})

    rehearse(scenario, log=log, state=state)
    whole = log.read_bytes()
    lines = whole.splitlines(keepends=True)
    for damaged in (lines[0] + lines[1] + lines[2][:40], whole[:-1], b"", lines[0], whole):
        log.write_bytes(damaged)
        with Sandbox(people(), log=log, state=state):
            assert log.read_bytes() == whole

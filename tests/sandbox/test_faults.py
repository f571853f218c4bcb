import asyncio
import io
import json
from collections import Counter
from urllib.parse import urlsplit

import aiohttp
import pytest

from bulk_patch.sandbox import Fault, Sandbox, Seen, random_faults
from tests.support.sandbox_calls import ANN, BEN, Caller, calling, people, rehearse


def first_only(fault: Fault) -> dict[str, object]:
    """Spoil the first request of a scenario."""
    return {"fault": lambda seen: fault if seen.n == 1 else None}


async def exchange(sandbox: Sandbox, *, wait_s: float = 5.0) -> bytes:
    """Send a keyed PATCH on a bare socket and return every byte that comes before the end."""
    address = urlsplit(sandbox.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"PATCH /v0/customers/{ANN} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {sandbox.token}\r\n"
        "Content-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 12\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + b'{"note":"x"}')
    try:
        async with asyncio.timeout(wait_s):
            return await reader.read(-1)
    finally:
        writer.close()


def effect(sandbox: Sandbox) -> tuple[bool, int | None, str | None]:
    """Return what the log says of the last request, and check it against the customer."""
    line = sandbox.requests[-1]
    executed = sum(each["executed"] for each in sandbox.requests)
    assert len(sandbox.customer(ANN).get("notes", [])) == executed
    return line["executed"], line["status"], line["fault"]


@pytest.mark.parametrize(
    ("fault", "received", "logged"),
    [
        (Fault(wire="close"), b"", (False, None, "close")),
        (Fault(wire="close", execute=True, name="drop"), b"", (True, None, "drop")),
        (Fault(raw=b"HTTP/1.1 abc WHAT\r\n\r\n"), b"HTTP/1.1 abc WHAT\r\n\r\n", (False, None, "raw")),
        (Fault(raw=b"\x00\xff", execute=True), b"\x00\xff", (True, None, "raw-after")),
    ],
)
def test_what_is_no_http_answer_reaches_the_wire_as_it_is(
    fault: Fault, received: bytes, logged: tuple[bool, int | None, str | None]
) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        assert await exchange(sandbox) == received
        assert effect(sandbox) == logged

    rehearse(scenario, **first_only(fault))


@pytest.mark.parametrize("execute", [False, True])
def test_a_reset_is_a_reset_and_not_an_end_of_stream(execute: bool) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        with pytest.raises(ConnectionResetError):
            await exchange(sandbox)
        assert effect(sandbox)[0] is execute

    rehearse(scenario, **first_only(Fault(wire="reset", execute=execute)))


def test_a_request_that_hangs_is_never_answered_and_lets_the_sandbox_stop() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        with pytest.raises(TimeoutError):
            await exchange(sandbox, wait_s=0.3)
        assert effect(sandbox) == (True, None, "timeout")
        unheard = asyncio.create_task(exchange(sandbox))
        await asyncio.sleep(0.1)
        await sandbox.__aexit__()
        assert await unheard == b""

    rehearse(scenario, fault=lambda seen: Fault(wire="hang", execute=True, name="timeout"))


@pytest.mark.parametrize("status", [0, 99, 101, 600, 999])
def test_any_number_can_be_a_status(status: int) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        received = await exchange(sandbox)
        assert received.startswith(f"HTTP/1.1 {status} ".encode())
        assert effect(sandbox) == (False, status, str(status))

    rehearse(scenario, **first_only(Fault(status=status)))


@pytest.mark.parametrize("status", [200, 202, 204, 304, 400, 403, 404, 409, 422, 451, 499, 500, 503, 520])
@pytest.mark.parametrize("execute", [False, True])
def test_a_status_is_answered_with_or_without_execution(status: int, execute: bool) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({"note": "x"}, key="k")
        assert heard.status == status
        assert effect(sandbox) == (execute, status, f"{status}-after" if execute else str(status))
        if status in (400, 403, 404, 409, 422, 499, 500):
            assert heard.json["status"] == status
            assert heard.json["code"]
        elif status in (451, 503, 520):
            assert heard.content_type == "text/html"

    rehearse(scenario, **first_only(Fault(status=status, execute=execute)))


def test_a_fault_can_send_any_page_with_any_headers() -> None:
    page = Fault(
        status=307,
        body=b"<html>log in</html>",
        content_type="text/html; charset=utf-8",
        headers={
            "Location": "https://portal.example.com/",
            "Retry-After": "7",
            "Date": "Thu, 01 Jan 2026 00:00:00 GMT",
        },
    )

    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({})
        assert (heard.status, heard.body, heard.content_type) == (307, page.body, page.content_type)
        assert {name: heard.headers[name] for name in page.headers} == page.headers

    rehearse(scenario, **first_only(page))


def test_a_fault_can_answer_for_another_customer() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({"note": "x"})
        assert (heard.status, heard.json["id"]) == (200, BEN)
        assert effect(sandbox)[0] is True

    rehearse(scenario, **first_only(Fault(status=200, body=json.dumps({"id": BEN}).encode(), execute=True)))


def test_a_cut_answer_announces_all_of_its_body_and_sends_half() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.patch({"note": "x"}, key="k")
        assert effect(sandbox) == (True, 200, "truncate-after")
        whole = (await caller.patch({"note": "x"}, key="k")).body
        assert json.loads(whole)["id"] == ANN

    rehearse(scenario, **first_only(Fault(wire="truncate", execute=True)))


def test_a_dripping_answer_comes_whole_and_late() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert (await caller.patch({})).body == b"drip drop"
        assert loop.time() - start >= 8 * 0.03

    rehearse(scenario, **first_only(Fault(status=200, body=b"drip drop", wire="drip", drip_s=0.03)))


def test_a_huge_body_and_a_lying_length_are_sent_as_told() -> None:
    faults = [
        Fault(status=200, body=b"x" * 5_000_000),
        Fault(status=200, body=b"{}", headers={"Content-Length": "9"}),
    ]

    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        assert len((await caller.patch({})).body) == 5_000_000
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.patch({})

    rehearse(scenario, fault=lambda seen: faults[seen.n - 1])


def test_the_key_is_in_use_before_execution_and_free_while_the_answer_lags() -> None:
    slowly = Fault(execute=True, delay_s=0.5, lag_s=1.0)
    arrived: list[int] = []

    def hook(seen: Seen) -> Fault | None:
        arrived.append(seen.n)
        return slowly if seen.n == 1 else None

    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        slow = asyncio.create_task(caller.patch({"note": "x"}, key="k"))
        while not arrived:
            await asyncio.sleep(0.01)
        assert (await caller.patch({"note": "x"}, key="k")).json["code"] == "IDEMPOTENCY_CONCURRENT_USE"
        while len(sandbox.requests) < 2:
            await asyncio.sleep(0.01)
        assert (await caller.patch({"note": "x"}, key="k")).status == 200
        assert not slow.done()
        assert (await slow).status == 200
        assert effect(sandbox) == (False, 200, None)

    rehearse(scenario, fault=hook)


@pytest.mark.parametrize(
    ("fault", "second", "notes"),
    [
        (Fault(status=504, execute=True), 200, 2),  # kept by no one: executes again
        (Fault(status=504, execute=True, gateway=True), 200, 1),  # the API kept its own 200
        (Fault(status=202, execute=True), 200, 1),
        (Fault(status=499, execute=True), 200, 1),
        (Fault(status=499, execute=True, cached=True), 499, 1),
        (Fault(status=403, cached=True), 403, 0),
        (Fault(status=403), 200, 1),
        (Fault(wire="close", execute=True), 200, 1),
    ],
)
def test_what_a_key_holds_after_a_fault(fault: Fault, second: int, notes: int) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        await exchange(sandbox)
        assert (await caller.patch(b'{"note":"x"}', key="k")).status == second
        assert len(sandbox.customer(ANN).get("notes", [])) == notes

    rehearse(scenario, **first_only(fault))


def test_a_fault_in_front_of_the_api_does_not_replace_what_a_key_holds() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        statuses = [(await caller.patch({}, key="k")).status for _ in range(3)]
        assert statuses == [200, 403, 200]

    rehearse(scenario, fault=lambda seen: Fault(status=403, cached=True) if seen.n == 2 else None)


def test_the_hook_is_told_of_each_request_and_of_the_attempts_of_its_key() -> None:
    told: list[Seen] = []

    def hook(seen: Seen) -> None:
        told.append(seen)

    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        await caller.patch({}, key="k")
        await caller.patch({}, key="k")
        await caller.get("/customers?limit=1")

    rehearse(scenario, fault=hook)
    path = f"/v0/customers/{ANN}"
    assert told == [
        Seen(n=1, method="PATCH", path=path, key="k", customer_id=ANN, body=b"{}", attempt=1),
        Seen(n=2, method="PATCH", path=path, key="k", customer_id=ANN, body=b"{}", attempt=2),
        Seen(n=3, method="GET", path="/v0/customers", key=None, customer_id=None, body=b"", attempt=1),
    ]


@pytest.mark.parametrize(
    "contradiction",
    [{}, {"delay_s": 1.0}, {"status": 503, "cached": True}, {"execute": True, "cached": True}],
)
def test_a_fault_that_contradicts_itself_is_refused(contradiction: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"fault|kept"):
        Fault(**contradiction)  # type: ignore[arg-type]  # a parameter set, not a typed call


@pytest.mark.parametrize(
    ("spec", "culprit"),
    [
        ("500", "'500'"),
        ("500=x", "'500=x'"),
        ("500=2", "'500=2'"),
        ("200=0.1", "'200=0.1'"),
        ("600=0.1", "'600=0.1'"),
        ("drop=0.1,reset-after=0.1", "'reset-after=0.1'"),
        ("500=0.6,drop=0.6", "more than 1"),
    ],
)
def test_a_fault_text_that_cannot_be_read_is_refused_by_its_bad_part(spec: str, culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        random_faults(spec)


def test_random_faults_come_as_often_as_asked_and_repeat_with_their_seed() -> None:
    spec = "500=0.1, 429-after=0.2,reset=0.05,drop=0.05,timeout=0.1"
    seen = [Seen(n, "PATCH", "/", None, None, b"", 1) for n in range(1, 10_001)]

    def draw(seed: int) -> list[str]:
        hook = random_faults(spec, seed)
        return [fault.label if (fault := hook(each)) else "none" for each in seen]

    counts = Counter(draw(7))
    expected = {"500": 1000, "429-after": 2000, "reset": 500, "drop": 500, "timeout": 1000, "none": 5000}
    assert counts.keys() == expected.keys()
    assert all(abs(counts[name] - number) < 200 for name, number in expected.items())
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


def test_random_faults_reach_the_client() -> None:
    async def scenario() -> None:
        hook = random_faults("502=0.5,drop=0.5", seed=1)
        async with Sandbox(people(), fault=hook) as sandbox, calling(sandbox.base_url) as caller:
            outcomes: Counter[str] = Counter()
            for _ in range(40):
                try:
                    outcomes[str((await caller.patch({"note": "x"})).status)] += 1
                except aiohttp.ServerDisconnectedError:
                    outcomes["drop"] += 1
            assert outcomes.keys() == {"502", "drop"}
            assert len(sandbox.customer(ANN)["notes"]) == outcomes["drop"]

    asyncio.run(scenario())


def test_a_client_that_leaves_in_mid_sentence_or_says_too_much_changes_nothing() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        address = urlsplit(sandbox.base_url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        head = f"PATCH /v0/customers/{ANN} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n"
        writer.write(head.encode() + b'{"no')
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        url, essay = f"{sandbox.base_url}/customers/{ANN}", io.BytesIO(b" " * 3_000_000)
        async with caller.session.patch(url, data=essay) as response:
            assert response.status == 413
        assert sandbox.requests == []
        assert (await caller.patch({})).status == 200

    rehearse(scenario)

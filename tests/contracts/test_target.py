"""Every kind of target goes through one suite: what its requests may hold, and what its judgements never do."""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulk_patch import plugins
from bulk_patch.model import Action, FailureKind, History, Meaning, NetworkFailure, Patch, Reply, Request, Wait
from bulk_patch.targets import Target
from bulk_patch.targets.fields import Visibility
from bulk_patch.targets.synctera.target import Synctera
from tests.support.examples import examples
from tests.support.patches import ANN, KEY

TODAY = dt.date(2026, 11, 22)

#: Kind and resource -> how one is made; a new kind of target adds a line here and to `SAMPLES`, and nothing else.
TARGETS: dict[str, Callable[[], Target]] = {
    "synctera customers": lambda: Synctera("customers", today=TODAY),
    "synctera persons": lambda: Synctera("persons", today=TODAY),
}
#: A customer as the API shows one, a planned body, and what was there before, in this target's words.
SAMPLES: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    name: (
        {"id": ANN, "email": "new@example.com", "status": "ACTIVE", "last_updated_time": "2026-01-01T00:00:00Z"},
        {"email": "new@example.com"},
        {"email": "old@example.com"},
    )
    for name in TARGETS
}
MARK = "Zebra-77-Quagga"  # what an answer says and nobody may repeat


@pytest.fixture(params=TARGETS)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of the target that is tested."""
    return str(request.param)


@pytest.fixture
def target(name: str) -> Target:
    """Return the target that is tested."""
    return TARGETS[name]()


def make_patch(name: str, **facts: Any) -> Patch:
    """Return the sample row of a target."""
    _, body, before = SAMPLES[name]
    return Patch(1, ANN, json.dumps(body).encode(), json.dumps(before).encode(), KEY, **facts)


def test_every_target_that_a_job_can_name_is_tested_here() -> None:
    built_in = {kind for group, kind in plugins.BUILT_IN if group == "target"}
    assert built_in == {name.split()[0] for name in TARGETS}


# --- requests


def test_the_sealed_bytes_and_the_key_go_out_as_they_are(target: Target, name: str) -> None:
    patch = make_patch(name)
    request = target.request(patch)
    assert (request.method, request.body) == ("PATCH", patch.body)
    assert (patch.key in request.headers.values()) is (target.keys is not None)
    assert request.path.count(ANN) == 1


@pytest.mark.parametrize(
    "evil",
    [
        *("", " ", ".", "..", "../..", "%2e%2e", "/", "//evil.example", "?", "#", "a/b", "a,b", "a&b", "é", "\x00"),
        *(ANN.upper(), f" {ANN}", f"{ANN} ", f"{ANN}\n", f"{ANN}/", f"{ANN}/..", f"{ANN}?x=1", f"{ANN}#x", ANN[:-1]),
        *(f"{ANN}0", ANN.replace("-", ""), f"{{{ANN}}}", f"urn:uuid:{ANN}", ANN.replace("7", "٧")),
    ],
)
def test_nothing_but_an_id_ever_gets_into_a_path(target: Target, name: str, evil: str) -> None:
    assert not target.ids.matches(evil)
    patch = make_patch(name)
    builds: list[Callable[[], Request]] = [
        lambda: target.request(Patch(1, evil, patch.body, patch.before, KEY)),
        lambda: target.read_one(evil),
        lambda: target.read([ANN, evil]),
    ]
    for build in builds:
        with pytest.raises(ValueError, match="id") as caught:
            build()
        assert not evil.strip() or len(evil) < 3 or evil not in str(caught.value)


@given(token=st.text(st.characters(), max_size=40) | st.just("\ud800"))  # half a character: JSON can carry it
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_page_token_holds_the_address_stays_one_of_plain_characters(target: Target, token: str) -> None:
    path = target.read([ANN], token).path
    assert path.isascii()
    assert path.isprintable()
    assert not {" ", "#"} & set(path)
    assert path.startswith(target.read([ANN]).path)


def test_a_read_holds_its_ids_and_no_body(target: Target) -> None:
    request = target.read([ANN] * target.ids_per_read)
    assert (request.method, request.body, dict(request.headers)) == ("GET", None, {})
    assert request.path.count(ANN) == target.ids_per_read
    assert target.read_one(ANN).method == "GET"


# --- fields


def test_every_field_that_is_offered_can_be_asked_for(target: Target) -> None:
    assert target.field_names()
    for name in target.field_names():
        field = target.field(name)
        assert field is not None
        assert field.name == name
        assert field.rule
        top, _, part = name.partition(".")
        assert (target.atomic_object(top) is not None) is bool(part)


@pytest.mark.parametrize(
    "unknown", ["", ".", "id", "no_such_field", "email.", ".email", "kyc_status", "last_updated_time"]
)
def test_what_cannot_be_written_is_no_field(target: Target, unknown: str) -> None:
    assert target.field(unknown) is None


def test_no_mask_shows_a_whole_value_of_a_person(target: Target) -> None:
    for name in target.field_names():
        field = target.field(name)
        assert field is not None
        few = field.check(pd.Series([MARK]), pd.DataFrame({name: [MARK]})).tolist() != [True]
        if not few:  # a field that takes any text
            assert MARK not in field.mask(MARK)
            assert MARK[3:] not in field.mask(MARK)
        assert field.mask("") == ""


def test_a_change_that_lacks_nothing_is_told_so(target: Target) -> None:
    assert target.needs({"first_name": "Ann"}) == ""


# --- judgements

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from([ANN, MARK]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "id",
    "code",
    "type",
    "detail",
    "message",
    "missing",
    "invalid",
    "retry_after",
    "email",
    "customers",
    "persons",
)
objects = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, json_values))
bodies = st.binary(max_size=40) | (objects | json_values).map(lambda body: json.dumps(body).encode())
replies = st.builds(
    Reply,
    status=st.integers(0, 999) | st.sampled_from([200, 202, 302, 400, 401, 403, 404, 408, 409, 422, 429, 499, 500]),
    headers=st.dictionaries(st.sampled_from(["retry-after", "date", "location"]), st.text(max_size=20), max_size=3),
    body=bodies,
    whole=st.booleans(),
) | st.builds(NetworkFailure, st.sampled_from(FailureKind))
histories = st.builds(
    History,
    ambiguous=st.booleans(),
    seen=st.dictionaries(st.sampled_from(Meaning), st.integers(0, 9)),
    renewed=st.booleans(),
)
any_answer = given(reply=replies, before=histories)
quietly = settings(
    max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@any_answer
@quietly
def test_a_judgement_is_total_repeatable_and_keeps_the_key_law(
    target: Target, name: str, reply: Reply | NetworkFailure, before: History
) -> None:
    patch = make_patch(name)
    seen = dict(before.seen)
    verdict = target.judge(patch, reply, before)
    assert target.judge(patch, reply, before) == verdict
    assert before.seen == seen
    assert verdict.reason
    assert (verdict.act is Action.STOP) is (verdict.stop is not None)
    assert not verdict.streak or verdict.streak in target.streaks
    assert verdict.pause_s is None or verdict.pause_s >= 0
    assert verdict.status == (reply.status if isinstance(reply, Reply) else None)
    if verdict.act is Action.APPLIED:
        assert isinstance(reply, Reply)
        assert (reply.status, reply.whole) == (200, True)
    if verdict.act is Action.REJECTED:
        assert isinstance(reply, Reply)
        assert 400 <= reply.status < 500
        assert not before.ambiguous
        assert not verdict.ambiguous
    if verdict.act is Action.NEW_KEY:
        assert not before.ambiguous
        assert not verdict.ambiguous
        assert before.renewed
    if verdict.act is Action.MISMATCH:
        pytest.fail("only a read may say so")
    if verdict.free:
        assert verdict.wait is Wait.PAUSE


@any_answer
@quietly
def test_a_judgement_of_a_read_says_only_what_can_be_done_with_it(
    target: Target, reply: Reply | NetworkFailure, before: History
) -> None:
    verdict = target.judge_read(reply, before)
    assert verdict.act in (Action.APPLIED, Action.RETRY, Action.RENEW, Action.STOP, Action.REJECTED)
    assert (verdict.act is Action.STOP) is (verdict.stop is not None)
    assert not verdict.ambiguous
    if verdict.act is Action.APPLIED:
        assert isinstance(reply, Reply)
        assert reply.status == 200
    if isinstance(reply, Reply):
        page, record = target.page(reply), target.record(reply, ANN)
        assert page is None or (reply.status == 200 and reply.whole)
        assert record is None or str(record["id"]).lower() == ANN


@pytest.mark.parametrize("status", [200, 202, 302, 400, 401, 403, 404, 409, 422, 429, 500])
def test_no_words_of_an_answer_are_repeated_but_codes_and_field_names(target: Target, name: str, status: int) -> None:
    body = {"id": ANN, "code": "SOME_CODE", "invalid": {"email": MARK}, "detail": MARK, "title": MARK, "email": MARK}
    reply = Reply(status, {"location": MARK, "server": MARK}, json.dumps(body).encode())
    for verdict in (target.judge(make_patch(name), reply, History()), target.judge_read(reply, History())):
        assert MARK not in repr(verdict)


# --- evidence


def test_a_customer_with_the_planned_values_is_shown_so_and_one_without_is_not(target: Target, name: str) -> None:
    record, _, before = SAMPLES[name]
    patch = make_patch(name)
    assert target.evidence.missing(patch, record) == ()
    assert target.evidence.missing(patch, {**record, **before}) != ()
    assert target.evidence.differences(patch, {**record, **before}) == ()
    assert target.evidence.differences(patch, record) != ()


def test_the_answer_to_a_row_confirms_it_and_the_same_answer_serves_a_read(target: Target, name: str) -> None:
    reply = Reply(200, {}, json.dumps(SAMPLES[name][0]).encode())
    assert target.judge(make_patch(name), reply, History()).act is Action.APPLIED
    assert target.judge(make_patch(name, read_back=True), reply, History()).act is Action.CONFIRM
    record = target.record(reply, ANN)
    assert record is not None
    assert target.evidence.missing(make_patch(name), record) == ()
    assert not target.field("email") or target.evidence.flatten(record)["email"] == "new@example.com"


def test_what_is_never_shown_is_never_compared(target: Target) -> None:
    hidden = [
        field for field in map(target.field, target.field_names()) if field and field.visibility is Visibility.NEVER
    ]
    for field in hidden:
        patch = Patch(1, ANN, json.dumps({field.name: "x"}).encode(), b"{}", KEY)
        assert target.evidence.missing(patch, {}) == ()
        assert target.evidence.differences(patch, {field.name: "y"}) == ()

"""The suite of targets: what requests may hold, what judgements never do, and what a record proves.

It needs two fixtures: `target` is the target, and `sample` is a `Sample` of its API. Needed besides pytest: Hypothesis.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulk_patch.model import Action, FailureKind, History, Meaning, NetworkFailure, Patch, Reply, Request, Wait
from bulk_patch.targets import Target
from bulk_patch.targets.fields import Visibility

KEY = "1f0e6c9a-51a3-5d29-8a57-93e44f6bb2d1"
MARK = "Zebra-77-Quagga"  # what an answer says and nobody may repeat
STATUSES = (200, 202, 302, 400, 401, 403, 404, 408, 409, 422, 429, 499, 500)


def as_json(value: Any) -> bytes:
    """Return the body of an answer that is the record and nothing around it."""
    return json.dumps(value).encode()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One record, and how the API speaks of it.

    Attributes:
        record: As the API shows it once the change is made; `shown` makes an answer of it.
        record_id: Its normalised id.
        body: A planned change that `record` has, of fields that answers show.
        before: The same fields as they were, with other values.
        options: The target's own part of `[target]`.
        not_ids: Texts that look like an id and are none, besides what no API takes for one.
        not_fields: Names that cannot be written, besides those that nobody has.
        page: The body of the answer to a list request.
        shown: The body of the answer to a PATCH, or to a read of one record.
        refusal: What an error of the API's own says, with `MARK` in all texts of it.
        names: Names that its answers use, for answers drawn at random.
    """

    record: Mapping[str, Any]
    record_id: str
    body: Mapping[str, Any]
    before: Mapping[str, Any]
    page: Callable[[Sequence[Mapping[str, Any]]], bytes]
    shown: Callable[[Mapping[str, Any]], bytes] = as_json
    options: Mapping[str, Any] = field(default_factory=dict)
    not_ids: Sequence[str] = ()
    not_fields: Sequence[str] = ()
    refusal: Mapping[str, Any] = field(default_factory=lambda: {"code": "SOME_CODE", "detail": MARK})
    names: Sequence[str] = ()

    def patch(self, **facts: Any) -> Patch:
        """Return the row that makes the change."""
        usual = {"key": KEY, "body": as_json(self.body), "before": as_json(self.before)}
        return Patch(**cast(Any, {"row": 1, "customer_id": self.record_id, **usual, **facts}))

    def as_before(self) -> dict[str, Any]:
        """Return the record before the change."""
        return {**self.record, **self.before}


# --- the spec


def test_a_target_is_made_again_from_the_spec_that_a_run_keeps(target: Target, sample: Sample) -> None:
    spec = json.loads(json.dumps(dict(target.spec)))
    assert isinstance(spec["kind"], str)
    again = type(target).from_spec(spec, dt.date(2030, 1, 1))
    assert again.spec == target.spec
    assert again.field_names() == target.field_names()
    assert again.request(sample.patch()) == target.request(sample.patch())
    assert again.read([sample.record_id]) == target.read([sample.record_id])


def test_the_settings_of_a_job_make_a_spec(target: Target, sample: Sample) -> None:
    kind = cast(Any, type(target))
    options = kind.Settings(**sample.options)
    assert isinstance(options.scope(), str)
    assert kind.from_spec(kind.spec_of(options), dt.date(2030, 1, 1)).spec == target.spec == kind.spec_of(options)


def test_a_record_has_a_name_and_an_id_that_is_one(target: Target, sample: Sample) -> None:
    assert target.noun.strip() == target.noun != ""
    assert target.ids.words
    assert target.ids.matches(sample.record_id)
    assert target.ids.normalise(sample.record_id) == sample.record_id == target.record_id(sample.record)
    assert target.ids.accepts(sample.record_id.upper()) is (
        target.ids.folds_case or target.ids.matches(sample.record_id.upper())
    )
    changed_at = target.changed_at(sample.record)
    assert changed_at is None or changed_at.tzinfo is not None
    assert target.changed_at({}) is None


# --- requests


def test_the_sealed_bytes_and_the_key_go_out_as_they_are(target: Target, sample: Sample) -> None:
    patch = sample.patch()
    request = target.request(patch)
    assert (request.method, request.body) == ("PATCH", patch.body)
    assert (patch.key in request.headers.values()) is (target.keys is not None)
    assert request.path.count(sample.record_id) == 1
    assert request.path.startswith("/")


def test_the_token_has_one_place_among_the_headers(target: Target, sample: Sample) -> None:
    assert sum(value.count("{token}") for value in target.login.values()) == 1
    assert all(f"{name}{value}".isprintable() for name, value in target.login.items())
    requests = (target.request(sample.patch()), target.read_one(sample.record_id), target.read([sample.record_id]))
    for request in requests:
        assert not {name.lower() for name in target.login} & {name.lower() for name in request.headers}


@pytest.mark.parametrize("evil", ["", " ", ".", "..", "../..", "%2e%2e", "/", "//evil.example", "?", "#", "a/b", "a,b"])
def test_what_leads_elsewhere_never_gets_into_a_path(target: Target, sample: Sample, evil: str) -> None:
    _refuse(target, sample, evil)


@pytest.mark.parametrize(
    "evil", [" {}", "{} ", "{}\n", "{}/", "{}/..", "{}?x=1", "{}#x", "{}&b", "{}\x00", "{}é", "{}٧"]
)
def test_an_id_with_something_around_it_never_gets_into_a_path(target: Target, sample: Sample, evil: str) -> None:
    _refuse(target, sample, evil.format(sample.record_id))


def test_what_only_looks_like_an_id_never_gets_into_a_path(target: Target, sample: Sample) -> None:
    for evil in sample.not_ids:
        _refuse(target, sample, evil)


def _refuse(target: Target, sample: Sample, evil: str) -> None:
    assert not target.ids.matches(evil), evil
    builds: list[Callable[[], Request]] = [
        lambda: target.request(sample.patch(customer_id=evil)),
        lambda: target.read_one(evil),
        lambda: target.read([sample.record_id, evil]),
    ]
    for build in builds:
        with pytest.raises(ValueError, match="id") as caught:
            build()
        assert not evil.strip() or len(evil) < 3 or evil not in str(caught.value)


@given(token=st.text(st.characters(), max_size=40) | st.just("\ud800"))  # half a character: JSON can carry it
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_page_token_holds_the_address_stays_one_of_plain_characters(
    target: Target, sample: Sample, token: str
) -> None:
    path = target.read([sample.record_id], token).path
    assert path.isascii()
    assert path.isprintable()
    assert not {" ", "#"} & set(path)
    assert path.startswith(target.read([sample.record_id]).path)


def test_a_read_holds_its_ids_and_no_body(target: Target, sample: Sample) -> None:
    request = target.read([sample.record_id] * target.ids_per_read)
    assert (request.method, request.body) == ("GET", None)
    assert request.path.count(sample.record_id) == target.ids_per_read
    assert (target.read_one(sample.record_id).method, target.read_one(sample.record_id).body) == ("GET", None)


def test_a_page_shows_the_records_that_were_asked_for(target: Target, sample: Sample) -> None:
    page = target.page(Reply(200, {}, sample.page([sample.record])))
    assert page is not None
    assert ([target.record_id(record) for record in page.records], page.is_partial) == ([sample.record_id], False)
    empty = target.page(Reply(200, {}, sample.page([])))
    assert empty is not None
    assert (empty.records, empty.next_token) == ((), None)
    for broken in (b"", b"[]", b"{}", b'"page"', b"<html>"):
        assert target.page(Reply(200, {}, broken)) is None


# --- fields


def test_every_field_that_is_offered_can_be_asked_for(target: Target, sample: Sample) -> None:
    assert target.field_names()
    for name in target.field_names():
        field = target.field(name)
        assert field is not None
        assert field.name == name
        assert field.rule
        top, _, part = name.partition(".")
        assert (target.atomic_object(top) is not None) is bool(part)
    assert set(sample.body) <= {name.partition(".")[0] for name in target.field_names()}


def test_what_cannot_be_written_is_no_field(target: Target, sample: Sample) -> None:
    for unknown in ("", ".", "id", "no_such_field", *sample.not_fields):
        assert target.field(unknown) is None, unknown


def test_no_mask_shows_a_whole_value_of_a_person(target: Target) -> None:
    for name in target.field_names():
        field = target.field(name)
        assert field is not None
        few = field.check(pd.Series([MARK]), pd.DataFrame({name: [MARK]})).tolist() != [True]
        if not few:  # a field that takes any text
            assert MARK not in field.mask(MARK)
            assert MARK[3:] not in field.mask(MARK)
        assert field.mask("") == ""


def test_what_clears_a_field_can_be_sent(target: Target) -> None:
    for name in (*target.field_names(), None):
        json.dumps(target.cleared(target.field(name) if name is not None else None), allow_nan=False)


def test_a_change_that_lacks_nothing_is_told_so(target: Target, sample: Sample) -> None:
    assert target.needs(set(sample.body)) == ""


# --- judgements


def _replies(sample: Sample) -> st.SearchStrategy[Reply | NetworkFailure]:
    """Return a strategy that draws answers: nonsense, and what resembles the API's."""
    values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=6)
        | st.sampled_from([sample.record_id, MARK]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=8,
    )
    usual = ("code", "type", "detail", "message", "retry_after", "errors")
    names = dict.fromkeys((*sample.names, *sample.record, *sample.refusal, *usual))
    objects = st.fixed_dictionaries({}, optional=dict.fromkeys(names, values))
    known = st.sampled_from([sample.shown(sample.record), sample.page([sample.record]), as_json(sample.refusal)])
    bodies = st.binary(max_size=40) | (objects | values).map(as_json) | known
    return st.builds(
        Reply,
        status=st.integers(0, 999) | st.sampled_from(STATUSES),
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
any_answer = given(data=st.data(), before=histories)
quietly = settings(
    max_examples=max(1, 3 * settings().max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@any_answer
@quietly
def test_a_judgement_is_total_repeatable_and_keeps_the_key_law(
    target: Target, sample: Sample, data: st.DataObject, before: History
) -> None:
    reply, patch = data.draw(_replies(sample)), sample.patch()
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
    if verdict.act in (Action.RETRY, Action.RENEW) and verdict.ambiguous:
        assert target.keys is not None, "without keys a second request may be executed a second time"
    if verdict.free:
        assert verdict.wait is Wait.PAUSE


@any_answer
@quietly
def test_a_judgement_of_a_read_says_only_what_can_be_done_with_it(
    target: Target, sample: Sample, data: st.DataObject, before: History
) -> None:
    reply = data.draw(_replies(sample))
    verdict = target.judge_read(reply, before)
    assert verdict.act in (Action.APPLIED, Action.RETRY, Action.RENEW, Action.STOP, Action.REJECTED)
    assert (verdict.act is Action.STOP) is (verdict.stop is not None)
    assert not verdict.ambiguous
    if verdict.act is Action.APPLIED:
        assert isinstance(reply, Reply)
        assert reply.status == 200
    if isinstance(reply, Reply):
        page, record = target.page(reply), target.record(reply, sample.record_id)
        assert page is None or (reply.status == 200 and reply.whole)
        assert record is None or target.record_id(record) == sample.record_id


@pytest.mark.parametrize("status", [200, 202, 302, 400, 401, 403, 404, 409, 422, 429, 500])
def test_no_words_of_an_answer_are_repeated_but_codes_and_field_names(
    target: Target, sample: Sample, status: int
) -> None:
    assert MARK in repr(sample.refusal)
    for body in (sample.refusal, {**sample.record, **sample.refusal, "detail": MARK, "title": MARK}):
        reply = Reply(status, {"location": MARK, "server": MARK}, as_json(body))
        for verdict in (target.judge(sample.patch(), reply, History()), target.judge_read(reply, History())):
            assert MARK not in repr(verdict)


# --- evidence


def test_a_record_with_the_planned_values_is_shown_so_and_one_without_is_not(target: Target, sample: Sample) -> None:
    patch = sample.patch()
    assert target.evidence.missing(patch, sample.record) == ()
    assert target.evidence.missing(patch, sample.as_before()) != ()
    assert target.evidence.differences(patch, sample.as_before()) == ()
    assert target.evidence.differences(patch, sample.record) != ()


def test_the_answer_to_a_row_confirms_it_and_the_same_answer_serves_a_read(target: Target, sample: Sample) -> None:
    reply = Reply(200, {}, sample.shown(sample.record))
    assert target.judge(sample.patch(), reply, History()).act is Action.APPLIED
    assert target.judge(sample.patch(read_back=True), reply, History()).act is Action.CONFIRM
    assert target.judge_read(reply, History()).act is Action.APPLIED
    record = target.record(reply, sample.record_id)
    assert record is not None
    assert target.evidence.missing(sample.patch(), record) == ()
    flat = target.evidence.flatten(record)
    assert {name: flat[name] for name, value in sample.body.items() if isinstance(value, str)} == {
        name: value for name, value in sample.body.items() if isinstance(value, str)
    }


def test_the_answer_with_the_old_values_or_of_another_record_confirms_nothing(target: Target, sample: Sample) -> None:
    old = Reply(200, {}, sample.shown(sample.as_before()))
    assert target.judge(sample.patch(), old, History()).act is not Action.APPLIED
    cut = Reply(200, {}, sample.shown(sample.record)[:-1])
    assert target.judge(sample.patch(), cut, History()).act is not Action.APPLIED
    short = Reply(200, {}, sample.shown(sample.record), whole=False)
    assert target.judge(sample.patch(), short, History()).act is not Action.APPLIED


def test_what_is_never_shown_is_never_compared(target: Target, sample: Sample) -> None:
    fields = [target.field(name) for name in target.field_names()]
    for hidden in [one for one in fields if one and one.visibility is Visibility.NEVER]:
        patch = sample.patch(body=as_json({hidden.name: "x"}), before=b"{}")
        assert target.evidence.missing(patch, {}) == ()
        assert target.evidence.differences(patch, {hidden.name: "y"}) == ()

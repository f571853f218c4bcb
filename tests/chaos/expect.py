"""The simple model: which bodies an input asks for, and what a PATCH makes of a customer. Nothing of the product."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.evidence import Document, Evidence, Run

CLEAR = "<CLEAR>"
WHOLES = ("legal_address", "shipping_address")
NOT_COMPARED = frozenset({"ssn", "note"})  # masked or never shown: sent whenever they are given


@dataclass(frozen=True, slots=True)
class Version:
    """A customer for a while: since how many lines of the log, and since when."""

    after: int
    t: float
    document: Document


@dataclass(frozen=True, slots=True)
class Wish:
    """What one row of the input asks for."""

    customer_id: str
    given: Mapping[str, str]  # field -> text, "" clears


def wishes(evidence: Evidence) -> Mapping[int, Wish]:
    """Return what each data row asks for; the first is 1."""
    story = evidence.story
    found = {}
    for row, cells in enumerate(evidence.cells, start=1):
        texts = dict(zip(evidence.header, cells, strict=True))
        given = {story.fields[name]: text for name, text in texts.items() if story.fields.get(name) and text}
        texts_by_field = {name: "" if text == CLEAR else text for name, text in given.items()}
        found[row] = Wish(texts[evidence.header[0]].lower(), texts_by_field)
    return found


def plan(wish: Wish, before: Document | None) -> tuple[frozenset[str], bytes | None]:
    """Return the fields that change and the body to send, None when nothing changes.

    Args:
        wish: What is wanted.
        before: The customer as the baseline shows it; None: nothing is known.
    """
    body: dict[str, Any] = {}
    changed: set[str] = set()
    for name, text in wish.given.items():
        top, _, part = name.partition(".")
        if part:
            was = dict((before or {}).get(top) or {})
            whole = body.setdefault(top, was)
            if whole.get(part, "") != text or before is None:
                changed.add(name)
            whole[part] = text
        elif before is None or name in NOT_COMPARED or before.get(name, "") != text:
            body[name] = text
            changed.add(name)
    if changed == {"note"} and body["note"] in (before or {}).get("notes", ()):
        changed = set()  # an earlier run of the job wrote it
    tops = {name.partition(".")[0] for name in changed}
    sent = {name: value for name, value in body.items() if name in tops}
    if not sent:
        return frozenset(), None
    return frozenset(changed), json.dumps(sent, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def planned(evidence: Evidence, run: Run) -> Mapping[int, tuple[str, frozenset[str], bytes | None]]:
    """Return what the plan of a run has to say of each row: state, fields that change, body."""
    story, found = evidence.story, {}
    history = versions(evidence) if story.baseline == "live" and story.steady_clock else {}
    for row, wish in wishes(evidence).items():
        fields, body = frozenset[str](), None
        state = story.planned[row]
        if state in ("pending", "unchanged"):
            before = None if story.baseline == "none" else story.seeded.get(wish.customer_id)
            seen = [version for version in history.get(wish.customer_id, ()) if version.t <= run.facts["created_at"]]
            fields, body = plan(wish, seen[-1].document if seen else before)
            state = "pending" if body is not None else "unchanged"
        found[row] = state, fields, body
    return found


def apply(document: Document, body: Mapping[str, Any], *, clears: bool) -> Document:
    """Return a customer after a PATCH: fields set, objects replaced, empty texts cleared, notes gathered."""
    after = dict(document)
    for name, value in body.items():
        if name == "note":
            after["notes"] = [*after.get("notes", []), value]
        elif value == "":
            if clears:
                after.pop(name, None)
        elif isinstance(value, dict):
            after[name] = {part: inner for part, inner in value.items() if inner not in ("", False)}
        else:
            after[name] = value
    if "legal_address" in body and "shipping_address" not in after:
        after["shipping_address"] = dict(after["legal_address"])
    return after


def holds(document: Document, body: Mapping[str, Any]) -> bool:
    """Tell whether a customer has all values that a body would give it."""
    notes = [value for name, value in body.items() if name == "note"]
    rest = {name: value for name, value in body.items() if name != "note"}
    own = without_times(document)
    return all(note in document.get("notes", ()) for note in notes) and apply(own, rest, clears=True) == own


def without_times(document: Document) -> Document:
    """Return a customer without what a server writes on its own."""
    return {name: value for name, value in document.items() if name != "last_updated_time"}


def versions(evidence: Evidence) -> Mapping[str, list[Version]]:
    """Return how each customer went, from the first request to the last, as far as the log and the edits tell."""
    history = {
        customer_id: [Version(0, float("-inf"), without_times(document))]
        for customer_id, document in evidence.story.seeded.items()
    }
    for after, t, customer_id, changes, is_edit in _events(evidence):
        versions = history.get(customer_id)
        if versions is None:
            continue
        document = versions[-1].document
        if is_edit:
            document = {name: value for name, value in {**document, **changes}.items() if value is not None}
        else:
            document = apply(document, changes, clears=evidence.story.clears)
        versions.append(Version(after, t, document))
    return history


def _events(evidence: Evidence) -> list[tuple[int, float, str, Mapping[str, Any], bool]]:
    """Return what changed customers, in order: lines before it, time, customer, changes, and whether it was an edit."""
    found = [(edit.after, edit.t, edit.customer_id, edit.fields, True) for edit in evidence.story.edits]
    runs: dict[str, Run] = {}
    for span in evidence.spans:
        runs.update(span.copy.runs if span.copy is not None else {})
    for position, line in enumerate(evidence.log):
        owner = evidence.owner(line)
        if line.executed and owner is not None and line.customer_id is not None:
            body = json.loads(runs[owner[0]].rows[owner[1]]["body"])
            found.append((position + 1, line.t, line.customer_id, body, False))
    return sorted(found, key=lambda event: (event[0], event[4]))

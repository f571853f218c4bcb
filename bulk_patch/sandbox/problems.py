"""Say things as the API says them: plain JSON for answers, problem+json with a code for refusals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

# code -> (HTTP status, last segment of the v0 error type). The type is coarse: only the code tells errors
# apart.
_CATALOGUE: Mapping[str, tuple[int, str]] = {
    "BAD_REQUEST": (400, "bad-request"),
    "BAD_REQUEST_BODY": (400, "bad-request-body"),
    "BAD_QUERY_PARAMETER": (400, "bad-request-query"),
    "UNAUTHENTICATED": (401, "unauthenticated"),
    "FORBIDDEN": (403, "forbidden"),
    "RESOURCE_NOT_FOUND": (404, "not-found"),
    "DUPLICATE_RESOURCE": (409, "duplicate"),
    "IDEMPOTENCY_CONCURRENT_USE": (422, "conflict"),
    "IDEMPOTENCY_INVALID_REUSE": (422, "unprocessable-entity"),
    "INVALID_STATUS": (422, "unprocessable-entity"),
    "INVALID_TENANCY": (422, "rule-violation"),
    "TOO_MANY_REQUESTS": (429, "too-many-requests"),
    "REQUEST_CANCELED": (499, "client-closed-request"),
    "MISDIRECTED_REQUEST": (421, "misdirected-request"),
    "INTERNAL_ERROR": (500, "internal-server-error"),
    "NOT_IMPLEMENTED": (501, "not-implemented"),
    "GATEWAY_TIMEOUT": (504, "gateway-timeout"),
}

# What an injected status says when the fault brings no body of its own.
_CODE_BY_STATUS: Mapping[int, str] = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "RESOURCE_NOT_FOUND",
    409: "DUPLICATE_RESOURCE",
    422: "INVALID_STATUS",
    429: "TOO_MANY_REQUESTS",
    499: "REQUEST_CANCELED",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    504: "GATEWAY_TIMEOUT",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client, and what is kept under an Idempotency-Key."""

    status: int
    body: bytes
    content_type: str = JSON


def encode(document: Any) -> str:
    """Write JSON compactly, in ASCII, so that any text a client sent can be stored and sent back."""
    return _ENCODER.encode(document)


def reply(document: Any) -> Answer:
    """Answer 200 with a JSON document."""
    return Answer(200, encode(document).encode("ascii"))


def problem(code: str, detail: str, *, status: int | None = None, **members: Any) -> Answer:
    """Refuse in the API's own words.

    Args:
        code: A code of the API's error list.
        detail: A sentence for people. It never repeats a value that was sent.
        status: The HTTP status, where it is not the listed one.
        members: Further members of the body, such as ``missing`` or ``retry_after``.
    """
    listed_status, slug = _CATALOGUE[code]
    status = listed_status if status is None else status
    body = {
        "type": f"https://dev.synctera.com/errors/{slug}",
        "title": slug.replace("-", " ").title(),
        "status": status,
        "detail": detail,
        "code": code,
        **members,
    }
    return Answer(status, encode(body).encode("ascii"), PROBLEM_JSON)


def typical(status: int) -> Answer:
    """Give the answer a status is likely to come with: the API's own error, else a gateway's page."""
    code = _CODE_BY_STATUS.get(status)
    if code is not None:
        return problem(code, "The sandbox was asked to answer so.")
    page = f"<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>"
    return Answer(status, page.encode("ascii"), "text/html")

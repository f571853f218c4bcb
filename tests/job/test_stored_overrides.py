"""Which overrides the ledger keeps, which are taken from it, and what a next command says in place of the others."""

import pytest

from bulk_patch.job.stored_overrides import (
    as_stored,
    holds_secret,
    is_taken_from_ledger,
    to_type_again,
    without_secrets,
)

SECRETS = [
    "target.token=cmd:pass show api",
    'target.token = "cmd:pass show api"',
    "target.token='cmd:pass show api'",
    "target={kind = 'synctera', token = 'cmd:pass'}",
    "target.proxy=http://user:pa55@proxy:3128",
    "target.proxy=user:pa55@proxy:3128",
    "target.base_url=https://user:pa55@api.example.com",
    "target.proxy_auth=user:pa55",
    "target.token=sk_live_1",
    "ledger.url=postgresql://user:pa55@db/x",
    "alerts.url=https://hooks.example.com/T0/secret",
    "input.path=cmd:evil",
]


@pytest.mark.parametrize("override", SECRETS)
def test_what_holds_a_secret_or_a_command_is_kept_by_its_name_only(override: str) -> None:
    assert holds_secret(override)
    (stored,) = as_stored([override])
    assert stored == f"{override.partition('=')[0].strip()}=…"
    assert not holds_secret(stored)
    assert not is_taken_from_ledger(override)
    assert not is_taken_from_ledger(stored)


@pytest.mark.parametrize(
    "override", ["limits.rate_per_s=5", "input.path=/a@b/c.csv", "guards.canary=0", "input.rename={ZIP = 'x'}"]
)
def test_harmless_overrides_are_kept_and_used_again(override: str) -> None:
    assert as_stored([override]) == (override,)
    assert is_taken_from_ledger(override)


@pytest.mark.parametrize(
    "override",
    [
        "target.base_url=https://evil.example",
        " target . base_url = https://evil.example",
        "target.proxy=http://evil.example:3128",
        "target.ca_file=/tmp/ca.pem",
        "target.token=env:OTHER",
        "target={}",
        "guards.allowed_signers=/tmp/signers",
        "guards={}",
        "ledger.kind=other",
        "ledger.group=everybody",
        "engine.kind=other",
        "name=other",
        "unknown.setting=1",
    ],
)
def test_what_decides_where_anything_is_sent_is_never_taken_from_a_ledger(override: str) -> None:
    assert not is_taken_from_ledger(override)


def test_what_is_not_shown_has_to_be_typed_again() -> None:
    assert to_type_again([]) == []
    assert to_type_again(["target.token=cmd:x", "target.proxy=…"]) == [
        *("--set", "target.token=…", "--set", "target.proxy=…", "as", "before")
    ]
    words = ["run", "j.toml", "--set", "target.token=cmd:x y", "--set=target.proxy=http://u:p@h", "--set", "name=a"]
    assert without_secrets(words) == (
        ["run", "j.toml", "--set", "name=a"],
        ["--set", "target.token=…", "--set", "target.proxy=…", "as", "before"],
    )

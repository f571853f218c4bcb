"""The settings of a job file, a model for each table: input, baseline, target, limits, retries, guards, ledger, engine.

Secrets stay references (`env:NAME`, `file:PATH`, `cmd:PROGRAM ARGS`) until `secrets.read_secret` fetches them.
"""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bulk_patch import plugins
from bulk_patch.errors import JobError
from bulk_patch.job.addresses import check_base_url, check_proxy
from bulk_patch.job.input_settings import InputSettings as InputSettings
from bulk_patch.job.plugin_sections import GROUPS, section_of
from bulk_patch.job.section import BaselineOptions, TargetOptions
from bulk_patch.job.section import Section as Section

#: Settings of version 0.1 that a plan's identity covered.
_INPUT_0_1 = ("path", "id", "blank", "clear", "may_clear", "duplicates", "rename")
_BASELINE_0_1 = ("kind", "path", "max_age_h")

Settings = TypeVar("Settings", bound=Section)

SECRET_REFERENCE = re.compile(r"(env|file|cmd):(.+)", re.DOTALL)


def _count_or_share(value: int | str) -> int | str:
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d+(\.\d+)?%|\d+", text):
        raise ValueError('must be a number of rows, or a share such as "5%"')
    return value


def share_of(limit: int | str, total: int) -> float:
    """Convert a limit such as `200` or `"5%"` to a number of rows, a share being of `total`."""
    if isinstance(limit, int):
        return limit
    return float(limit.rstrip("%")) * total / 100 if limit.endswith("%") else float(limit)


class BaselineSettings(BaselineOptions):
    """What the desired values are compared with."""

    kind: str = "live"
    max_age_h: float = Field(default=24, ge=0, strict=False)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return _usable("baseline", kind)


class TargetSettings(TargetOptions):
    """Which API, and how to reach it."""

    kind: str
    base_url: str
    token: str = Field(repr=False)
    proxy: str | None = None
    proxy_auth: str | None = Field(default=None, repr=False)
    ca_file: Path | None = Field(default=None, strict=False)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return _usable("target", kind)

    @field_validator("token")
    @classmethod
    def _is_a_reference(cls, token: str) -> str:
        if not SECRET_REFERENCE.fullmatch(token):
            raise ValueError("must be env:NAME, file:PATH or cmd:PROGRAM ARGS; never the secret itself")
        return token

    @field_validator("proxy_auth")
    @classmethod
    def _is_a_reference_too(cls, proxy_auth: str | None) -> str | None:
        if proxy_auth is not None and not SECRET_REFERENCE.fullmatch(proxy_auth):
            raise ValueError("must be env:NAME, file:PATH or cmd:PROGRAM ARGS (USER:PASSWORD), never the secret")
        return proxy_auth

    @field_validator("base_url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        return check_base_url(url)

    @field_validator("proxy")
    @classmethod
    def _is_a_proxy(cls, proxy: str | None) -> str | None:
        return None if proxy is None else check_proxy(proxy)

    @model_validator(mode="after")
    def _proxy_gets_no_plain_text(self) -> "TargetSettings":
        if self.proxy is not None and urlsplit(self.base_url).scheme.lower() != "https":
            raise ValueError("proxy goes with an https base_url only: by http it would read the token and every value")
        if self.proxy_auth is not None and self.proxy is None:
            raise ValueError("proxy_auth goes with proxy, which is not set")
        return self


class Limits(Section):
    """Rate, concurrency and timeout of requests."""

    rate_per_s: float | int | Literal["unlimited"] = 20
    concurrency: int = Field(default=16, ge=1, le=1000)
    timeout_s: float = Field(default=75, gt=0, allow_inf_nan=False, strict=False)
    share: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    share_at: Literal["host", "ledger"] = "host"
    share_dir: Path | None = Field(default=None, strict=False)
    reserve: float = Field(default=0, ge=0, lt=1, allow_inf_nan=False, strict=False)

    @property
    def kept_per_s(self) -> float | None:
        """Return the rate that is kept: what `reserve` leaves of the limit; None: there is no limit."""
        return None if isinstance(self.rate_per_s, str) else self.rate_per_s * (1 - self.reserve)

    @model_validator(mode="after")
    def _can_be_shared(self) -> Self:
        if isinstance(self.rate_per_s, str) and (self.share is not None or self.reserve):
            raise ValueError("share and reserve need a rate: set rate_per_s to what the API key allows")
        return self

    @field_validator("rate_per_s")
    @classmethod
    def _is_positive(cls, rate: float | str) -> float | str:
        if not isinstance(rate, str) and not 0 < rate < 1e6:
            raise ValueError('must be above 0, or "unlimited"')
        return rate


class Retry(Section):
    """Retry budget of a row and of the run."""

    attempts: int = Field(default=8, ge=1)
    longest_delay_s: float = Field(default=60, gt=0, strict=False)
    give_up_after_s: float = Field(default=1800, ge=0, strict=False)


class Guards(Section):
    """Limits that stop a run before it does harm."""

    fields: tuple[str, ...] | None = Field(default=None, strict=False)
    max_changes: int | None = Field(default=None, ge=0)
    min_rows: int | str | None = None  # a number, or a share of the last complete run's rows
    max_invalid: int | str = "5%"
    max_failures: int | str = "2%"
    canary: int = Field(default=10, ge=0)
    watch: dict[str, list[str]] = Field(default={})
    taken_back: Literal["stop", "keep"] = "stop"
    drift: Literal["auto", "check", "off"] = "auto"
    approval: bool = False
    approval_valid_h: float = Field(default=72, gt=0, le=24 * 366, strict=False)
    allowed_signers: Path | None = Field(default=None, strict=False)  # as ssh-keygen reads it
    signer_patterns: bool = False

    _shares = field_validator("max_invalid", "max_failures")(_count_or_share)

    @field_validator("min_rows")
    @classmethod
    def _is_count_or_share(cls, value: int | str | None) -> int | str | None:
        return None if value is None else _count_or_share(value)

    @field_validator("watch")
    @classmethod
    def _watch_lists_values(cls, watch: dict[str, list[str]]) -> dict[str, list[str]]:
        if empty := [name for name, fine in watch.items() if not fine]:
            raise ValueError(f"lists no value for {empty[0]}: name the values that should be kept")
        return watch


class LedgerSettings(Section):
    """Where the ledger is kept, and who shares it."""

    kind: str = "sqlite"
    group: str | None = Field(default=None, min_length=1)
    shared_filesystem: Literal["I know"] | None = None

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return _usable("ledger", kind)


class EngineSettings(Section):
    """Which engine sends."""

    kind: str = "local"

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        return _usable("engine", kind)


class SandboxSection(Section):
    """The customers that a rehearsal starts with."""

    customers: Path | None = Field(default=None, strict=False)


class Job(Section):
    """A job file that has been checked. Paths are absolute."""

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")
    description: str = ""
    input: InputSettings
    baseline: BaselineSettings = Field(default_factory=lambda: _with_plugin(BaselineSettings, "baseline"))
    target: TargetSettings
    limits: Limits = Limits()
    retry: Retry = Retry()
    guards: Guards = Guards()
    ledger: LedgerSettings = Field(default_factory=lambda: _with_plugin(LedgerSettings, "ledger"))
    engine: EngineSettings = Field(default_factory=lambda: _with_plugin(EngineSettings, "engine"))
    sandbox: SandboxSection = SandboxSection()
    file: Path = Field(exclude=True, strict=False)  # the job file itself
    overrides: tuple[str, ...] = Field(default=(), exclude=True, repr=False)  # --set, as given; paths absolute
    sandbox_token: str | None = Field(default=None, exclude=True, repr=False)  # the target is a rehearsal server
    known_as: str = Field(default="", exclude=True, repr=False)  # the target's name in a ledger of an earlier version

    @field_validator(*GROUPS, mode="wrap")
    @classmethod
    def _is_checked_by_its_plugin(cls, table: Any, check: Any, info: ValidationInfo) -> Any:
        if not isinstance(table, dict):
            return check(table)
        core: type[Section] = PLUGIN_SECTIONS[str(info.field_name)]
        kind = table.get("kind", core.model_fields["kind"].default)
        try:
            model = section_of(core, str(info.field_name), kind if isinstance(kind, str) else "")
        except JobError:  # nobody knows which other keys it may have
            return check({key: value for key, value in table.items() if key in core.model_fields})
        return model.model_validate(table)

    @model_validator(mode="after")
    def _drift_needs_a_baseline(self) -> "Job":
        if self.guards.drift == "check" and not self.baseline.capabilities.compares:
            kind = self.baseline.kind
            raise ValueError(f'guards.drift = "check" compares with a baseline, and baseline.kind is "{kind}"')
        return self

    @model_validator(mode="after")
    def _shares_where_all_can_meet(self) -> "Job":
        if self.limits.share_at == "ledger" and self.ledger.kind == "sqlite":
            raise ValueError('limits.share_at = "ledger" needs a ledger that other hosts can reach; this one is a file')
        return self

    @property
    def target_name(self) -> str:
        """Name the target that runs belong to: kind, base URL and resource."""
        if self.known_as:
            return self.known_as
        where = "sandbox" if self.sandbox_token else self.target.base_url
        return " ".join(part for part in (self.target.kind, where, self.target.scope()) if part)

    @property
    def identity(self) -> str:
        """Hash the settings that a sealed plan depends on: [input], [baseline], guards.fields and guards.taken_back.

        What has its default is left out, so that a setting that a later version adds changes no identity. The input
        is known by its bytes, whatever its file is called, and its age is judged by a guard.
        """
        facts: dict[str, Any] = {
            "input": self.input.model_dump(mode="json", exclude_defaults=True, exclude={"path", "max_age_h"}),
            "baseline": self.baseline.model_dump(mode="json", exclude_defaults=True),
            **({"taken_back": "keep"} if self.guards.taken_back == "keep" else {}),
        }
        return self._hash_identity(facts)

    def is_same_as(self, identity: str) -> bool:
        """Tell whether a plan with this identity was made under these settings, also if version 0.1 made it."""
        if identity == self.identity:
            return True
        known = {"input": set(_INPUT_0_1), "baseline": set(_BASELINE_0_1)}
        facts = {
            "input": self.input.model_dump(mode="json", include=known["input"]),
            "baseline": {"path": None, **self.baseline.model_dump(mode="json", include=known["baseline"])},
        }
        newer = {
            "input": self.input.model_dump(exclude_defaults=True, exclude={*known["input"], "max_age_h"}),
            "baseline": self.baseline.model_dump(exclude_defaults=True, exclude=known["baseline"]),
        }
        facts["input"]["path"] = os.path.relpath(self.input.path, self.file.parent)
        return self.guards.taken_back == "stop" and not any(newer.values()) and identity == self._hash_identity(facts)

    def _hash_identity(self, facts: dict[str, Any]) -> str:
        facts = {**facts, "fields": sorted(self.guards.fields) if self.guards.fields is not None else None}
        for name, path in _paths_of(self.baseline):
            facts["baseline"][name] = os.path.relpath(path, self.file.parent)
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def named_paths(self) -> dict[str, Path]:
        """Return the files that the job names besides its input, by the names of their settings."""
        sections: dict[str, Section] = {
            **{group: getattr(self, group) for group in GROUPS},
            "sandbox": self.sandbox,
            "guards": self.guards,
        }
        return {
            f"{section}.{name}": path for section, settings in sections.items() for name, path in _paths_of(settings)
        }

    def at_sandbox(self, base_url: str, token: str) -> "Job":
        """Return the same job for a rehearsal server; the token of the job is then neither read nor needed."""
        local = {"base_url": base_url, "proxy": None, "proxy_auth": None, "ca_file": None}
        target = self.target.model_copy(update=local)
        return self.model_copy(update={"target": target, "sandbox_token": token})


PLUGIN_SECTIONS: dict[str, type[Section]] = {
    "baseline": BaselineSettings,
    "target": TargetSettings,
    "ledger": LedgerSettings,
    "engine": EngineSettings,
}


def _with_plugin(core: type[Settings], group: str) -> Settings:
    """Return a table that the job file leaves out: of its default kind, with that plug-in's defaults."""
    model = section_of(core, group, core.model_fields["kind"].default)
    return cast(Settings, model())


def _paths_of(settings: Section) -> list[tuple[str, Path]]:
    return [(name, value) for name, value in settings if isinstance(value, Path)]


# --- checks of single settings


def _usable(group: str, kind: str) -> str:
    try:
        plugins.check(group, kind)
    except JobError as error:
        raise ValueError(f"{error.message.partition(': ')[2]}; {error.hint}") from None
    return kind

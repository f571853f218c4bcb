"""SQLite's part of `[ledger]`."""

from pydantic import Field, field_validator

from bulk_patch.job.section import Section


class SqliteSettings(Section):
    """What `[ledger]` may hold besides what every ledger takes."""

    url: str | None = Field(default=None, repr=False)

    @field_validator("url")
    @classmethod
    def _comes_later(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("is not built yet; leave it out")
        return value

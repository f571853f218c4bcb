"""The reference of settings as plain text. Pure, like `screens`."""

from collections.abc import Mapping, Sequence

from bulk_patch.cli.text import join, wrap
from bulk_patch.job.reference import Setting


def settings_screen(settings: Sequence[Setting], titles: Mapping[str, str]) -> str:
    """Return a reference of settings, each table under its header.

    Args:
        settings: In the order in which they are shown; those of one table stand together.
        titles: What each table is about, by its name.
    """
    lines: list[str] = []
    section = None
    for setting in settings:
        if setting.section != section:
            section = setting.section
            lines += [""] if lines else []
            lines += wrap(f"{titles.get(section, '')}", f"[{section}]  ") if section else ["The job"]
        lines += ["", f"  {setting.name}"]
        lines += wrap(f"{_plain(setting.kind)}; {_default(setting)}", "      ")
        lines += wrap(_plain(setting.meaning), "      ")
        lines += wrap(f"example: {setting.example}", "      ") if setting.example else []
    return join(lines)


def _default(setting: Setting) -> str:
    return "required" if setting.default == "required" else f"default {setting.default}"


def _plain(text: str) -> str:
    """Take away the backticks that a page for people has."""
    return text.replace("`", "")

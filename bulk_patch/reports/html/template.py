"""The template of report.html: every text in it is escaped and visible, and only its own script runs.

The policy allows the style and the script that are put into the page, by their hashes.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulk_patch.reports.html.rows import visible

if TYPE_CHECKING:
    from jinja2 import Template

_FOLDER = Path(__file__).parent / "templates"


@cache  # compiling takes longer than rendering
def template() -> "Template":
    """Return the page's template, in which every text is escaped and shows what would be invisible."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only needed to write a page
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2")


def style_and_script() -> tuple[str, str]:
    """Return the CSS and JavaScript of the page."""
    css, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return css, script


def policy(css: str, script: str) -> str:
    """Return a content security policy that allows only this style and this script."""
    style, code = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (css, script))
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{code}'; "
        "base-uri 'none'; form-action 'none'"
    )

"""The pages for users, README.md and .github/*.md, as tests read them: their code blocks, tables and links."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
EVENING = ROOT / ".github" / "EVENING.md"
PROOF = ROOT / ".github" / "PROOF.md"
SETTINGS = ROOT / ".github" / "SETTINGS.md"
PAGES = (README, ROOT / "CHANGELOG.md", ROOT / "output" / "README.md", *sorted((ROOT / ".github").glob("*.md")))

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def code_blocks(page: Path, language: str, *, heading: str = "") -> list[str]:
    """Return the code blocks of a page in one language, in their order.

    Args:
        page: A Markdown file.
        language: What stands after the three backticks.
        heading: Only blocks of the section with this heading; "": of the whole page.
    """
    text = page.read_text(encoding="utf-8")
    if heading:
        _, _, text = text.partition(f"\n## {heading}\n")
        text = text.partition("\n## ")[0]
    return [code for named, code in _BLOCK.findall(text) if named == language]


def table_rows(page: Path) -> list[list[str]]:
    """Return the cells of every table row of a page that begins with a name in backticks."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def links(page: Path) -> list[str]:
    """Return the targets of a page's relative links and pictures."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    return [target for target in found if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Return the anchors that a forge gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}

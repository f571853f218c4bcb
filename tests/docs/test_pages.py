"""What the pages for users say about settings, fields, commands and links is what there is."""

import datetime as dt
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import bulk_patch
from bulk_patch.cli import main
from bulk_patch.job.reference import list_settings
from bulk_patch.targets.synctera.fields import synctera_fields
from tests.support.pages import PAGES, PROOF, README, ROOT, SETTINGS, anchors, code_blocks, links, table_rows

ADDRESS_JOB = ROOT / "jobs" / "address_corrections.toml"


def quoted(text: str) -> str:
    return text if text in ("required", "none", "") else f"`{text}`"


def read_settings() -> list[list[str]]:
    return [row for row in table_rows(SETTINGS) if len(row) == 5]


def typed_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the words of each command in the pages' shell blocks and tables, with the page."""
    for page in PAGES:
        blocks = "".join(code_blocks(page, "sh")).replace("\\\n", " ")
        inline = "\n".join(re.findall(r"`((?:bulk-patch|python -m) [^`]+)`", page.read_text(encoding="utf-8")))
        for line in f"{blocks}\n{inline}".splitlines():
            words = shlex.split(re.sub(r"\[\w+\]", "X", line), comments=True)
            for start in ("bulk-patch", ".venv/bin/bulk-patch", "python"):
                if start in words:
                    ends = [words.index(word) for word in words if word in ("&", "||", "&&", ">") or word[-1] == ";"]
                    at = words.index(start)
                    yield page.name, words[at : min((end for end in ends if end > at), default=len(words))]


def test_the_readme_is_read_in_a_minute() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 220


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_setting_has_its_line_as_the_command_settings_says_it() -> None:
    expected = [
        f"| `{setting.name}` | {setting.kind} | {quoted(setting.default)} | {setting.meaning} "
        f"| {quoted(setting.example)} |".replace("|  |", "| |")
        for setting in list_settings()
    ]
    lines = SETTINGS.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `") and line.count(" | ") > 2] == expected


def test_every_setting_has_a_meaning_and_an_example_and_the_examples_make_a_job(tmp_path: Path) -> None:
    lines: list[str] = []
    for name, kind, _, meaning, example in read_settings():
        section, _, key = name.strip("`").rpartition(".")
        assert kind
        assert meaning
        assert example or "Not built yet" in meaning
        if example:
            assert example.strip("`").startswith(f"{key} = ")
            header = f"[{section}]"
            lines += [header] if section and header not in lines else []
            lines.append(example.strip("`"))
    file = tmp_path / "every_setting.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert bulk_patch.load_job(file).name == "address-corrections"


def test_every_field_of_the_api_has_its_line() -> None:
    fields = {field.name for name in ("customers", "persons") for field in synctera_fields(name, dt.date(2026, 1, 1))}
    listed = [row[0].strip("`") for row in table_rows(SETTINGS) if len(row) == 2]
    shipping = {name.replace("legal", "shipping") for name in listed if name.startswith("legal_address.")}
    assert {*listed, *shipping} == fields
    assert len(set(listed)) == len(listed)


def test_the_readmes_job_is_one(tmp_path: Path) -> None:
    (block,) = code_blocks(README, "toml")
    file = tmp_path / "first_job.toml"
    file.write_text(block, encoding="utf-8")
    job = bulk_patch.load_job(file)
    assert job.name == "first-job"
    assert job.target.base_url == "https://api-sandbox.synctera.com/v0"


@pytest.mark.skipif("RunOptions" not in bulk_patch.__all__, reason="RunOptions is not public here yet")
def test_the_readmes_python_uses_public_names_only() -> None:
    (block,) = code_blocks(README, "python")
    compile(block, "README.md", "exec")
    (names,) = re.findall(r"^from bulk_patch import (.+)$", block, re.MULTILINE)
    assert set(names.split(", ")) <= set(bulk_patch.__all__)


def test_the_readme_counts_the_trials_that_the_proof_lists() -> None:
    text = PROOF.read_text(encoding="utf-8")
    trials = re.findall(r"^\| [\w-]+ \| ([\d,]+) \| 0 \|", text, re.MULTILINE)
    assert len(trials) == 13
    total = f"{sum(int(number.replace(',', '')) for number in trials):,} trials"
    assert total in README.read_text(encoding="utf-8")
    assert total in text
    assert "| kills | 1,106 |" in text


def test_the_pages_name_every_command() -> None:
    listed = {words[1] for page, words in typed_commands() if page == "README.md" and words[0] == "bulk-patch"}
    assert listed >= set(main.list_commands(click.Context(main)))


@pytest.mark.parametrize(("page", "words"), sorted(typed_commands()), ids=lambda value: " ".join(value)[:60])
def test_a_command_of_the_pages_is_known_with_all_its_flags(page: str, words: list[str]) -> None:
    flags = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
    if words[0] == "python":
        spec = importlib.util.find_spec(words[2])
        assert spec is not None, page
        source = Path(str(spec.origin)).parent / "__main__.py" if spec.submodule_search_locations else spec.origin
        text = Path(str(source)).read_text(encoding="utf-8")
        assert [flag for flag in flags - {"-m"} if f'"{flag}"' not in text] == []
        return
    if words[1].startswith("-"):
        assert words[1:] == ["--version"]
        return
    context = click.Context(main)
    command = main.get_command(context, words[1])
    assert command is not None, page
    known = {name for option in command.get_params(context) for name in (*option.opts, *option.secondary_opts)}
    assert flags <= known, page

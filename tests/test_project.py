"""Rules about the project itself: layout, sizes, public names, light imports, pins, documented commands."""

import ast
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

import bulk_patch
from bulk_patch.job.meanings import KINDS, MEANINGS
from bulk_patch.job.reference import list_settings
from tests.conftest import MARKERS

ROOT = Path(__file__).resolve().parent.parent

ALLOWED_AT_THE_TOP = {
    *("bulk_patch", "jobs", "output", "sample_inputs", "tests"),
    *("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"),
    *(".ci", ".github", ".gitignore", ".pre-commit-config.yaml"),
}
# What git, installing, testing, building and editors leave behind; .gitignore keeps it out of commits.
LEFT_BY_TOOLS = (
    *(".git", ".venv", ".env", ".idea", ".vscode", ".DS_Store", ".hypothesis", ".*_cache", "__pycache__"),
    *(".coverage*", "coverage.xml", "htmlcov", "build", "dist", "*.egg-info"),
)

# Names of earlier layouts, by .github/DECISIONS.md and the issue that re-laid the package. Some of them live on as a
# field's term in a folder that says what they are about (`baselines/index`, `observe/timeline`).
GONE_MODULES = {
    *("house", "begin", "decide", "order", "drive", "tally", "ahead", "alike", "heap", "texts", "find", "lookup"),
    *("taken_back", "reverse", "connect", "actor", "series", "stats", "layout", "private_files", "pace", "wire"),
    *("deadlines", "page_events", "page_rows", "page_template", "page_plots", "live_pages", "flags", "registry"),
}
GONE_FROM_THE_TOP = {"page", "source", "send", "read", "run", "undo", "verify", "report", "approve", "commands"}
GONE_CLASSES = {
    *("House", "Order", "Watcher", "Driver", "Tally", "Pace", "Wire", "Lookup", "Whole", "Seen", "Picture", "View"),
    *("Before", "Place", "Act", "First", "Halt", "Closed", "Lost", "Ended", "Way", "Facts", "_Story", "Deadlines"),
}

HEAVY = {"aiohttp", "numpy", "pandas", "pyarrow"}

FIRST_RUN = (
    "python3 -m venv .venv && .venv/bin/pip install -q -e . && "
    ".venv/bin/bulk-patch run jobs/address_corrections.toml --sandbox --yes"
)
TEST_RUN = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest"


def definitions(tree: ast.AST) -> set[str]:
    """Return the names of the functions, classes and constants of a module and of its classes, not local ones."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            names |= {node.name} | definitions(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def list_imports(program: str) -> tuple[str, set[str]]:
    """Run a program in a new Python; return what it printed and the names of all modules it imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.stdout, {line.rpartition("|")[2].strip() for line in lines}


def read_requirements(*lists: list[str]) -> set[str]:
    """Return the normalised names of the packages that these requirements name."""
    found = (re.match(r"[\w.-]+", requirement) for each in lists for requirement in each)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def test_the_top_holds_only_what_the_architecture_names() -> None:
    names = {path.name for path in ROOT.iterdir()}
    ours = {name for name in names if not any(fnmatch(name, pattern) for pattern in LEFT_BY_TOOLS)}
    assert ours <= ALLOWED_AT_THE_TOP


def test_no_file_of_the_package_is_over_400_lines() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "bulk_patch").rglob("*.py")
    }
    assert "bulk_patch/errors.py" in lengths
    assert {name: length for name, length in lengths.items() if length > 400} == {}


#: What is above the sizes on purpose, and why.
LARGE = {
    "Target": "the contract of a target: one flat list of pure answers, which no caller takes apart",
    "Synctera": "a Target and the Dialect of its answers",
    "Sandbox": "another program: its parameters are the options of its command line, each with a default",
}


def test_no_class_has_more_than_12_public_methods_and_no_constructor_more_than_6_parameters() -> None:
    large: dict[str, int] = {}
    seen: set[str] = set()
    for path in (ROOT / "bulk_patch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                seen.add(node.name)
                methods = [one for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))]
                public = {one.name for one in methods if one.name[0] != "_" and not is_attribute(one)}
                made = max((len(parameters(one)) for one in methods if one.name == "__init__"), default=0)
                if len(public) > 12 or made > 6:
                    large[node.name] = max(len(public), made)
    assert {"OpenJob", "Ledger", "RateLimiter"} <= seen
    assert large.keys() == LARGE.keys(), large


def test_no_function_has_more_than_7_parameters() -> None:
    counts: dict[str, int] = {}
    for path in (ROOT / "bulk_patch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name != "__init__":
                counts[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = len(parameters(node))
    assert max(counts.values()) > 3
    assert {name: count for name, count in counts.items() if count > 7} == {}


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of a function's parameters, without the object or class that it is called on."""
    of = function.args
    return [one.arg for one in (*of.posonlyargs, *of.args, *of.kwonlyargs) if one.arg not in ("self", "cls")]


def is_attribute(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a method is read like an attribute."""
    return any(isinstance(one, ast.Name) and one.id == "property" for one in function.decorator_list)


def test_at_most_26_names_stand_directly_in_the_package() -> None:
    names = {path.name for path in (ROOT / "bulk_patch").iterdir()} - {"__pycache__"}
    assert "errors.py" in names
    assert len(names) <= 26, sorted(names)


def test_the_names_that_went_are_gone() -> None:
    files = list((ROOT / "bulk_patch").rglob("*.py"))
    modules = {path.parent.name if path.stem == "__init__" else path.stem for path in files}
    at_the_top = {path.stem for path in (ROOT / "bulk_patch").iterdir()}
    assert at_the_top & GONE_FROM_THE_TOP == set()
    assert modules & GONE_MODULES == set()
    ours = [path for path in files if "sandbox" not in path.parts]  # another program, which says its own names
    found = {name for path in ours for name in definitions(ast.parse(path.read_text(encoding="utf-8")))}
    assert "OpenJob" in found
    assert found & GONE_CLASSES == set()


def test_help_loads_nothing_heavy() -> None:
    # As the installed script does it, so that the test needs no script on the path.
    start = "import sys; from bulk_patch.cli import main; sys.argv = ['bulk-patch', '--help']; sys.exit(main())"
    help_text, imported = list_imports(start)
    assert "Usage:" in help_text
    assert "bulk_patch.cli" in imported
    assert {name.partition(".")[0] for name in imported} & HEAVY == set()


def test_importing_the_package_loads_none_of_its_modules() -> None:
    _, imported = list_imports("import bulk_patch")
    assert {name for name in imported if name.startswith("bulk_patch")} == {"bulk_patch"}


def test_every_setting_has_its_meaning_in_job_meanings_and_no_other_has() -> None:
    names = {setting.name for setting in list_settings()}
    assert names == set(MEANINGS), (
        "say what it means in bulk_patch/job/meanings.py, in the words of .github/SETTINGS.md"
    )
    assert set(KINDS) <= names
    assert {name for name, (meaning, _) in MEANINGS.items() if not meaning or meaning.endswith(".")} == set()


@pytest.mark.parametrize("name", bulk_patch.__all__)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(bulk_patch, name) is not None


def test_no_public_name_is_a_modules_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(bulk_patch.__path__)}
    assert "errors" in modules
    assert modules.isdisjoint(bulk_patch.__all__)


def test_the_package_gives_its_types_to_its_users() -> None:
    assert (ROOT / "bulk_patch" / "py.typed").is_file()


@pytest.mark.parametrize("command", [FIRST_RUN, TEST_RUN], ids=["run", "test"])
@pytest.mark.parametrize("file", ["README.md", ".ci/run"])
def test_the_documented_command_is_the_one_that_ci_runs(file: str, command: str) -> None:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert any(command in line for line in lines)


def test_every_dependency_is_pinned_for_ci_by_name_and_version_only() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8")
    pins = [line for line in text.splitlines() if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    needed = read_requirements(project["dependencies"], *project["optional-dependencies"].values())
    assert needed - read_requirements(pins) == set()


def test_the_lock_of_the_releases_holds_what_ci_has_tested_and_hashes_of_all_of_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
    text = (ROOT / ".ci" / "lock" / "runtime.txt").read_text(encoding="utf-8")
    entries = re.findall(r"^([\w.-]+==[\w.]+)(.*(?:\n {4}--hash=sha256:[0-9a-f]{64}.*)+)$", text, re.MULTILINE)
    locked = {name for name, _ in entries}
    assert len(locked) == len(re.findall(r"^\w", text, re.MULTILINE))
    assert read_requirements(project["dependencies"]) <= read_requirements(sorted(locked))
    assert {name for name, rest in entries if "sys_platform == 'win32'" not in rest} <= set(pins)


@pytest.mark.parametrize("workflow", sorted(path.name for path in (ROOT / ".github" / "workflows").iterdir()))
def test_an_action_is_pinned_by_its_commit_with_the_version_beside_it(workflow: str) -> None:
    text = (ROOT / ".github" / "workflows" / workflow).read_text(encoding="utf-8")
    actions = [line for line in text.splitlines() if re.match(r"\s*-?\s*uses:", line)]
    assert actions
    pinned = re.compile(r"\s*(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in actions if not pinned.fullmatch(line)] == []


def test_the_extra_of_the_test_command_has_nothing_of_the_large_ones() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for_users = {"excel", "contact"}
    assert set(extras) == {"test", *for_users, *MARKERS}
    assert read_requirements(*(extras[name] for name in for_users)) <= read_requirements(extras["test"])
    large = read_requirements(*(extras[name] for name in ("browser", "bench", "dev")))
    assert {"playwright", "polars", "mypy"} <= large
    assert read_requirements(extras["test"]).isdisjoint(large)


def test_what_the_test_command_leaves_out_is_played_by_ci() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert {marker.partition(":")[0] for marker in options["markers"]} == set(MARKERS)
    assert f"-m={' and '.join(f'not {name}' for name in MARKERS)}" in options["addopts"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f'markers="{" or ".join(MARKERS)}"' in ci
    assert f'extras=".[{",".join(("test", *MARKERS))}]"' in ci
    assert '.venv/bin/pip install -q -e "$extras"' in ci
    assert '.venv/bin/pytest --durations=20 -m "$markers"' in ci


def test_ci_runs_on_each_python_that_is_supported() -> None:
    ci = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert 'python: ["3.11", "3.12", "3.13"]' in ci
    assert "bash .ci/run python${{ matrix.python }}" in ci


def test_ci_can_be_started_as_a_program() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)

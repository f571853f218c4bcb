"""The chaos tiers can fail: planted bugs are caught, survivors are told, and nothing that is promised is left unmet."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bulk_patch.model import MOVES
from tests.chaos import sightings
from tests.chaos.mishaps import MISHAPS
from tests.chaos.mutants import MUTANTS, TIERS
from tests.chaos.predictions import COUNTS, PREDICTIONS

pytestmark = pytest.mark.chaos  # they are about the chaos tiers, not about the product

ROOT = Path(__file__).resolve().parents[2]

_WITH_OWN_MUTANT = """
import sys
from pathlib import Path
from bulk_patch.targets.synctera.target import Synctera
from tests.chaos import golden, mutants
from tests.chaos.crew import Form
from tests.chaos.mutant import Mutant, change_rule

mutants.MUTANTS["harmless"] = Mutant("harmless", lambda: None, ["golden"])
mutants.MUTANTS["harmful"] = Mutant("harmful", lambda: change_rule("throttled", doubt=False), ["golden"])
if sys.argv[1] == "accused":
    golden.find_differences = lambda: iter(["something"])
form = Form(long=False, seed=1, workers=1, kept=Path(sys.argv[2]))
print(*mutants.play(form, "harmless" if sys.argv[1] == "harmless" else "harmful").violations, sep="\\n")
"""


def told(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, since the tiers fork."""
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_there_are_25_mutants_or_more_and_a_tier_for_each_of_their_trials() -> None:
    assert len(MUTANTS) >= 25
    assert {trial.partition("/")[0] for mutant in MUTANTS.values() for trial in mutant.trials} <= TIERS.keys()
    assert all(mutant.trials for mutant in MUTANTS.values())


def test_a_mutant_is_caught_and_the_table_says_so(tmp_path: Path) -> None:
    tier = ["-m", "tests.chaos", "--short", "--tier", "mutants", "--keep", str(tmp_path)]
    played = told(*tier, "--trial", "a 4xx after an ambiguous attempt is taken for a refusal")
    assert played.returncode == 0, played.stdout + played.stderr
    assert played.stdout.splitlines()[1].endswith("1 of 1 caught")


def test_a_mutant_that_no_trial_notices_has_survived(tmp_path: Path) -> None:
    played = told("-c", _WITH_OWN_MUTANT, "harmless", str(tmp_path))
    assert played.stdout.strip() == "mutant survived: harmless; golden did not catch it", played.stderr


def test_a_trial_that_accuses_the_product_too_has_caught_nothing(tmp_path: Path) -> None:
    assert told("-c", _WITH_OWN_MUTANT, "harmful", str(tmp_path)).stdout.strip() == ""
    assert "golden accuses the product too" in told("-c", _WITH_OWN_MUTANT, "accused", str(tmp_path)).stdout


def test_every_legal_move_and_every_line_of_the_mishaps_has_to_be_met() -> None:
    assert set(sightings.MOVES) == {f"{before} -> {after}" for before, after in MOVES}
    assert {name.partition(":")[0] for name in MISHAPS} <= set(sightings.FAULTS)


def test_every_mishap_has_its_prediction_for_each_count() -> None:
    assert PREDICTIONS.keys() == MISHAPS.keys()
    assert all(cells.keys() == COUNTS.keys() for cells in PREDICTIONS.values())


def test_what_was_met_too_rarely_is_named() -> None:
    often = dict.fromkeys(sightings.EXPECTED, sightings.OFTEN_ENOUGH)
    assert sightings.missing(Counter(often)) == []
    assert sightings.missing(Counter(often | {"move rejected -> sending": 9})) == ["move rejected -> sending: 9"]

"""Tier `stateful`: hypothesis strings commands, faults, kills, days, edits and new inputs together; all is looked at.

The API is a real sandbox in a process of its own, and so is every command. After each of them: no false word in the
ledger, one key at most had an effect, the key law, the counts, and an exit code that the ledger bears out. In the end
the faults stop, and the job has to come to its end.
"""

import csv
import json
import mmap
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from bulk_patch.sandbox import Fault, Seen
from tests.chaos import check_ledger, check_reports, check_rows, check_traffic
from tests.chaos.crew import Findings, Form, keep, make_folder, play_all
from tests.chaos.evidence import Edit, Evidence, Line, Run, Span, Story, load, load_span
from tests.chaos.kills import COFFEE_S, DAY_S, KINDS, next_command
from tests.chaos.mishaps import Background
from tests.chaos.scene import COLUMNS, JOB, NEW_TOKEN, TOKEN, Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.stage import Mischief, Stage
from tests.chaos.violation import Violation
from tests.support.private import write_private

EXAMPLES = 10  # of one trial
STEPS = 30
ROWS = 6
TRIES = 8
LEVELS = (0.0, 0.3, 0.9)  # how many customers have bad luck
REACHED = frozenset({"applied", "unchanged", "duplicate"})

#: What must hold after each step, whatever was done.
CHECKS: Sequence[Callable[[Evidence], Iterator[Violation]]] = (
    check_traffic.check_plan,
    check_traffic.check_keys,
    check_traffic.check_settling,
    check_rows.check_words,
    check_rows.check_intents,
    check_ledger.check_seal,
    check_ledger.check_balance,
    check_ledger.check_moves,
)
#: What can only be told when the API has ended.
LAST_CHECKS = (check_traffic.check_log, check_reports.check_final_state)
LOOKED_THROUGH = 5  # processes whose files are searched for values: it takes longer than all the rest


def run(form: Form) -> Findings:
    """Play examples, ten to a trial; in the short form as many steps, and a few examples."""
    trials = [f"stateful/{number}" for number in range(form.amount(short=3, long=12))]
    return play_all(form, "stateful", trials, play)


def play(form: Form, trial: str) -> Findings:
    """Let hypothesis draw the examples of one trial; the first that goes wrong is the last."""
    found = Findings()

    class Example(Machine):
        name, findings, how = trial, found, form

    quiet = settings(
        max_examples=form.amount(short=5, long=EXAMPLES),
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[
            Phase.generate
        ],  # processes are not repeatable to the millisecond: a story tells more than a shrunk one
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    try:
        run_state_machine_as_test(seed(f"{form.seed}/{trial}")(Example), settings=quiet)
    except Exception as error:
        if not found.violations:
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
    return found


class Dial(Mischief):
    """Faults at a level that the trial sets while the API runs; both processes see one byte of memory."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self._byte = mmap.mmap(-1, 1)
        self._levels = [Background(seed, share) for share in LEVELS]

    def set(self, level: int) -> None:
        """Set the level from now on."""
        self._byte[0] = level

    def choose(self, seen: Seen) -> Fault | None:
        """Return the fault of one request at the present level."""
        return self._levels[self._byte[0]].choose(seen)


class Machine(RuleBasedStateMachine):
    """A job, its world, and what people, machines and days do to them."""

    name: str
    findings: Findings
    how: Form

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []
        self.spans: list[Span] = []
        self.stage: Stage | None = None

    # --- what may happen

    @initialize(
        draws=st.integers(0, 2**32),
        baseline=st.sampled_from(["live", "live", "file", "none"]),
        concurrency=st.sampled_from([1, 4]),
        canary=st.sampled_from([0, 0, 2]),
        drift=st.sampled_from(["auto", "auto", "check"]),
    )
    def begin(self, draws: int, baseline: str, concurrency: int, canary: int, drift: str) -> None:
        """Set the scene."""
        dice = random.Random(draws)
        chosen = Settings(
            baseline=baseline,
            drift="auto" if baseline == "none" else drift,
            rate_per_s=1000.0,
            concurrency=concurrency,
            canary=canary,
            attempts=3,
            timeout_s=0.3,
            longest_delay_s=0.01,
            give_up_after_s=0.5,
        )
        scene = draw(dice, rows=ROWS, settings=chosen, kinds=KINDS)
        self.rows = [dict(row) for row in scene.rows]
        self.dial = Dial(str(draws))
        self.stage = Stage.set_up(make_folder(), scene, self.dial, dice)
        self.story.append(f"begin {chosen}")

    @rule(level=st.sampled_from(range(len(LEVELS))))
    def faults(self, level: int) -> None:
        """Let more or fewer requests go wrong from now on."""
        self.story.append(f"faults {LEVELS[level]}")
        self.dial.set(level)

    @rule(command=st.sampled_from(["run", "continue", "plan", "retry", "new"]))
    def command(self, command: str) -> None:
        """Run the job, continue after a stop, plan without sending, retry what was refused, or start again."""
        self.do(command)

    @rule(requests=st.integers(0, ROWS), more_ms=st.integers(0, 4), command=st.sampled_from(["run", "continue", "new"]))
    def kill(self, requests: int, more_ms: int, command: str) -> None:
        """Kill a process as it sends."""
        self.do(command, kill_after_requests=requests, kill_after_s=more_ms / 1000)

    @rule(milliseconds=st.integers(0, 60), command=st.sampled_from(["plan", "run", "continue", "retry", "new"]))
    def kill_early(self, milliseconds: int, command: str) -> None:
        """Kill a process as it opens, recovers or plans."""
        self.do(command, kill_after_s=milliseconds / 1000)

    @rule()
    def a_night_passes(self) -> None:
        """Let half a day pass for all; the simplest step, of which hypothesis makes its first example."""
        self._pass_days(0.5)

    @rule(days=st.sampled_from([5.5, 6.5, 8.0]))
    def days_pass(self, days: float) -> None:
        """Let about as many days pass as the API keeps a key."""
        self._pass_days(days)

    def _pass_days(self, days: float) -> None:
        self.story.append(f"{days} days pass")
        self._on_stage.move_clocks(days * DAY_S)

    @rule(at=st.integers(0, ROWS - 1), field=st.sampled_from(["first_name", "legal_address", "email"]))
    def edit(self, at: int, field: str) -> None:
        """Let someone else change a customer."""
        customer_id = self.rows[at]["customer_id"]
        self.story.append(f"someone edits {field} of {customer_id}")
        address = {"address_line_1": "Edited 1", "city": "Edited", "country_code": "US"}
        value: Any = {"first_name": "Edited", "email": "edited@example.com", "legal_address": address}[field]
        self._on_stage.edit(customer_id, {field: value})

    @rule(known=st.booleans())
    def rotate_token(self, known: bool) -> None:
        """Let the token expire; the file has the new one, or will have it only after the next command."""
        stage = self._on_stage
        token = NEW_TOKEN if self.token == TOKEN else TOKEN
        self.story.append(f"the token expires, and the new one is {'there' if known else 'late'}")
        stage.api.tell("token", token=token)
        self.token = token
        if known:
            write_private(stage.folder / "token", token)

    @rule(at=st.integers(0, ROWS - 1), word=st.integers(0, 5))
    def change_input(self, at: int, word: int) -> None:
        """Let the input say something else."""
        self.story.append(f"row {at + 1} of the input changes")
        self.rows[at]["first"] = f"{self._on_stage.scene.markers[0]} {word}"
        with (self._on_stage.folder / "input.csv").open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(COLUMNS), restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    # --- what must hold

    token = TOKEN

    @property
    def _on_stage(self) -> Stage:
        assert self.stage is not None  # begun
        return self.stage

    def do(self, command: str, **how: Any) -> int | None:
        """Let a process do a command, and check all that it leaves."""
        stage = self._on_stage
        code = stage.play(command, **how)
        told = stage.notebook.spans[-1]
        self.spans.append(load_span(stage.folder, len(self.spans), JOB, **told))
        self.story.append(f"{command} {how or ''}: {'killed' if code is None else code}")
        write_private(stage.folder / "token", self.token)
        evidence = self._evidence()
        found = [str(violation) for one in CHECKS for violation in one(evidence)]
        self._fail_for([*found, *stage.overdue, *find_lies(evidence, self.spans[-1])])
        return code

    def _evidence(self) -> Evidence:
        """Return what there is up to now; the API's own state is left alone while it runs."""
        stage = self._on_stage
        seeded = json.loads((stage.folder / "world" / "seeded.json").read_text())
        story = stage.scene.story() | {
            "token": TOKEN,
            "slack_s": 0.5,
            "settled": False,
            "steady_clock": stage.steady_clock,
            "seeded": seeded,
            "edits": [Edit(**edit) for edit in stage.notebook.edits],
        }
        lines = (stage.folder / "world" / "requests.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
        return Evidence(
            folder=stage.folder,
            story=Story(**story),
            spans=self.spans,
            log=[Line(**json.loads(line)) for line in lines],
            raw_log=[],
            stored_log=[],
            customers={},
            executions={},
            header=list(COLUMNS),
            cells=[[row.get(column, "") for column in COLUMNS] for row in self.rows],
        )

    def teardown(self) -> None:
        """End the faults, let the job come to its end, and check everything once more."""
        if self.stage is None:
            return
        folder = self.stage.folder
        try:
            self._come_to_the_end(self.stage)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _come_to_the_end(self, stage: Stage) -> None:
        stage.api.tell("over")
        code, command = None, "run"
        for _ in range(TRIES):
            if code == 4 and not stage.steady_clock:
                stage.move_clocks(COFFEE_S)
            code = self.do(command)
            is_left = any(map(_is_open, _runs_of(self.spans[-1])))
            if code in (0, 3) or (code == 9 and not is_left):
                break
            # Another input, and no live baseline: the old run is not gone on with, only closed.
            command = "new" if code == 9 else next_command(code)
        stage.close(settled=False)
        evidence = load(stage.folder)
        last = replace(evidence, spans=evidence.spans[-LOOKED_THROUGH:])
        found = [str(violation) for one in LAST_CHECKS for violation in one(evidence)]
        found += [str(violation) for violation in check_reports.check_secrets(last)]
        found += find_unsettled(evidence.spans[-1], code)
        self.findings.trials += 1
        self.findings.sightings += sight(evidence)
        self._fail_for(found)

    def _fail_for(self, found: Sequence[str]) -> None:
        if not found:
            return
        stage = self._on_stage
        (stage.folder / "steps.txt").write_text("\n".join(self.story))
        if (stage.folder / "story.json").exists() is False:
            stage.close(settled=False)
        self.stage = None
        self.findings.trials += 1
        self.findings.violations += keep(self.how, self.name, stage.folder, [f"{found[0]} after {self.story[-1]}"])
        raise AssertionError(found[0])


# --- exit codes


def find_lies(evidence: Evidence, span: Span) -> Iterator[str]:
    """Say where a process's exit code is not what its ledger and its requests bear out."""
    if span.was_killed:
        return
    lines = [line for line in evidence.log if line.t >= evidence.begin_of(span)]
    patches = [line for line in lines if line.method == "PATCH"]
    runs = _runs_of(span)
    newest = max(runs, key=lambda run: int(run.facts["number"]), default=None)
    ended_another_first = "planning run=" in span.said.partition("going_on run=")[2]
    code, where = span.exit_code, f"process {span.number}, {span.command}, ended with {span.exit_code}"
    wrong: Mapping[str, bool] = {
        "a bug or a broken ledger": code in (1, 7, 8),
        "the plan sent something": span.command == "plan" and bool(patches),
        "it was refused, and sent something": code in (2, 9) and bool(patches) and not ended_another_first,
        "nothing is planned": code in (0, 3) and newest is None,
        "rows are open": code in (0, 3) and span.command != "plan" and newest is not None and _is_open(newest),
        "not all is reached": code == 0 and span.command != "plan" and newest is not None and not _is_reached(newest),
        "all is reached": code == 3 and all(map(_is_reached, runs)),
        "nothing is open": code == 4 and not any(map(_is_open, runs)) and "error: " not in span.said,
        "nothing stopped it": code == 5 and not any(run.facts["stopped_by"] for run in runs),
    }
    yield from (f"[exit] {where}, and {what}" for what, is_so in wrong.items() if is_so)
    summary = span.summary
    if summary is not None and (told := next((run for run in runs if run.id == summary["run"]), None)) is not None:
        counts = {state: rows for state, rows in summary["counts"].items() if rows}
        if sum(counts.values()) != summary["input_rows"] or counts != _counts(told):
            yield f"[summary] {where}: {counts} told, {_counts(told)} there"


def _runs_of(span: Span) -> Sequence[Run]:
    return list(span.copy.runs.values()) if span.copy is not None else []


def _is_open(run: Run) -> bool:
    rows = run.rows.values()
    is_closed = run.facts["state"] == "closed"
    return any(record["lane"] is not None and (record["requested"] or not is_closed) for record in rows)


def _is_reached(run: Run) -> bool:
    return all(record["state"] in REACHED for record in run.rows.values())


def _counts(run: Run) -> dict[str, int]:
    counts: dict[str, int] = {"unchanged": run.facts["unchanged"]} if run.facts["unchanged"] else {}
    for record in run.rows.values():
        state = "unknown" if record["state"] == "sending" else record["state"]
        counts[state] = counts.get(state, 0) + 1
    return counts


def find_unsettled(span: Span, code: int | None) -> Iterator[str]:
    """Say what has not come to its end though nothing went wrong any more."""
    if code not in (0, 3, 9):
        yield f"[settled] without faults the job ends with {code}"
    for run in _runs_of(span):
        if (
            _is_open(run) and run.facts["state"] != "closed"
        ):  # what --new closed in the midst of a retry, only retry sends
            yield f"[settled] run {run.id} is still open"

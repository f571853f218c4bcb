"""A job's nightly start as text: a cron line, a systemd unit with its timer, and a Kubernetes CronJob. Pure."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

#: Seconds between SIGTERM and SIGKILL: requests that are under way may take 75 s (limits.timeout_s) and are recorded.
STOP_S = 90

_CODES = """\
# What the exit codes ask for: 0 nothing. 3: complete, some rows need a person. 4, 8, 130, 143: run it again later.
# 1, 2, 5, 6, 7, 9: a person must look first; running it again changes nothing."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is started, and when.

    Attributes:
        name: The job's.
        program: The words that start bulk-patch, absolute.
        job_file: Absolute.
        output: The output/ folder, absolute; None: where the job file says.
        token_file: Absolute; "": the job's own reference is one that cron can follow.
        hour: 0 to 23.
        minute: 0 to 59.
        login: Who runs it.
        image: Of the container.
    """

    name: str
    program: tuple[str, ...]
    job_file: Path
    output: Path | None
    token_file: str
    hour: int
    minute: int
    login: str
    image: str

    @property
    def arguments(self) -> list[str]:
        """Return what follows the program."""
        words = ["run", str(self.job_file), "--yes", "--quiet", "--no-progress"]
        if self.output is not None:
            words += ["--output", str(self.output)]
        if self.token_file:
            words += ["--set", f"target.token=file:{self.token_file}"]
        return words

    @property
    def words(self) -> list[str]:
        """Return the whole command."""
        return [*self.program, *self.arguments]


def cron_lines(plan: Schedule) -> str:
    """Return a line for `crontab -e`: cron has no PATH to speak of, and ends the command at a bare percent sign."""
    line = shlex.join(plan.words).replace("%", "\\%")
    return f"{_CODES}\n# A good night prints nothing, so that cron sends no mail.\n{_token_lines(plan)}" + (
        f"{plan.minute} {plan.hour} * * *  {line}\n"
    )


def systemd_service(plan: Schedule) -> str:
    """Return the unit that runs the job once; after 4 and 8 it is started again, so its type cannot be `oneshot`."""
    command = " ".join(map(_systemd_word, plan.words))
    return f"""\
{_CODES}
{_token_lines(plan)}[Unit]
Description=bulk-patch {plan.name}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=6h
StartLimitBurst=4

[Service]
Type=exec
User={plan.login}
ExecStart={command}
SuccessExitStatus=143
RestartForceExitStatus=4 8
RestartSec=15min
TimeoutStopSec={STOP_S}
"""


def systemd_timer(plan: Schedule) -> str:
    """Return the timer of the unit; a night that the machine slept through is made up for."""
    return f"""\
[Unit]
Description=bulk-patch {plan.name}, every night

[Timer]
OnCalendar=*-*-* {plan.hour:02d}:{plan.minute:02d}:00
Persistent=true

[Install]
WantedBy=timers.target
"""


def kubernetes_cron_job(plan: Schedule) -> str:
    """Return a CronJob as JSON, which kubectl reads as it reads YAML.

    Job, input and output are in a volume of one node (the ledger must not be on a network file system), mounted where
    they are on this machine; the token is the key `token` of a secret.
    """
    name = f"bulk-patch-{plan.name}"
    root = str(plan.job_file.parent.parent if plan.job_file.parent.name == "jobs" else plan.job_file.parent)
    mounts = [{"name": "data", "mountPath": root}, {"name": "scratch", "mountPath": "/tmp"}]
    volumes: list[dict[str, object]] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": name}},
        {"name": "scratch", "emptyDir": {}},
    ]
    if plan.output is not None and not plan.output.is_relative_to(root):
        mounts.append({"name": "data", "mountPath": str(plan.output), "subPath": "output"})
    if plan.token_file:
        mounts.append({"name": "token", "mountPath": plan.token_file, "subPath": "token"})
        volumes.append({"name": "token", "secret": {"secretName": name, "defaultMode": 0o440}})
    container = {
        "name": "bulk-patch",
        "image": plan.image,
        "args": plan.arguments,
        "volumeMounts": mounts,
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": STOP_S,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001},
        "containers": [container],
        "volumes": volumes,
    }
    rules = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2, 3, 5, 6, 7, 9]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [8]}},
    ]
    job = {"backoffLimit": 3, "podFailurePolicy": {"rules": rules}, "template": {"spec": pod}}
    document = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {
            "schedule": f"{plan.minute} {plan.hour} * * *",
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": job},
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _token_lines(plan: Schedule) -> str:
    if not plan.token_file:
        return ""
    path = shlex.quote(plan.token_file)
    return f"# The token, in a file that only {plan.login} can read; write it into: install -m 600 /dev/null {path}\n"


def _systemd_word(word: str) -> str:
    """Return one word of ExecStart: in quotes where needed, and without a specifier or a variable in it."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if any(char in word for char in " \t'\";") or not word else word

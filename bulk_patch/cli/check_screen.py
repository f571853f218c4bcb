"""What `check` found, as plain text. Pure, like `screens`."""

from bulk_patch.cli.text import join, safe, wrap
from bulk_patch.words import amount, duration_words
from bulk_patch.workflows.check import Checkup, Finding
from bulk_patch.workflows.last_night import Night


def check_screen(found: Checkup, job_file: str) -> str:
    """Return each part of a job with what is wrong with it.

    Args:
        found: All findings.
        job_file: As it was typed.
    """
    lines = [f"check {safe(job_file)}"]
    if found.job is not None:
        lines += [f"  job     {safe(found.job.name)}", f"  target  {safe(found.job.target_name)}"]
    lines.append("")
    width = max(len(finding.part) for finding in found.findings)
    for finding in found.findings:
        lines += _finding_lines(finding, width)
    faults = len(found.faults)
    return join([*lines, "", amount(faults, "fault") if faults else "no faults"])


def _finding_lines(finding: Finding, width: int) -> list[str]:
    lead = f"  {{:<5}}  {finding.part:<{width}}  "
    if finding.fault is None:
        return wrap(finding.words, lead.format("ok" if finding.looked else "-"))
    lines = wrap(finding.fault.message, lead.format("wrong"))
    hint = finding.fault.hint
    return lines + (wrap(f"hint: {hint}", " " * len(lead.format(""))) if hint else [])


def night_screen(night: Night) -> str:
    """Return whether the last night was good, and else why not."""
    if night.problems:
        return join([line for problem in night.problems for line in wrap(problem, f"{safe(night.job)}: ")])
    ago = "" if night.age_s is None else f", {duration_words(night.age_s)} ago"
    return join([f"{safe(night.job)}: run {night.run} ended with 0{ago}"])


def nagios_line(state: str, name: str, problems: tuple[str, ...], *, age_s: float | None = None) -> str:
    """Return the one line of a Nagios plug-in.

    Args:
        state: OK, WARNING, CRITICAL or UNKNOWN.
        name: Of the job, or its file.
        problems: What is wrong; the character that begins the performance data is replaced in it.
        age_s: Seconds since the last good run; None: there is none.
    """
    words = "; ".join(problems) or "the last night was good"
    data = "" if age_s is None else f" | age={age_s:.0f}s"
    return safe(f"BULK_PATCH {state} - {name}: {words}".replace("|", "/")) + data + "\n"

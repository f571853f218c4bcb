"""What `check` found, as plain text. Pure, like `screens`."""

from bulk_patch.cli.text import join, safe, wrap
from bulk_patch.words import amount
from bulk_patch.workflows.check import Checkup, Finding


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

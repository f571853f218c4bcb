"""The list of commands in `--help`: whole sentences, in the order in which they are used."""

import click

#: Heading -> commands, in the order of use. A command that is not named here stands under the last heading.
GROUPS = {
    "Prepare": ("init", "settings", "check", "sandbox"),
    "Plan and send": ("plan", "run", "retry", "undo", "join", "control"),
    "With a second person": ("review", "approve", "verify"),
    "Look": ("status", "show", "why", "lookup", "report", "export", "console"),
    "Operate": ("cron", "alert", "prune", "backup", "ledger", "audit", "evidence", "purge", "completion"),
}


class GroupedCommands(click.Group):
    """A group of commands whose help lists them under headings."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        left = {name: command for name, command in self.commands.items() if not command.hidden}
        width = max(map(len, left), default=0)
        last = list(GROUPS)[-1]
        for heading, names in GROUPS.items():
            here = [name for name in names if name in left]
            here += [name for name in left if heading == last and not any(name in group for group in GROUPS.values())]
            lines = [(f"{name:<{width}}", left[name].get_short_help_str(limit=1000)) for name in here]
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)

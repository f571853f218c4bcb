"""A CSV reader that shares no code with ours, to judge it: character by character, as plainly as it can be said."""

from typing import Any

Rows = list[list[Any]]


class FaultError(Exception):
    """What the reference parser found, with its physical line."""


def parse(data: bytes) -> Rows:
    """Read CSV character by character, as plainly as it can be said.

    Raises:
        FaultError: With the line on which the first fault was met, or its record or open quote began.
    """
    physical = data.split(b"\n")
    for number, ended in enumerate(physical, 1):
        whole = ended[:-1] if ended.endswith(b"\r") and number < len(physical) else ended
        try:
            whole.decode()
        except UnicodeDecodeError:
            raise FaultError(number) from None
        if b"\r" in whole or b"\0" in whole:
            raise FaultError(number)
    text = data.decode().removeprefix("\ufeff")

    rows: Rows = []
    cells: list[str] = []
    cell, state = "", "start"  # start, plain, quoted, closed
    line = begun = opened = 1

    def end_row() -> None:
        blank = not cells and not cell and state == "start"
        nothing = bool(rows) and not any(each.strip(" \t\u00a0") for each in [*cells, cell])
        if not blank and not nothing:
            rows.append([*cells, cell])
            if len(rows[-1]) != len(rows[0]):
                raise FaultError(begun)

    position = 0
    while position < len(text):
        if state != "quoted" and text.startswith("\r\n", position):
            position += 1  # the line feed ends the row
        character = text[position]
        position += 1
        if state == "quoted":
            if character == '"':
                state = "closed"
            else:
                cell += character
        elif character == '"' and state == "closed":
            cell, state = cell + '"', "quoted"
            opened = line
        elif character == '"' and state == "start":
            state, opened = "quoted", line
        elif character == ",":
            cells, cell, state = [*cells, cell], "", "start"
        elif character == "\n":
            end_row()
            cells, cell, state, begun = [], "", "start", line + 1
        elif character == '"' or state == "closed":
            raise FaultError(line)
        else:
            cell, state = cell + character, "plain"
        line += character == "\n"
    if state == "quoted":
        raise FaultError(opened)
    if rows and state in ("start", "plain") and any(each.strip(" \t\u00a0") for each in [*cells, cell]):
        raise FaultError(line)  # no line break says that the last cell is whole
    end_row()
    return rows


def judge(data: bytes) -> tuple[Rows, int]:
    """Return the rows, header included, and 0; or the line at fault."""
    try:
        return parse(data), 0
    except FaultError as fault:
        return [], fault.args[0]

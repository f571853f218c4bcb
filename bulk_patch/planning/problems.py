"""Why rows of an input are invalid."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row is invalid: the field, what is wrong with it, and how to fix it. Never the value."""

    field: str
    reason: str
    hint: str


Problems = dict[int, list[Problem]]


def add_problem(problems: Problems, row: object, problem: Problem) -> None:
    """Note a problem of a row."""
    assert isinstance(row, int)
    problems.setdefault(row, []).append(problem)

import itertools
import re

import pytest

from bulk_patch import errors
from bulk_patch.errors import BulkPatchError, Exit, error_with, gravest

# The exit codes and their order as the interface has them.
CODES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130, 143)
GRAVEST_FIRST = (1, 7, 5, 6, 130, 143, 9, 4, 3, 0)

KINDS = {
    errors.UsageError: 2,
    errors.JobError: 2,
    errors.InputError: 2,
    errors.IncompleteError: 4,
    errors.StoppedError: 5,
    errors.CredentialError: 6,
    errors.LedgerError: 7,
    errors.OutdatedLedgerError: 7,
    errors.DamagedLedgerError: 7,
    errors.OlderLedgerError: 7,
    errors.StorageError: 7,
    errors.LockedError: 8,
    errors.RefusedError: 9,
}


def all_kinds(kind: type[BulkPatchError]) -> set[type[BulkPatchError]]:
    return {kind}.union(*(all_kinds(below) for below in kind.__subclasses__()))


def test_there_is_one_exit_code_for_each_that_scripts_know() -> None:
    assert sorted(Exit) == sorted(CODES)


@pytest.mark.parametrize("code", list(Exit))
def test_every_exit_code_can_be_said_in_words(code: Exit) -> None:
    assert code.words
    assert [other for other in Exit if other.words == code.words] == [code]


def test_every_pair_of_findings_ends_with_the_graver_one() -> None:
    for graver, milder in itertools.combinations(GRAVEST_FIRST, 2):
        assert gravest(milder, graver) == graver
        assert gravest(graver, milder) == graver


def test_one_finding_is_the_gravest_of_itself() -> None:
    assert [gravest(code) for code in GRAVEST_FIRST] == list(GRAVEST_FIRST)


def test_the_gravest_finding_is_an_exit_code_and_not_just_a_number() -> None:
    assert gravest(0, 3).words == Exit.NEEDS_PERSON.words


@pytest.mark.parametrize("code", [2, 8])
def test_codes_that_end_a_command_before_it_has_findings_are_never_compared(code: int) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        gravest(code, 0)


@pytest.mark.parametrize(("kind", "code"), KINDS.items())
def test_every_error_ends_with_its_exit_code_and_keeps_its_hint(kind: type[BulkPatchError], code: int) -> None:
    error = kind("the file is gone", "put it back")
    assert (error.exit_code, error.message, error.hint, str(error)) == (
        *(code, "the file is gone", "put it back"),
        "the file is gone",
    )


def test_an_error_needs_no_hint() -> None:
    assert errors.LedgerError("the disk is full").hint == ""


def test_no_error_is_missing_from_the_table_of_this_test() -> None:
    ours = {kind for kind in all_kinds(BulkPatchError) if kind.__module__ == errors.__name__}
    assert ours == {BulkPatchError, *KINDS}


def test_the_tree_in_the_docstring_names_every_error_below_its_parent_with_its_code() -> None:
    drawn = re.findall(r"^ *([│├└─ ]*)(\w+Error) *(\d)?", errors.__doc__ or "", re.MULTILINE)
    parents: list[str] = []
    for lead, name, code in drawn:
        depth = len(lead) // 4
        kind = getattr(errors, name)
        parents[depth:] = [name]
        if depth:
            assert kind.__bases__[0].__name__ == parents[depth - 1], name
            assert kind.exit_code == int(code), name
    assert {name for _, name, _ in drawn} == {kind.__name__ for kind in KINDS} | {"BulkPatchError"}


@pytest.mark.parametrize("code", [code for code in Exit if code is not Exit.OK])
def test_a_stop_is_the_error_of_its_exit_code_whatever_that_is(code: Exit) -> None:
    error = error_with(code, "what happened", "what to do")
    assert (error.exit_code, error.message, error.hint) == (code, "what happened", "what to do")
    raised = {2: errors.UsageError, 4: errors.IncompleteError, 5: errors.StoppedError, 6: errors.CredentialError}
    raised |= {7: errors.LedgerError, 8: errors.LockedError, 9: errors.RefusedError}
    assert type(error) is raised.get(int(code), BulkPatchError)
    assert BulkPatchError.exit_code is Exit.BUG

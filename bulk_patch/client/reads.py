"""Read customers before anything is sent, and say in words why they cannot be read."""

from collections.abc import Sequence

from bulk_patch.client.rate_limiter import LimiterClosed
from bulk_patch.client.session import NOT_THE_API, ApiSession, RunHalted, Unreadable
from bulk_patch.errors import BulkPatchError, CredentialError, Exit, IncompleteError, InputError, StoppedError
from bulk_patch.model import Action, Stop
from bulk_patch.targets import Record


async def read_live(session: ApiSession, ids: Sequence[str]) -> list[Record]:
    """Read customers as they are now, before anything is sent.

    Raises:
        InputError: The address answers 404 or a page that is not the API's.
        IncompleteError: The API cannot be read now, or the session has stopped.
        CredentialError, StoppedError: It refuses, or something is wrong on the way.
    """
    try:
        return await session.read_many(ids)
    except Unreadable as failure:
        verdict = failure.verdict
        if verdict.status == 403 and verdict.act is Action.REJECTED:  # in the API's own words
            hint = "the token lacks a permission, or belongs to another workspace"
            raise CredentialError(f"the live baseline may not be read: {verdict.reason}", hint) from None
        if verdict.status == 404 or verdict.kind in NOT_THE_API:
            what = "404" if verdict.status == 404 else f"a page that is not the API's ({verdict.reason})"
            hint = "check target.base_url and target.resource; nothing was sent for this input"
            raise InputError(f"the baseline's address answers {what}", hint) from None
        hint = "nothing was sent for this input; run the same command again when the API answers"
        raise IncompleteError(f"the live baseline could not be read: {verdict.reason}", hint) from None
    except RunHalted as halt:
        raise as_error(halt.stop) from None
    except LimiterClosed:
        raise IncompleteError("this command ends: it reads no more customers", "run the same command again") from None


def as_error(stop: Stop) -> BulkPatchError:
    """Turn a stop that came before anything was sent into the error of its exit code."""
    kinds = {Exit.CREDENTIAL: CredentialError, Exit.STOPPED: StoppedError, Exit.INCOMPLETE: IncompleteError}
    return kinds[stop.exit_code](stop.reason, stop.hint)

"""What a baseline knows of some customers."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a baseline knows of a chunk's customers."""

    frame: pd.DataFrame  # index: id; dotted columns of text, and objects once more as JSON text; missing: absent
    complete: bool  # a column that is not there means absent, not unknown
    authoritative: bool  # a customer that is not there does not exist
    sparse: bool = False  # a missing cell means unknown; absent is an empty one

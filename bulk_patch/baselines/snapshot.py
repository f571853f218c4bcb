"""What a baseline knows of customers at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a baseline knows of a chunk's customers."""

    frame: pd.DataFrame  # index: id; dotted columns of text, and objects also as JSON text; missing: absent
    complete: bool  # a missing column means absent, not unknown
    authoritative: bool  # a missing customer does not exist
    sparse: bool = False  # a missing cell means unknown, an empty cell means absent
    unreadable: Mapping[str, str] = field(default_factory=dict)  # id -> why the customer's record cannot be used

"""Imports: files of up to many millions of lines, received in pieces, applied in groups.

`receiving` takes them in, `reading` makes rows of their bytes and `lines` what is to be applied of
the rows; `applying` does it, so that nothing is half-applied, lost or repeated whenever it is
interrupted; `results` says what became of each line.
"""

from registry.imports.applying import LEASE, Means, purge, run_next
from registry.imports.kinds import SCOPES
from registry.imports.reading import Encoding
from registry.imports.receiving import (
    LONGEST_KEY,
    LONGEST_NAME,
    PAGE,
    UNFINISHED,
    Options,
    Progress,
    cancel,
    create,
    find,
    options,
    own_import,
    page,
    progress,
    read_options,
    receive,
    start,
)
from registry.imports.results import read_result
from registry.imports.store import PIECE, Store
from registry.ledger.bulk import Outcome

__all__ = [
    "LEASE",
    "LONGEST_KEY",
    "LONGEST_NAME",
    "PAGE",
    "PIECE",
    "SCOPES",
    "UNFINISHED",
    "Encoding",
    "Means",
    "Options",
    "Outcome",
    "Progress",
    "Store",
    "cancel",
    "create",
    "find",
    "options",
    "own_import",
    "page",
    "progress",
    "purge",
    "read_options",
    "read_result",
    "receive",
    "run_next",
    "start",
]

"""Wishes in bulk: what the lines of an imported file say, applied a group at a time.

The outcome is that of the same lines one by one through `ledger.grant`, `refuse` and `reassign`.
What costs one statement a line there costs one a group here: the numbers' locks are taken first,
what is known of all numbers is read, every line is decided in order in memory by the ledger's own
rules, and the rows are written table by table. A call works in its caller's transaction and below
the session's entities: whoever holds some of the same numbers refreshes them afterwards.
"""

from registry.ledger.bulk.assertions import assert_many
from registry.ledger.bulk.lines import GROUP, LineResult, Outcome, line_key
from registry.ledger.bulk.reassignments import reassign_many
from registry.ledger.bulk.refusals import refuse_many

__all__ = [
    "GROUP",
    "LineResult",
    "Outcome",
    "assert_many",
    "line_key",
    "reassign_many",
    "refuse_many",
]

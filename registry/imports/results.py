"""What is reported of lines: CSV that any spreadsheet opens and that names nobody's number."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from registry.imports.lines import Line
from registry.imports.store import Store
from registry.ledger.bulk import LineResult, Outcome
from registry.models import Import

COLUMNS = ("line", "key", "outcome", "id", "problem")
HEADER = (",".join(COLUMNS) + "\r\n").encode()
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def written(lines: Sequence[Line], results: Iterable[LineResult]) -> bytes:
    """Return the rows of a result; a key that a spreadsheet would calculate is marked as text."""
    text = io.StringIO()
    csv.writer(text).writerows(
        (line.number, harmless(line.key), outcome.value, row_id or "", problem or "")
        for line, (outcome, problem, row_id) in zip(lines, results, strict=True)
    )
    return text.getvalue().encode("utf-8", "backslashreplace")


def read_result(store: Store, row: Import) -> Iterator[bytes]:
    """Return the result of an import, piece by piece, as far as there is one.

    Raises `NOT_FOUND` once it is kept no longer.
    """
    if row.result_size == 0:
        return iter([HEADER])
    return store.read_result(row.id, row.result_size)


def harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULAS) else cell


def count(counts: dict[str, int], results: Iterable[LineResult]) -> dict[str, int]:
    """Return how many lines have come to each outcome, those of a group added."""
    total = {outcome.value: counts.get(outcome.value, 0) for outcome in Outcome}
    for outcome, _, _ in results:
        total[outcome] += 1
    return total

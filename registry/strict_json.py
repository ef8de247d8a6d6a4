"""JSON read strictly: what two readers could understand in two ways is refused."""

import json
import re
from typing import Any, NoReturn

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str) -> Any:
    """Return what a JSON text says; raises `ValueError`.

    A name that stands twice, NaN, endless nesting and half of a character are none.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
        if _SURROGATE.search(text):
            # Half of a pair is no character: this raises when one stands alone.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("no number")

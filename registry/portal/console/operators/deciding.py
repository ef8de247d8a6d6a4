"""What the forms of operators have in common: a reason, and asking once more before it is done."""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

from flask import Response, render_template, request, send_file
from flask_babel import lazy_gettext

from registry.errors import Kind, RegistryError
from registry.models import Document
from registry.portal.console import reading
from registry.runtime import Registry

LONGEST_REASON = 500
SAID = {
    "reason": lazy_gettext("Please give a reason, of at most %(most)s characters.", most=500),
}


@dataclass(frozen=True)
class Decision:
    """What an operator chose, and whether it was asked once more already."""

    approve: bool
    reason: str | None
    sure: bool


def read_decision(*, always_reason: bool = False) -> Decision:
    """Return what was decided; raises `INVALID` where a reason is needed and none was given."""
    chosen = request.form.get("decision", "")
    if chosen not in ("approve", "reject"):
        raise reading.wrong("decision")
    approve = chosen == "approve"
    reason = read_reason(needed=always_reason or not approve)
    return Decision(approve, reason, is_sure())


def read_reason(*, needed: bool) -> str | None:
    """Return the reason in a form."""
    reason = reading.text("reason")
    if len(reason) > LONGEST_REASON or (needed and not reason):
        raise reading.wrong("reason")
    return reason or None


def is_sure() -> bool:
    """Tell whether the form comes from the page that asked once more."""
    return request.form.get("sure") == "yes"


def expect(condition: bool, otherwise: str) -> None:
    """Raise `CONFLICT` unless something is as it has to be."""
    if not condition:
        raise RegistryError(Kind.CONFLICT, otherwise)


def ask_once_more(hidden: Mapping[str, str | None], **page: object) -> str:
    """Return the page that asks whether to do it; nothing is done yet."""
    sent = {name: value for name, value in hidden.items() if value is not None}
    return render_template("console/sure.html", hidden={**sent, "sure": "yes"}, **page)


def download(registry: Registry, row: Document) -> Response:
    """Send a document, to be kept and not shown."""
    return send_file(
        BytesIO(registry.files.read(row.sha256)),
        mimetype=row.media_type,
        as_attachment=True,
        download_name=row.name,
    )

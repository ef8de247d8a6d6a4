"""QR codes as SVG within the page: attributes alone, since the pages allow no inline style."""

import segno
from markupsafe import Markup


def qr_code(text: str) -> Markup:
    """Return the picture of a text, for the camera of an app; what it says stands beside it."""
    drawn: str = segno.make(text, error="m").svg_inline(
        scale=5, border=4, dark="#000", light="#fff", svgclass="qr", lineclass=None
    )
    return Markup(drawn.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1))  # noqa: S704 (segno writes paths alone)

"""Pages for developers: the published keys and the API's documentation, without outside help."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, abort, jsonify, send_from_directory

from registry.runtime import Registry

SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"
ASSETS = {"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"}
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Consent Registry API{demo}</title>
<link rel="icon" href="/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
{banner}<main id="api"></main>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_BANNER = '<p role="status">This is a demo registry: its numbers and wishes are invented.</p>\n'
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  validatorUrl: null,
  showExtensions: true,
  presets: [SwaggerUIBundle.presets.apis],
});
"""


def pages(registry: Registry) -> Blueprint:
    """Return the blueprint of `/docs` and `/.well-known/jwks.json`."""
    docs = Blueprint("docs", __name__)

    @docs.get("/docs")
    def documentation() -> Response:
        """Show the OpenAPI document."""
        demo = registry.demo
        page = _PAGE.format(demo=" (demo)" if demo else "", banner=_BANNER if demo else "")
        return Response(
            page, mimetype="text/html", headers={"Content-Security-Policy": CONTENT_POLICY}
        )

    @docs.get("/docs/start.js")
    def start() -> Response:
        """Start Swagger UI; a file of its own, since the page allows no inline script."""
        return Response(_START, mimetype="text/javascript")

    @docs.get("/docs/assets/<name>")
    def asset(name: str) -> Response:
        """Serve one of Swagger UI's files."""
        if name not in ASSETS:
            abort(404)
        return send_from_directory(SWAGGER_UI, name)

    @docs.get("/.well-known/jwks.json")
    def jwks() -> Response:
        """Publish the keys that receipts are checked with, old ones among them."""
        return jsonify(registry.sign_with().jwks)

    return docs

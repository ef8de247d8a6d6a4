"""The portal's own files: in memory, packed once, under addresses that follow their content."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Blueprint, Flask, Response, abort, request

FOLDER = Path(__file__).parent / "static"
NAMES = ("vendor/pico.min.css", "vendor/htmx.min.js", "registry.css", "registry.js", "icon.svg")
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Asset:
    """One file, plain and packed."""

    name: str
    version: str
    content_type: str
    plain: bytes
    packed: bytes

    @property
    def address(self) -> str:
        """The path of exactly this content."""
        return f"/static/{self.version}/{self.name}"


@cache
def load() -> dict[str, Asset]:
    """Read all files, by their names; it is done once in a process."""
    return {asset.name: asset for asset in map(_read, NAMES)}


def _read(path: str) -> Asset:
    file = FOLDER / path
    plain = file.read_bytes()
    version = hashlib.sha256(plain).hexdigest()[:12]
    packed = gzip.compress(plain, 9, mtime=0)
    return Asset(file.name, version, TYPES[file.suffix], plain, packed)


def serve(app: Flask) -> None:
    """Answer `/static/...`, and let templates ask for `asset('name')`."""
    files = load()
    addresses = {name: file.address for name, file in files.items()}
    app.jinja_env.globals["asset"] = addresses.__getitem__
    static = Blueprint("static", __name__)

    @static.get("/static/<version>/<name>")
    def file(version: str, name: str) -> Response:
        """Send a file. Whoever asks for an older version of it gets this one, uncached."""
        asset = files.get(name) or abort(404)
        response = Response(asset.plain, content_type=asset.content_type)
        if request.accept_encodings.quality("gzip") > 0:
            response.data = asset.packed
            response.headers["Content-Encoding"] = "gzip"
        response.vary.add("Accept-Encoding")
        if version == asset.version:
            response.headers["Cache-Control"] = FOR_EVER
        return response

    app.register_blueprint(static)

"""A file that browsers load: read once when its app is built, answered with an ETag.

For the thumbs component and the pages that belong to no stage's data. In: a path and the headers
that go with it. Out: the bytes, or 304 to a browser that has them. Knows nothing of what is in
the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from litestar import Request, Response

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",  # RFC 9239: the type that module scripts must have
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class WebFile:
    """A file's bytes with the headers of every answer that carries them."""

    content: bytes
    headers: dict[str, str]

    def response(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """Return the file, or 304 without a body when the request names its ETag."""
        known = request.headers.get("if-none-match", "")
        # a proxy that compresses makes the tag weak: the file is still the same
        tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        if self.headers["etag"] in tags or "*" in tags:
            return Response(b"", status_code=304, headers=self.headers)
        return Response(self.content, headers=self.headers)


def load_web_file(path: Path, **headers: str) -> WebFile:
    """Return the file at `path`; `headers` are named with `_` for `-`."""
    content = path.read_bytes()
    return WebFile(
        content,
        {
            "content-type": MEDIA_TYPES[path.suffix],
            "etag": f'"{sha256(content).hexdigest()[:32]}"',
            "x-content-type-options": "nosniff",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )

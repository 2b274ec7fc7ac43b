"""Media types told by the first bytes of a body."""

PNG = "image/png"
JPEG = "image/jpeg"
WEBP = "image/webp"
PICTURES = {PNG: "PNG", JPEG: "JPEG", WEBP: "WebP"}
"""Media types of pictures, and what they are called."""


def guess_picture(body: bytes) -> str | None:
    """Return the media type of a PNG, JPEG or WebP; None for anything else."""
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if body.startswith(b"\xff\xd8\xff"):
        return JPEG
    return WEBP if body[:4] == b"RIFF" and body[8:12] == b"WEBP" else None


def guess_media_type(body: bytes) -> str:
    """Return the media type that a body of numbers or a picture most likely has."""
    if picture := guess_picture(body):
        return picture
    if body.startswith(b"\x93NUMPY"):
        return "application/x-npy"
    return "application/json" if body.lstrip()[:1] in (b"[", b"{", b"") else "text/csv"

"""A multipart form (RFC 7578): its files, and URLs, are images; its other fields options.

    curl -F file=@dress.jpg -F file=@hat.jpg -F top_k=3 http://.../predict

Imported at the first form alone, and `multipart` with it.
"""

from __future__ import annotations

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from classifier.errors import InvalidRequest, MissingImage, TooManyImages
from classifier.sources import Raw, Source, Url
from classifier.text import clean

# Fields that are not files: the options, each a word, and URLs.
MAX_FIELDS = 16
MAX_FIELD_BYTES = 8192


def read(body: bytes, content_type: str, max_images: int) -> tuple[list[Source], dict[str, str]]:
    """Read a form that is in memory. An empty field, as browsers send them, counts for nothing.

    Returns:
        Its images, at least one, in their order; and its other fields.

    Raises:
        InvalidRequest: not a form, or a field that is too long. MissingImage, TooManyImages.
    """
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    images: list[Source] = []
    fields: dict[str, str] = {}
    part: MultipartSegment | None = None
    content = bytearray()
    try:
        with PushMultipartParser(
            boundary,
            content_length=len(body),
            max_segment_count=max_images + MAX_FIELDS,
        ) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    part, content = event, bytearray()
                elif event:
                    content += event
                    if part is not None and not _is_file(part) and len(content) > MAX_FIELD_BYTES:
                        raise InvalidRequest(
                            f"the form's field {clean(part.name or '', 40)!r} is longer than "
                            f"{MAX_FIELD_BYTES} bytes; an image must be sent as a file"
                        )
                elif part is not None:
                    if _is_file(part):
                        # A file field that was left empty has no name either; an empty file has,
                        # and its place among the answers.
                        images += [Raw(bytes(content))] if content or part.filename else []
                    elif part.name == "url":
                        images += [Url(content.decode())] if content else []
                    else:
                        fields[part.name or ""] = content.decode()
                    part = None
            parser.close()
    except (MultipartError, ValueError, TypeError) as error:
        raise InvalidRequest(
            f"the body is not the multipart form it claims to be ({clean(error)}); "
            "let your HTTP library set Content-Type, with its boundary"
        ) from error
    if not images:
        raise MissingImage("the form has no file; add one: curl -F file=@photo.jpg")
    if len(images) > max_images:
        raise TooManyImages(f"{len(images)} images, more than the {max_images} accepted")
    return images, fields


def _is_file(part: MultipartSegment) -> bool:
    # RFC 7578, 4.2: a file has a name; some clients give a content type only.
    return part.filename is not None or (part.content_type or "").startswith("image/")

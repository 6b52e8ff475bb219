"""Bodies for schemathesis to send: images, and what is none; never nothing, as one is required."""

import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image


def encode(kind, size, mode):
    """A plain image as the bytes of a file."""
    file = io.BytesIO()
    Image.new(mode, size, 100).save(file, kind)
    return file.getvalue()


# What starts with a brace or a quote is JSON to the function, whatever its type says (request.py).
damaged = st.binary(min_size=1, max_size=64).filter(lambda body: body.lstrip()[:1] not in b'{["')
for kind in ("jpeg", "png", "webp", "gif", "bmp"):
    sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
    images = st.builds(encode, st.just(kind.upper()), sizes, st.sampled_from(["L", "RGB"]))
    schemathesis.openapi.media_type(f"image/{kind}", images | damaged)
schemathesis.openapi.media_type("application/octet-stream", images | damaged)


@schemathesis.hook
def map_case(context, case):
    """An option that stands in the body as well must be the same in the query: leave it out there.

    No schema can say so; tests/runtime/test_routes.py does.
    """
    if isinstance(case.body, dict) and case.query:
        case.query = {name: value for name, value in case.query.items() if name not in case.body}
    return case

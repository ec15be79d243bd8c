"""Whatever is sent, it is the sender's fault: never a status of 500 and above."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.compressed import HEAD, MAGIC
from tests.service.conftest import KNOWN, file_of, picture, text_of

FILE = text_of(file_of(picture((3, 8, 8))))
numbers = st.one_of(
    st.integers(-3, 5),
    st.floats(-5, 5),
    st.sampled_from([0, -1, 1e308, -1e-320, 2**53, 2**64, 10**40, float("nan"), float("inf")]),
)
scalars = st.one_of(numbers, st.none(), st.booleans(), st.text(max_size=5), st.just(FILE))
conditions = st.dictionaries(
    st.sampled_from(["smile", "hair", "age", "x"]),
    st.one_of(scalars, st.sampled_from(["long", "none"])),
    max_size=3,
)
latents = st.lists(numbers, min_size=0, max_size=5)
points = st.fixed_dictionaries(
    {},
    optional={
        "seed": numbers,
        "row": numbers,
        "latent": latents,
        "picture": st.sampled_from([FILE, "", "x"]),
        "values": latents,
        "condition": conditions,
        "fit": st.sampled_from(["resize", "x"]),
    },
)
additions = st.fixed_dictionaries(
    {"attribute": st.sampled_from(["smile", "hair=long", "hair", ""])},
    optional={"weight": numbers, "method": st.sampled_from(["mean_difference", "x"])},
)
# Heads that look right, and whatever behind them.
streams = st.tuples(st.integers(0, 3), st.integers(0, 2**32 - 1), st.binary(max_size=40)).map(
    lambda parts: text_of(HEAD.pack(MAGIC, bytes(32), parts[0], parts[1], 0) + parts[2])
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = {
    "n": numbers,
    "seed": numbers,
    "first_row": numbers,
    "row": numbers,
    "temperature": numbers,
    "rejection": numbers,
    "truncation": numbers,
    "effort": numbers,
    "count": numbers,
    "steps": numbers,
    "preview_every": numbers,
    "weight": numbers,
    "return_latents": scalars,
    "condition": conditions,
    "attributes": st.one_of(conditions, st.lists(conditions, max_size=2), st.just(KNOWN)),
    "latents": st.lists(latents, max_size=3),
    "latent": latents,
    "pictures": st.lists(st.sampled_from([FILE, "x", ""]), max_size=2),
    "picture": st.sampled_from([FILE, "x"]),
    "values": st.lists(latents, max_size=2),
    "points": st.lists(points, max_size=3),
    "point": points,
    "positive": st.lists(points, max_size=2),
    "negative": st.lists(points, max_size=2),
    "terms": st.lists(
        st.one_of(
            st.fixed_dictionaries(
                {"mean_of": st.lists(points, max_size=2)}, optional={"weight": numbers}
            ),
            additions,
        ),
        max_size=2,
    ),
    "add": st.lists(additions, max_size=2),
    "axes": st.lists(numbers, max_size=3),
    "range": st.lists(numbers, max_size=3),
    "spacing": st.sampled_from(["linear", "quantile"]),
    "method": st.sampled_from(["lerp", "slerp", "x"]),
    "attribute": st.sampled_from(["smile", "hair", "age", "x"]),
    "from": scalars,
    "to": scalars,
    "fit": st.sampled_from(["resize", "x"]),
    "options": st.dictionaries(st.sampled_from(["eta", "guidance", "x"]), numbers, max_size=2),
    "masks": st.lists(st.sampled_from([FILE, "x", ""]), max_size=2),
    "score": st.sampled_from(["likelihood", "typicality", "complexity", "x"]),
    "k": numbers,
    "space": st.sampled_from(["pixel", "latent", "code", "x"]),
    "gallery": st.sampled_from([None, "a", "X"]),
    "codes": st.lists(st.sampled_from(["00", "ff00", "x", ""]), max_size=2),
    "return_pictures": scalars,
    "stream": st.one_of(st.sampled_from(["", "x", FILE]), streams),
}
OPERATIONS = [
    "sample",
    "generate",
    "decode",
    "encode",
    "reconstruct",
    "edit",
    "interpolate",
    "arithmetic",
    "progression",
    "traverse",
    "likelihood",
    "inpaint",
    "compress",
    "decompress",
    "anomaly",
    "denoise",
    "classify",
    "tangents",
    "neighbours",
]

# Where the usual ones would all be refused.
MODELS = {
    "denoise": ["denoising-pictures", "denoising-points", "pca-grey"],
    "tangents": ["contractive-pictures", "contractive-points", "pca-grey"],
}


def fields_of(server, operation):
    """The field names of an operation's request, from the service's own document."""
    for each in server.parts.operations:
        if each.name == operation:
            return {f.alias or name for name, f in each.request.model_fields.items()}
    raise AssertionError(operation)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_body_is_our_fault(server, operation):
    known = sorted(fields_of(server, operation))
    right = st.fixed_dictionaries({}, optional={name: FIELDS[name] for name in known})
    bodies = st.one_of(
        right, right, st.dictionaries(st.sampled_from(known), anything, max_size=4), anything
    )

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(
        bodies,
        st.sampled_from(MODELS.get(operation, ["cvae-pictures", "vae-points", "pca-grey"])),
    )
    def send(body, model):
        content = json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        path = f"/v1/models/{model}/{operation}"
        answer = server.client.post(path, content=content, headers=headers)
        assert answer.status_code < 500 or answer.status_code == 501, (body, answer.text)

    send()


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.binary(max_size=60), st.sampled_from(["application/json", "multipart/form-data; boundary=a"])
)
def test_no_bytes_are_our_fault(server, content, kind):
    path = "/v1/models/vae-pictures/encode"
    answer = server.client.post(path, content=content, headers={"content-type": kind})
    assert answer.status_code in (400, 422)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 600), st.binary(min_size=1, max_size=8), st.sampled_from(["PNG", "JPEG", "WEBP"])
)
def test_no_picture_is_our_fault(server, place, junk, kind):
    content = bytearray(file_of(picture((3, 8, 8)), kind))
    content[place % len(content) : place % len(content) + len(junk)] = junk
    answer = server.post("vae-pictures", "encode", {"pictures": [text_of(bytes(content))]})
    assert answer.status_code in (200, 422), answer.text

"""Lossless compression over HTTP."""

import base64

import pytest

from service.compressed import HEAD
from tests.service import bundles
from tests.service.conftest import KNOWN, file_of, levels_of, picture, shown, text_of


def request_of(model, count=3):
    shape = bundles.supported()[model][1]
    condition = {"condition": KNOWN} if "Conditional" in bundles.capabilities(model) else {}
    return {"pictures": [text_of(file_of(picture(shape, k))) for k in range(count)], **condition}


@pytest.mark.offering("Codec", kinds=("pictures", "grey"))
def test_pictures_come_back_to_the_last_level(server, model):
    body = request_of(model)
    compressed = server.ask(model, "compress", body)
    assert compressed["pictures"] == 3
    assert compressed["bytes"] == len(base64.b64decode(compressed["stream"]))
    back = server.ask(model, "decompress", {"stream": compressed["stream"]})
    shape = bundles.supported()[model][1]
    for index, each in enumerate(shown(back)):
        assert levels_of(each).tolist() == picture(shape, index).tolist()


@pytest.mark.offering("Codec", kinds=("pictures",))
def test_the_stream_comes_as_it_is_where_asked(server, model):
    body = request_of(model)
    answer = server.post(model, "compress", body, accept="application/octet-stream")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-latentd-digest"].startswith("sha256:")
    text = server.ask(model, "compress", body)["stream"]
    assert answer.content == base64.b64decode(text)


@pytest.mark.offering("Codec", kinds=("pictures",))
def test_a_stream_of_another_bundle_is_refused(server, model):
    stream = bytearray(base64.b64decode(server.ask(model, "compress", request_of(model))["stream"]))
    stream[10] ^= 1
    answer = server.post(model, "decompress", {"stream": text_of(bytes(stream))})
    assert answer.status_code == 422
    assert answer.json()["param"] == "stream"
    assert "was made by the bundle sha256:" in answer.json()["detail"]


@pytest.mark.offering("Codec", kinds=("pictures",))
def test_a_flipped_bit_never_gives_another_picture(server, model):
    stream = base64.b64decode(server.ask(model, "compress", request_of(model))["stream"])
    start = HEAD.size + HEAD.unpack_from(stream)[-1]
    for place in range(start, len(stream), max(1, (len(stream) - start) // 6)):
        broken = bytearray(stream)
        broken[place] ^= 16
        answer = server.post(model, "decompress", {"stream": text_of(bytes(broken))})
        # The first bits of a stack's stream are nobody's: they were lent and come back unread.
        assert answer.status_code in (200, 422), answer.text
        if answer.status_code == 200:
            found = [levels_of(each).tolist() for each in shown(answer.json())]
            shape = bundles.supported()[model][1]
            assert found == [picture(shape, k).tolist() for k in range(3)]


@pytest.mark.parametrize("stream", ["!", "AAAA", text_of(bytes(60)), text_of(b"ltd1" + bytes(43))])
def test_what_is_no_stream_is_refused(server, stream):
    answer = server.post("vae-grey", "decompress", {"stream": stream})
    assert answer.status_code == 422
    assert answer.json()["param"] == "stream"


def test_models_of_densities_do_not_compress(server):
    answer = server.post("pca-grey", "compress", request_of("pca-grey"))
    assert answer.status_code == 501

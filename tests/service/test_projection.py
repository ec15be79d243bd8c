"""Maps of latent spaces."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from models.bundle import Provenance, Reference, save_bundle
from service.routes.projection import Projection, principal_axes
from tests.service import bundles
from tests.service.conftest import file_of, picture, running, text_of

COUNT = 70


@pytest.mark.parametrize("shape", [(50, 7), (5, 20), (2, 3)])
def test_axes_are_those_of_scikit_learn_but_for_their_signs(shape):
    rows = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1])
    found, theirs = principal_axes(torch.from_numpy(rows)), PCA(2).fit(rows)
    signs = np.sign((theirs.components_ * found.vectors.numpy()).sum(axis=1, keepdims=True))
    known = 1 if shape[0] == 2 else 2  # two rows differ in one direction
    np.testing.assert_allclose(
        (signs * found.vectors.numpy())[:known], theirs.components_[:known], atol=1e-9
    )
    np.testing.assert_allclose(found.variance, theirs.explained_variance_, atol=1e-9)
    np.testing.assert_allclose(found.share, theirs.explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(
        found.points.numpy()[:, :known], (theirs.transform(rows) * signs.T)[:, :known], atol=1e-9
    )


def test_signs_do_not_depend_on_the_rows_signs():
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 4)))
    one, other = principal_axes(rows), principal_axes(-rows)
    torch.testing.assert_close(one.vectors, other.vectors)
    assert (one.vectors.gather(1, one.vectors.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (1, 1)])
def test_where_there_are_fewer_directions_the_rest_is_nought(shape):
    found = principal_axes(torch.arange(shape[0] * shape[1]).reshape(shape).float())
    assert found.points.shape == (shape[0], 2)
    assert found.vectors.shape == (2, shape[1])
    assert found.variance[1] == 0
    assert torch.isfinite(found.share).all()


@pytest.mark.offering("Encoder")
def test_every_encoder_has_a_map(server, model):
    answer = server.client.get(f"/v1/models/{model}/projection", params={"rows": 3})
    assert answer.status_code == 200, answer.text
    found = Projection.model_validate(answer.json())
    assert len(found.points) == 3
    np.testing.assert_allclose(found.points, 0, atol=1e-5)  # all of the reference are alike
    np.testing.assert_allclose(found.explained_variance, 0, atol=1e-9)
    assert len(found.mean) == len(found.axes[0]) == len(found.axes[1])


def test_without_an_encoder_there_is_none(server):
    model = next(m for m in bundles.supported() if "Encoder" not in bundles.capabilities(m))
    assert server.client.get(f"/v1/models/{model}/projection").status_code == 501
    assert server.client.get("/v1/models/none/projection").status_code == 404


@pytest.mark.parametrize("rows", ["0", "-1", "2001", "x"])
def test_a_wrong_number_of_rows_is_refused(server, rows):
    answer = server.client.get("/v1/models/vae-grey/projection", params={"rows": rows})
    assert (answer.status_code, answer.json()["param"]) == (422, "rows")


@pytest.fixture(scope="module")
def own(settings_of, tmp_path_factory):
    """A server with models whose reference pictures differ."""
    directory = tmp_path_factory.mktemp("projected")
    x = np.stack([picture(bundles.GREY, seed) for seed in range(COUNT)])
    columns = np.stack([np.arange(COUNT) % 2, np.arange(COUNT) % 3, 20 + np.arange(COUNT) % 40], 1)
    for name in ("pca", "cvae"):
        save_bundle(
            bundles.build(name, bundles.GREY),
            directory / name,
            provenance=Provenance(recipe="test", data="noise", data_digest="none", seed=0),
            reference=Reference(x, x, columns.astype(np.float32), columns.astype(np.float32)),
            card="# A test\n",
            grid_png=b"no picture",
            attribute_schema=bundles.SCHEMA,
        )
    with running(settings_of(bundles_dir=directory)) as found:
        yield found


@pytest.mark.parametrize("model", ["pca", "cvae"])
def test_points_are_the_encodings_on_the_axes(own, model):
    found = own.client.get(f"/v1/models/{model}/projection").json()
    body = {"pictures": [text_of(file_of(picture(bundles.GREY, seed))) for seed in range(COUNT)]}
    if model == "cvae":
        body["attributes"] = found["attributes"]
    latents = own.ask(model, "encode", body)["latents"]
    means = np.array([each["mean"] for each in latents])
    np.testing.assert_allclose(
        (means - found["mean"]) @ np.array(found["axes"]).T, found["points"], atol=1e-6
    )
    np.testing.assert_allclose(np.var(found["points"], axis=0, ddof=1), found["explained_variance"])
    assert found["explained_variance"][0] >= found["explained_variance"][1] > 0
    assert found["attributes"][4] == {"smile": False, "hair": "short", "age": 24}


def test_fewer_rows_are_the_first_and_their_map_is_kept(own):
    path = "/v1/models/pca/projection"
    few = own.client.get(path, params={"rows": 9}).json()
    assert len(few["points"]) == 9
    assert own.client.get(path, params={"rows": 9}).json() == few
    # Ranks fall as the pictures that are asked for do, and no more than those there are.
    assert len(own.client.get(path, params={"rows": 2000}).json()["points"]) == COUNT


@pytest.mark.parametrize("model", ["pca", "cvae"])
def test_neighbours_use_the_same_encodings(own, model):
    body = {"pictures": [text_of(file_of(picture(bundles.GREY, 7)))], "space": "latent", "k": 1}
    if model == "cvae":
        body["attributes"] = {"smile": True, "hair": "short", "age": 27}
    found = own.ask(model, "neighbours", body)["rows"][0]["neighbours"][0]
    assert (found["index"], found["distance"]) == (7, 0)
    assert found["attributes"] == {"smile": True, "hair": "short", "age": 27}

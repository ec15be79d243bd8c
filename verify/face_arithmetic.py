"""Smiling with long hair - neutral with long hair + neutral with a beard, asked of a real server.

    python -m verify.face_arithmetic bundles/faces-vae-gan --picture docs/images/face-arithmetic.png

As Radford et al. (2016, arXiv:1511.06434, section 6.3.2) did with women and men: each term is the
mean of the latents of some held-out pictures, each trial takes others, and an independent
classifier of attributes looks at what comes out. The picture has a column a trial: the first
picture of each term, each term's mean decoded, and what came out.
"""

import argparse
import base64
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from models.bundle import Bundle, load_bundle
from models.conditions import ConditionSchema
from service.pictures import png
from verify.judge import face_judge, other_faces
from verify.montage import save_enlarged
from verify.serving.process import Server, serving

TERMS = (
    (1.0, {"smile": True, "beard": False, "hair_length": "long"}),
    (-1.0, {"smile": False, "beard": False, "hair_length": "long"}),
    (1.0, {"smile": False, "beard": True}),
)
WANTED = {"smile": True, "beard": True}
SHOWN = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--mean-of", type=int, default=8, help="pictures a term")
    parser.add_argument("--picture", type=Path, help="where some trials go, a .png")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    name = arguments.bundle.name
    schema = bundle.description.attribute_schema
    judge = face_judge(other_faces(bundle.model.config.shape[1]))
    pools = [chosen(bundle, schema, attributes) for _, attributes in TERMS]
    order = np.random.Generator(np.random.Philox(key=[11, 0]))
    results, columns = [], []
    with TemporaryDirectory() as directory:
        (Path(directory) / name).symlink_to(arguments.bundle.resolve())
        with serving(Path(directory)) as server:
            for trial in range(arguments.trials):
                groups = [order.permutation(pool)[: arguments.mean_of] for pool in pools]
                terms = [
                    {"weight": weight, "mean_of": [{"picture": text_of(each)} for each in group]}
                    for (weight, _), group in zip(TERMS, groups, strict=True)
                ]
                results.append(ask(server, name, terms))
                if arguments.picture and trial < SHOWN:
                    means = [ask(server, name, [{**term, "weight": 1.0}]) for term in terms]
                    columns.append([*(group[0] for group in groups), *means, results[-1]])
    told = tells(judge, schema, torch.stack(results))
    both = told["smile"] & told["beard"]
    print("| bundle | trials | pictures a term | smile | beard | both |")
    print("|---|---|---|---|---|---|")
    shares = " | ".join(f"{each.float().mean():.0%}" for each in (*told.values(), both))
    print(f"| {name} | {len(results)} | {arguments.mean_of} | {shares} |")
    if arguments.picture:
        shown = [np.concatenate([np.asarray(each) for each in column], 1) for column in columns]
        save_enlarged(np.concatenate(shown, axis=2), arguments.picture)


def chosen(
    bundle: Bundle, schema: ConditionSchema, attributes: dict[str, bool | str]
) -> np.ndarray:
    """The held-out pictures that have these attributes, uint8 (N, C, H, W)."""
    reference = bundle.reference()
    vectors = schema.encode_columns(reference.held_out_attributes)
    named = [schema.decode(vector) for vector in vectors]
    fits = [all(each[key] == value for key, value in attributes.items()) for each in named]
    return reference.held_out[np.array(fits)]


def text_of(levels: np.ndarray) -> str:
    """A picture (C, H, W) as a PNG file in base64."""
    return base64.b64encode(png(levels, {})).decode()


def ask(server: Server, name: str, terms: list[dict[str, object]]) -> Tensor:
    """The picture that terms come to, uint8 (C, H, W)."""
    answer = server.client.post(f"/v1/models/{name}/arithmetic", json={"terms": terms})
    answer.raise_for_status()
    file = base64.b64decode(answer.json()["pictures"][0]["png"])
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(file))).transpose(2, 0, 1).copy())


@torch.no_grad()
def tells(judge: nn.Sequential, schema: ConditionSchema, x: Tensor) -> dict[str, Tensor]:
    """Which pictures have each wanted attribute, bool (B,)."""
    scores = judge(x.float() / 255)
    return {name: scores[:, schema.slices[name]][:, 0] > 0 for name in WANTED}


if __name__ == "__main__":
    main()

"""Does a generated face have the attributes that were asked for?

    python -m verify.cvae bundles/faces-cvae

An independent convolutional classifier is trained on real faces of another seed than the model's;
its accuracy on real held-out faces is the ceiling. Then 1,000 faces are generated, each from random
attributes and its own latent.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from models.bundle import load_bundle
from models.noise import Noise
from verify.judge import agreement, encoded, face_judge, other_faces

ROWS = 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    model = load_bundle(parser.parse_args().bundle).model
    schema = model.config.condition
    data = other_faces(model.config.shape[1])
    test = torch.from_numpy(data.test.values).float() / 255
    classifier = face_judge(data)
    real = agreement(classifier, test, encoded(schema, data.test.attributes), schema)
    choose = np.random.Generator(np.random.Philox(key=[2, 0]))
    rows = choose.permutation(len(data.train.attributes))[:ROWS]
    wanted = encoded(schema, data.train.attributes[rows])
    faces = model.sample(Noise.of_rows(0, count=ROWS), wanted)
    made = agreement(classifier, faces, wanted, schema)
    print(f"| attribute | real held-out faces | {ROWS} generated faces |")
    print("|---|---|---|")
    for name in made:
        print(f"| {name} | {real[name]:.1%} | {made[name]:.1%} |")


if __name__ == "__main__":
    main()

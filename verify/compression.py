"""Lossless compression of test digits by bundles, beside PNG, WebP and the model's own bits.

    python -m verify.compression bundles/mnist-made bundles/mnist-vae-static --data-root FOLDER

All pictures of a bundle are one stream, as one request to `compress` makes it; PNG and WebP have a
file each, made as small as Pillow makes them (binary pictures with one bit a pixel in PNG).
"""

import argparse
import io
import math
import time
from pathlib import Path

import torch
from PIL import Image

from models.bundle import load_bundle
from models.noise import Noise
from models.steps import finished
from service.compressed import HEAD
from service.entropy import reader, writer
from training.data.registry import load_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--variant", choices=("static", "grey"), default="static")
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    data = load_data("mnist", {"variant": arguments.variant}, arguments.data_root)
    x = torch.from_numpy(data.test.values[: arguments.rows]).float() / 255
    files = [_files(each, arguments.variant == "static") for each in x]
    png, webp = (sum(each[k] for each in files) for k in (0, 1))
    print(f"{len(x)} {arguments.variant} digits: PNG {png} bytes, WebP {webp} bytes")
    print("| bundle | bytes | model's own bits, bytes | rate over own | of PNG | of WebP | time |")
    print("|---|---|---|---|---|---|---|")
    for path in arguments.bundle:
        model, began = load_bundle(path).model, time.perf_counter()
        with torch.no_grad():
            coder = writer(model.coder)
            finished(model.compressing(x, coder))
            content = coder.to_bytes()
            back = finished(model.decompressing(len(x), reader(model.coder, content)))
            nats = model.log_prob(x, Noise.of_rows(0, count=len(x))).nats
        if not torch.equal(torch.round(255 * back), torch.round(255 * x)):
            raise AssertionError("other pictures came back")
        size, own = HEAD.size + len(content), float(-nats.double().sum()) / math.log(2) / 8
        print(
            f"| {path.name} | {size} | {own:.0f} | {size / own - 1:+.2%} | {size / png:.2f} "
            f"| {size / webp:.2f} | {time.perf_counter() - began:.0f} s |",
            flush=True,
        )


def _files(x: torch.Tensor, is_binary: bool) -> tuple[int, int]:
    """Bytes of a picture, (1, H, W), as PNG and as lossless WebP."""
    picture = Image.fromarray((255 * x[0]).round().to(torch.uint8).numpy())
    sizes = []
    for kind, options in (
        ("PNG", {"optimize": True}),
        ("WEBP", {"lossless": True, "quality": 100}),
    ):
        file = io.BytesIO()
        shown = picture.convert("1") if is_binary and kind == "PNG" else picture
        shown.save(file, kind, **options)
        sizes.append(len(file.getvalue()))
    return sizes[0], sizes[1]


if __name__ == "__main__":
    main()

"""Pictures of small pictures, for the pages of results."""

from pathlib import Path

import numpy as np
from PIL import Image

ENLARGEMENT = 2  # each pixel as a square of so many a side


def save_enlarged(levels: np.ndarray, path: Path) -> None:
    """Colours, uint8 (3, H, W), as a file."""
    picture = Image.fromarray(levels.transpose(1, 2, 0))
    size = (ENLARGEMENT * picture.width, ENLARGEMENT * picture.height)
    picture.resize(size, Image.Resampling.NEAREST).save(path)

"""Draws one face from its attributes, in the style Avataaars by Pablo Stanley (through DiceBear).

The published style is rearranged so that each attribute shows, and none hides another:
a hat is worn *over* the hair (there it replaces the hair) and sits high enough to leave hair in
sight; the mouth is larger and lies over the beard; the view is closer.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from dicebear import Avatar, Style
from numpy.typing import NDArray
from PIL import Image

from models.conditions import Boolean, Categorical, ConditionSchema, Continuous
from training.data.streams import sample_stream

HAIR = {
    "black": "#0d0b10",
    "brown": "#522a12",
    "blond": "#f0c63c",
    "red": "#cf3a0a",
    "grey": "#a3a8ae",
}
HAIR_STYLES = {
    "short": ("shortCurly", "shortFlat", "shortRound", "shortWaved", "dreads01"),
    "medium": ("bob", "curly", "longButNotTooLong", "miaWallace"),
    "long": ("straight01", "straight02", "straightAndStrand", "curvy"),
}
CLOTHES = {
    "red": "#d9202e",
    "blue": "#2b63dd",
    "green": "#1f9d4c",
    "yellow": "#ffd91f",
    "white": "#f1f1f1",
    "black": "#1b1b20",
}
# From dark to light; the darkest is lighter than brown hair, so that hair shows on every skin.
SKIN_TONES = ((0x7A, 0x4B, 0x33), (0xA8, 0x69, 0x42), (0xD9, 0x9A, 0x6C), (0xFF, 0xDF, 0xC6))

SCHEMA = ConditionSchema(
    attributes=(
        Boolean(name="glasses"),
        Boolean(name="smile"),
        Boolean(name="beard"),
        Boolean(name="hat"),
        Categorical(name="hair_colour", values=tuple(HAIR)),
        Categorical(name="hair_length", values=tuple(HAIR_STYLES)),
        Continuous(name="skin_tone", minimum=0.0, maximum=1.0, default=0.7),
        Categorical(name="clothes_colour", values=tuple(CLOTHES)),
    )
)

# What varies and is no attribute. Hats have colours that neither hair nor skin has.
_HAT_COLOURS = ("#2f78c4", "#1fa187", "#8b4fd0", "#f06aa8")
_HAT_SHIFTS = {"hat": -27, "turban": -42, "winterHat03": -43}  # units of the drawing, 280 wide
_GLASSES = ("prescription01", "prescription02", "round")
_GLASSES_COLOURS = ("#262e33", "#3c4f5c")
_BEARDS = ("beardLight", "beardMedium", "beardMajestic")
_SMILES = ("smile", "tongue", "twinkle")
_OTHER_MOUTHS = ("serious", "sad", "disbelief")
_EYES = ("default", "happy", "side", "squint", "wink")
_EYEBROWS = ("default", "defaultNatural", "raisedExcitedNatural", "flatNatural", "upDownNatural")
_CLOTHES_STYLES = ("shirtCrewNeck", "shirtScoopNeck", "shirtVNeck", "hoodie", "collarAndSweater")
_VIEW = "7 -26 266 266"  # left, top, width, height


def attributes_of(seed: int, index: int) -> NDArray[np.float32]:
    """The attributes of face `index`, shape (8,), independent of each other."""
    return _attributes(sample_stream(seed, index))


def draw_face(seed: int, index: int, size: int) -> NDArray[np.uint8]:
    """Face `index` on white, shape (3, size, size)."""
    stream = sample_stream(seed, index)
    values = SCHEMA.decode(SCHEMA.encode_columns(_attributes(stream)[None])[0])
    return _render(_drawing_options(values, stream), size)


def drawing_version() -> str:
    """Changes whenever the same seed may give other pixels: this file or a package changed."""
    parts = [Path(__file__).read_bytes()]
    for package in ("dicebear-core", "dicebear-styles", "resvg_py"):
        parts.append(version(package).encode())
    return hashlib.sha256(b"|".join(parts)).hexdigest()[:12]


@cache
def licence() -> str:
    """The licence line of the style's own metadata."""
    return str(_published()["meta"]["license"]["text"])


def _attributes(stream: np.random.Generator) -> NDArray[np.float32]:
    row: list[float] = []
    for attribute in SCHEMA.attributes:
        if isinstance(attribute, Continuous):
            row.append(stream.random())
        else:
            row.append(int(stream.integers(max(attribute.width, 2))))
    return np.array(row, np.float32)


def _drawing_options(values: Mapping[str, Any], stream: np.random.Generator) -> dict[str, Any]:
    def pick(variants: tuple[str, ...]) -> list[str]:
        return [variants[int(stream.integers(len(variants)))]]

    hair = [HAIR[values["hair_colour"]]]
    return {
        "seed": "latentd",  # every choice is made here; DiceBear's own generator decides nothing
        "backgroundColor": ["#ffffff"],
        "skinColor": [_skin_colour(values["skin_tone"])],
        "topVariant": pick(HAIR_STYLES[values["hair_length"]]),
        "hairColor": hair,
        "facialHairColor": hair,
        "facialHairVariant": pick(_BEARDS),
        "facialHairProbability": 100 * values["beard"],
        "headwearVariant": pick(tuple(_HAT_SHIFTS)),
        "headwearProbability": 100 * values["hat"],
        "hatColor": pick(_HAT_COLOURS),
        "accessoriesVariant": pick(_GLASSES),
        "accessoriesColor": pick(_GLASSES_COLOURS),
        "accessoriesProbability": 100 * values["glasses"],
        "mouthVariant": pick(_SMILES if values["smile"] else _OTHER_MOUTHS),
        "eyesVariant": pick(_EYES),
        "eyebrowsVariant": pick(_EYEBROWS),
        "clothesVariant": pick(_CLOTHES_STYLES),
        "clothesColor": [CLOTHES[values["clothes_colour"]]],
    }


def _skin_colour(tone: float) -> str:
    """Linear between the neighbouring tones of the palette; 0 the darkest, 1 the lightest."""
    place = np.linspace(0.0, 1.0, len(SKIN_TONES))
    channels = [round(float(np.interp(tone, place, column))) for column in np.transpose(SKIN_TONES)]
    return "#{:02x}{:02x}{:02x}".format(*channels)


def _render(options: dict[str, Any], size: int) -> NDArray[np.uint8]:
    svg = Avatar(_style(), options).to_string()
    svg = svg.replace('viewBox="0 0 280 280"', f'viewBox="{_VIEW}"', 1)
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=size, height=size, background="#ffffff", skip_system_fonts=True
    )
    with Image.open(io.BytesIO(bytes(png))) as picture:
        pixels = np.asarray(picture.convert("RGB"))  # (size, size, 3)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@cache
def _published() -> dict[str, Any]:
    text = files("dicebear_styles").joinpath("avataaars.json").read_text("utf-8")
    definition: dict[str, Any] = json.loads(text)
    return definition


@cache
def _style() -> Style:
    definition = copy.deepcopy(_published())
    components, elements = definition["components"], definition["canvas"]["elements"]
    by_name = {element["name"]: element for element in elements}

    headwear = copy.deepcopy(components["top"])
    headwear["probability"] = 0
    headwear["variants"] = {
        name: {"elements": [_moved(headwear["variants"][name]["elements"], shift)]}
        for name, shift in _HAT_SHIFTS.items()
    }
    components["headwear"] = headwear
    hat = {**copy.deepcopy(by_name["top"]), "name": "headwear"}
    elements.insert(elements.index(by_name["top"]) + 1, hat)

    mouth = by_name["mouth"]
    mouth["attributes"] = {"transform": "translate(74 132) scale(1.44)"}
    elements.remove(mouth)
    elements.insert(elements.index(by_name["facialHair"]) + 1, mouth)
    return Style(definition)


def _moved(elements: list[Any], shift: int) -> dict[str, Any]:
    attributes = {"transform": f"translate(0 {shift})"}
    return {"name": "g", "type": "element", "attributes": attributes, "children": elements}

"""The types that requests are made of: strict, finite, bounded."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from models.noise import LARGEST_KEY

LARGEST_LATENT = 100.0  # standard deviations of the prior: far outside what any model was shown


class Strict(BaseModel):
    """A request, or part of one: no unknown fields, no conversions, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


Seed: TypeAlias = Annotated[
    int, Field(ge=0, le=LARGEST_KEY, description="Absent: drawn by the server, and told.")
]
Row: TypeAlias = Annotated[
    int, Field(ge=0, le=LARGEST_KEY, description="Which of a seed's rows of noise.")
]
Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]
Steps: TypeAlias = Annotated[int, Field(ge=2, le=1_000_000)]

# 2**53 and its like: beyond, not every JSON reader keeps an integer exact.
Integer: TypeAlias = Annotated[int, Field(ge=-LARGEST_KEY, le=LARGEST_KEY)]
Condition: TypeAlias = Annotated[
    dict[str, bool | Integer | float | str],
    Field(max_length=1000, description="Attributes and their values, as `condition_schema` says."),
]

LatentVector: TypeAlias = Annotated[
    list[Annotated[float, Field(ge=-LARGEST_LATENT, le=LARGEST_LATENT)]],
    Field(min_length=1, description="A latent's numbers, flat."),
]
Values: TypeAlias = Annotated[
    list[Annotated[float, Field(ge=-1e6, le=1e6)]],
    Field(min_length=1, description="One data point, where the model is about points."),
]
Picture: TypeAlias = Annotated[
    str, Field(min_length=1, description="A PNG, JPEG or WebP file in base64.")
]

Temperature: TypeAlias = Annotated[
    float, Field(ge=0, le=10, description="The latent is multiplied by it.")
]
Truncation: TypeAlias = Annotated[
    float,
    Field(
        gt=0,
        le=10,
        description="The prior is cut to [-truncation, truncation], before the temperature.",
    ),
]
Rejection: TypeAlias = Annotated[
    float,
    Field(
        ge=0,
        le=95,
        description="Discriminator rejection sampling: a sample that the discriminator likes "
        "better than this percentage of all samples is more likely kept than not; one that is "
        "not kept is drawn again.",
    ),
]
ChainSteps: TypeAlias = Annotated[
    int, Field(ge=1, le=1_000_000, description="Of a model that samples in steps.")
]
Options: TypeAlias = Annotated[
    dict[str, Annotated[float, Field(ge=-1e6, le=1e6)]],
    Field(max_length=16, description="Of a model that samples in steps, as its page lists them."),
]
Fit: TypeAlias = Annotated[
    Literal["resize"],
    Field(description="Cut the middle and resize; else another size is refused."),
]


class Drawing(Strict):
    """What is drawn from the prior, and how."""

    n: Count = 1
    seed: Seed | None = None
    first_row: Row = 0
    temperature: Temperature | None = None
    truncation: Truncation | None = None
    rejection: Rejection | None = None
    steps: ChainSteps | None = None
    options: Options | None = None
    preview_every: ChainSteps | None = Field(
        default=None, description="Steps between previews, with Accept: text/event-stream."
    )
    return_latents: bool = False


class BareInputs(Strict):
    """Pictures that come in, or points where the model is about points."""

    pictures: Annotated[list[Picture], Field(min_length=1)] | None = None
    values: Annotated[list[Values], Field(min_length=1)] | None = None
    fit: Fit | None = None


class Inputs(BareInputs):
    """The same with what is known of them."""

    attributes: Condition | Annotated[list[Condition], Field(min_length=1)] | None = Field(
        default=None,
        description="What is known of the pictures, of all or of each; the rest is predicted.",
    )

"""Figure 14.3 of *Understanding Deep Learning* (Prince, 2023): six wishes, four kinds of model, and
which kind fulfils which wish.

The figure has no row for other families than these; nothing is put in the book's mouth for them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

FIGURE = "Figure 14.3 of Understanding Deep Learning (Prince, 2023, MIT Press)"

Aspect: TypeAlias = Literal["sampling", "quality", "coverage", "latents", "factors", "likelihood"]
Mark: TypeAlias = Literal["yes", "no", "open", "none"]  # tick, cross, question mark, n/a

ASPECTS: dict[Aspect, str] = {
    "sampling": "Efficient sampling",
    "quality": "Sample quality",
    "coverage": "Coverage",
    "latents": "Well-behaved latent space",
    "factors": "Disentangled latent space",
    "likelihood": "Efficient likelihood",
}

# In the order of ASPECTS.
MARKS: dict[str, tuple[Mark, Mark, Mark, Mark, Mark, Mark]] = {
    "GANs": ("yes", "yes", "no", "yes", "open", "none"),
    "VAEs": ("yes", "no", "open", "yes", "open", "no"),
    "Flows": ("yes", "no", "open", "yes", "open", "yes"),
    "Diffusion": ("no", "yes", "open", "no", "no", "no"),
}

# Which of our families are of the kinds that the book means (its chapters 15 to 18).
KINDS: dict[str, tuple[str, ...]] = {
    "GANs": ("gan", "dcgan", "acgan", "semi_supervised_gan", "wgan", "wgan_gp", "progan"),
    "VAEs": ("vae", "cvae", "beta_tcvae", "hierarchical_vae"),
    "Flows": ("realnvp", "glow", "spline_flow"),
    "Diffusion": ("diffusion",),
}


def kind_of(family: str) -> str | None:
    """The book's kind that a family is of.

    >>> kind_of("wgan_gp"), kind_of("histogram")
    ('GANs', None)
    """
    return next((kind for kind, families in KINDS.items() if family in families), None)


def mark(family: str, aspect: Aspect) -> Mark | None:
    """What the figure says of a family; None where it has no row for it.

    >>> mark("diffusion", "sampling")
    'no'
    """
    kind = kind_of(family)
    return None if kind is None else MARKS[kind][list(ASPECTS).index(aspect)]

"""Notices in the logged numbers of two players that they no longer learn from each other, and says
so in plain words, with what to try."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Values = Mapping[str, float]  # as logged, means since the last time


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong where it holds `times` times in a row.

    Args:
        needs: the numbers that `holds` looks at; where they are not logged, it does not apply.
        text: for a person; {name} stands for a number.
    """

    needs: tuple[str, ...]
    holds: Callable[..., bool]
    times: int
    text: str


TROUBLES = (
    Trouble(
        ("diversity",),
        lambda diversity: diversity < 0.2,
        4,
        "samples vary {diversity:.2f} times as much as the data: the generator may have collapsed "
        "to a few modes. Try model.minibatch_kernels = 16 or model.deviation_group = 4, a lower "
        "training.learning_rate, or the family wgan_gp",
    ),
    Trouble(
        ("modes", "modes_of_data"),
        lambda modes, of_data: modes < 0.8 * of_data,
        2,
        "samples show {modes:.0f} of the {modes_of_data:.0f} values of attributes that the data "
        "show: modes are lost. Try model.minibatch_kernels = 16 or model.deviation_group = 4, or "
        "the family wgan_gp",
    ),
    Trouble(
        ("ms_ssim", "ms_ssim_of_data"),
        lambda similarity, of_data: similarity > of_data + 0.5 * (1 - of_data),
        2,
        "samples are more alike (MS-SSIM {ms_ssim:.2f}) than the data ({ms_ssim_of_data:.2f}): the "
        "generator may have collapsed. Try model.minibatch_kernels = 16 or model.deviation_group "
        "= 4, a lower training.learning_rate, or the family wgan_gp",
    ),
    Trouble(
        ("discriminator_real_probability", "discriminator_fake_probability"),
        lambda real, fake: real > 0.98 and fake < 0.02,
        8,
        "the discriminator tells all fakes ({discriminator_fake_probability:.3f}) from real rows "
        "({discriminator_real_probability:.3f}), so that the generator learns little from it. Try "
        "a lower training.discriminator_learning_rate, model.real_target = 0.9, model.r1 = 1, or "
        "the family wgan_gp",
    ),
    Trouble(
        ("discriminator_real_probability", "discriminator_fake_probability"),
        lambda real, fake: abs(real - fake) < 0.01,
        20,
        "the discriminator tells nothing ({discriminator_real_probability:.3f} of real rows, "
        "{discriminator_fake_probability:.3f} of fakes). Where samples are not good yet, try a "
        "higher training.discriminator_learning_rate, or more model.channels or model.hidden",
    ),
    Trouble(
        ("saturation",),
        lambda saturation: saturation > 0.98,
        4,
        "nearly all values of samples ({saturation:.0%}) are at their ends, where the generator "
        "gets no gradient. Try a lower training.learning_rate",
    ),
    Trouble(
        ("discriminator_gap",),
        lambda gap: abs(gap) > 1e4,
        2,
        "the critic's scores run away: real rows and fakes are {discriminator_gap:.3g} apart. Try "
        "a larger model.gradient_penalty, model.drift = 0.001, or a lower "
        "training.discriminator_learning_rate",
    ),
)


class TroubleWatch:
    """Told of the numbers each time they are logged."""

    def __init__(self) -> None:
        self._in_a_row = dict.fromkeys(TROUBLES, 0)

    def texts(self, values: Values) -> list[str]:
        """What is to be said now: of each trouble once, when it has lasted long enough; again if
        it went away in between."""
        found = []
        for trouble in TROUBLES:
            if any(name not in values for name in trouble.needs):
                continue
            holds = trouble.holds(*(values[name] for name in trouble.needs))
            self._in_a_row[trouble] = self._in_a_row[trouble] + 1 if holds else 0
            if self._in_a_row[trouble] == trouble.times:
                found.append("warning: " + trouble.text.format_map(values))
        return found

"""Semi-supervised GAN of K + 1 classes (Salimans et al., 2016, arXiv:1606.03498, section 5).

z --generator--> picture --discriminator--> scores l_1 ... l_K of the classes of real pictures

A fake is class K + 1, whose score is 0, so that the log-odds of being real are log sum_k exp(l_k).
A few training rows come with their class, which the discriminator learns to tell (L_supervised);
all others teach it what is real (L_unsupervised). Feature matching is the generator's objective
unless a recipe says otherwise: the paper found that it tells classes best.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from models.capabilities import AttributeClassifier, Condition
from models.conditions import Categorical, ConditionSchema
from models.family import TaughtConfig
from models.learning import Batch, Losses, Passes
from models.networks.adversarial_config import AdversarialConfig
from models.networks.adversarial_family import AdversarialFamily
from models.networks.gan_objectives import WITH_PROBABILITIES
from models.noise import Noise


class SemiSupervisedGANConfig(TaughtConfig, AdversarialConfig):
    feature_matching: bool = True
    classes: str = ""  # the attribute whose values are the classes; the first of names if left out
    labelled_rows: PositiveInt = 100  # that come with their class, as many of each as can be
    supervised_weight: float = Field(default=1.0, gt=0)

    @property
    def attribute(self) -> Categorical:
        """The attribute whose values are the classes."""
        found = self.taught.attribute(self.classes)
        assert isinstance(found, Categorical)
        return found

    @model_validator(mode="before")
    @classmethod
    def _first_of_names(cls, data: dict[str, object]) -> dict[str, object]:
        taught = ConditionSchema.model_validate(data.get("taught", {}))
        names = [each.name for each in taught.attributes if isinstance(each, Categorical)]
        if not names:
            raise ValueError("needs data with class labels or an attribute of named values")
        if data.get("classes", names[0]) not in names:
            raise ValueError(f"classes: expected one of {', '.join(names)}")
        return {"classes": names[0], **data}

    @model_validator(mode="after")
    def _scores_are_of_classes(self) -> Self:
        if self.conditional:
            raise ValueError("learns classes without being told them: conditional = false")
        if self.objective not in WITH_PROBABILITIES:
            raise ValueError(f"{self.objective} gives no probabilities of being real")
        if self.labelled_rows < self.attribute.width:
            raise ValueError(
                f"labelled_rows: at least one of each of {self.attribute.width} classes"
            )
        return self

    @classmethod
    def tiny(cls, shape: tuple[int, ...], condition: ConditionSchema) -> Self:
        return cls.for_data(
            shape,
            condition,
            network="dense" if len(shape) != 3 else "convolutional",
            latent_width=8,
            hidden=(32,),
            channels=16,
            inversion_steps=60,
            inversion_restarts=2,
            inversion_rate=0.1,
            labelled_rows=400,
        )


class SemiSupervisedGAN(AdversarialFamily[SemiSupervisedGANConfig], AttributeClassifier):
    config_type = SemiSupervisedGANConfig

    labelled: Tensor
    labels: Tensor

    def __init__(self, config: SemiSupervisedGANConfig) -> None:
        super().__init__(config)
        # Kept with the weights, so that a run that goes on knows them.
        rows, classes = config.labelled_rows, config.attribute.width
        self.register_buffer("labelled", torch.zeros(rows, *config.shape))
        self.register_buffer("labels", torch.zeros(rows, classes))

    @property
    def classified_schema(self) -> ConditionSchema:
        return ConditionSchema(attributes=(self.config.attribute,))

    def classify(self, x: Tensor) -> Condition:
        self.check_rows(x)
        scores = self._criticised(self._inside(x), None)[:, 1:]
        return F.one_hot(scores.argmax(dim=1), self.config.attribute.width).to(scores)

    def prepare(self, passes: Passes) -> None:
        """The first rows of each class are those that come with their class."""
        super().prepare(passes)
        where = self.config.taught.slices[self.config.classes]
        rows, classes = self.config.labelled_rows, self.config.attribute.width
        # As many of each class, and one more of the first where it does not come out even.
        wanted = [rows // classes + (index < rows % classes) for index in range(classes)]
        found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in wanted]
        for batch in passes():
            assert batch.labels is not None
            of_classes = batch.labels[:, where]
            for index, count in enumerate(wanted):
                for row in (of_classes.argmax(dim=1) == index).nonzero()[:, 0].tolist():
                    if len(found[index]) == count:
                        break
                    found[index].append((batch.x[row], of_classes[row]))
        chosen = [pair for of_class in found for pair in of_class]
        # Where a class has too few rows, some stand twice.
        which = torch.arange(rows) % len(chosen)
        self.labelled.copy_(torch.stack([chosen[index][0] for index in which.tolist()]))
        self.labels.copy_(torch.stack([chosen[index][1] for index in which.tolist()]))

    def discriminator_losses(self, batch: Batch, noise: Noise) -> Losses:
        losses = super().discriminator_losses(batch, noise)
        share = noise.stream("labelled").uniform()
        rows = (share * len(self.labelled)).long().clamp(max=len(self.labelled) - 1)
        scores = self._criticised(self._inside(self.labelled[rows]), None)[:, 1:]
        nats = F.cross_entropy(scores, self.labels[rows])
        right = (scores.argmax(dim=1) == self.labels[rows].argmax(dim=1)).float().mean()
        return {
            **losses,
            "loss": losses["loss"] + self.config.supervised_weight * nats,
            "class_nats": nats.detach(),
            "class_accuracy": right,
        }

    @property
    def _scores(self) -> int:
        return self.config.attribute.width

    def _criticised(self, x: Tensor, y: Condition | None) -> Tensor:
        """The log-odds of being real, then the score of each class."""
        scores = super()._criticised(x, y)
        return torch.cat([scores.logsumexp(dim=1, keepdim=True), scores], dim=1)

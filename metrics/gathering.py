"""Gathers what metrics are computed of, by asking questions of a model and an evaluator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from metrics.evidence import Evidence, Need
from metrics.questions import (
    ROWS_AT_ONCE,
    Decode,
    Draw,
    DrawLatents,
    Encode,
    Features,
    Probabilities,
    Question,
    Score,
    Tell,
)
from models.bundle import Bundle, Reference
from models.capabilities import (
    AttributeClassifier,
    Conditional,
    Density,
    Encoder,
    Evaluator,
    Latent,
    Likelihood,
    Sampler,
    offers,
)
from models.latents import lerp, slerp

# What an evaluator says of pictures, and which pictures these are.
SEEN: dict[Need, Need] = {
    "real_features": "real",
    "sample_features": "samples",
    "training_features": "training",
    "sample_probabilities": "samples",
    "told_attributes": "samples",
}
# What lies in the bundle: nobody has to be asked.
UNASKED: tuple[Need, ...] = (
    *("real", "training", "real_attributes", "training_attributes", "sample_attributes"),
)
# Along paths: latents of two ends, then pictures and their features at one or two places.
PASSES: dict[Need, int] = {"path_features": 6, "midpoint_features": 4}
SEARCHED_ROWS = 32  # whose latents are found by optimisation, which takes a while for each


@dataclass(frozen=True)
class Sizes:
    """How much is gathered.

    Args:
        n: samples, and at most as many held-out rows, scores, codes and paths.
        seed: of the samples and of which rows are taken.
        reference: which rows of the bundle are the real ones.
        effort: of a likelihood (`Density.log_prob`).
    """

    n: int = 2048
    seed: int = 0
    reference: Literal["held_out", "training"] = "held_out"
    effort: int = 1


@dataclass(frozen=True)
class Asked:
    """A question, and how far the phase that it belongs to is.

    Args:
        rows: that the question is about.
        done, total: rows of the phase that were asked for before it, and in all.
    """

    question: Question
    phase: Need
    rows: int
    done: int
    total: int


Part: TypeAlias = Literal["real", "training"]
# Is sent the answer to each question that it yields.
Gathering: TypeAlias = Generator[Asked, Any, None]


class Gatherer:
    """
    Args:
        subject: the bundle that is evaluated; None where pictures are given.
        evaluator: the bundle whose features are used; None where no metric wants any.
        evidence: what is known already: of given pictures, all but the evaluator's words.
    """

    def __init__(
        self,
        subject: Bundle | None,
        evaluator: Bundle | None,
        sizes: Sizes,
        evidence: Evidence | None = None,
    ) -> None:
        self.subject, self.evaluator, self.sizes = subject, evaluator, sizes
        self.evidence = evidence or Evidence(seed=sizes.seed)
        self._given = {
            name for name, value in vars(self.evidence).items() if isinstance(value, Tensor)
        }
        self._reference: Reference | None = None
        if evaluator is not None and isinstance(evaluator.model, AttributeClassifier):
            self.evidence.told_schema = evaluator.model.classified_schema
        if subject is not None:
            self.evidence.schema = subject.description.attribute_schema
            if isinstance(subject.model, Conditional) and offers(subject.model, Conditional):
                self.evidence.sample_schema = subject.model.condition_schema

    def lacks(self, need: Need) -> str | None:
        """Why something cannot be had; None where it can."""
        if need in self._given:
            return None
        by_evaluator = need in SEEN or need in ("path_features", "midpoint_features")
        if by_evaluator and (why := self._evaluator_lacks(need)):
            return why
        if need in SEEN:
            return self.lacks(SEEN[need])
        if self.subject is None:
            return f"no {need.replace('_', ' ')} were given"
        return self._subject_lacks(need, self.subject)

    def workload(self, needs: Iterable[Need]) -> int:
        """How many rows questions will be about in all: what progress is counted in."""
        wanted = set(needs)
        wanted |= {SEEN[need] for need in wanted if need in SEEN}
        return sum(self._rows_asked(need) for need in wanted if self.lacks(need) is None)

    def _rows_asked(self, need: Need) -> int:
        if need in self._given or need in UNASKED:
            return 0
        if need in PASSES:
            return PASSES[need] * self.sizes.n
        if need == "samples":
            return self.sizes.n
        if need in SEEN and SEEN[need] == "samples":
            given = self.evidence.samples
            return self.sizes.n if given is None else len(given)
        if need.startswith("training"):
            return self._count("training")
        if need in SEEN and self.evidence.real is not None:
            return len(self.evidence.real)
        count = self._count("real")
        return 2 * self._searched(count) if need == "reconstructions" else count

    def gather(self, need: Need) -> Gathering:
        """Puts it into the evidence, where it is not there yet."""
        if getattr(self.evidence, need) is None:
            yield from getattr(self, f"_gather_{need}")()

    # What there is.

    def _evaluator_lacks(self, need: Need) -> str | None:
        evaluator = self.evaluator
        if evaluator is None or not isinstance(evaluator.model, Evaluator):
            return "no evaluator was given: a bundle of family `evaluator` or `inception`"
        model = evaluator.model
        shape = self._shape()
        if not model.accepts(shape):
            return f"the evaluator {evaluator.path.name} does not look at rows of shape {shape}"
        if need == "sample_probabilities" and not model.has_classes:
            return f"the evaluator {evaluator.path.name} tells no classes"
        if need == "told_attributes" and not self.evidence.told_schema.attributes:
            return f"the evaluator {evaluator.path.name} tells no attributes"
        return None

    def _subject_lacks(self, need: Need, subject: Bundle) -> str | None:
        model, kind = subject.model, subject.description.family
        if need == "samples" and not offers(model, Sampler):
            return f"the family {kind} does not sample"
        if need == "sample_attributes" and not offers(model, Conditional):
            return "the model takes no condition"
        if need in ("reconstructions", "codes", "training_codes"):
            if not isinstance(model, Encoder) or not offers(model, Encoder):
                return f"the family {kind} does not encode"
            if need == "reconstructions" and not offers(model, Latent):
                return f"the family {kind} does not decode"
            if need != "reconstructions" and model.inference == "optimisation":
                return "its latents are found by search, too slowly for a data set"
        if need == "likelihood" and not offers(model, Density):
            return f"the family {kind} has no likelihood"
        if need in ("path_features", "midpoint_features") and not offers(model, Latent):
            return f"the family {kind} has no latents to go between"
        parts: dict[Need, Part] = {"real_attributes": "real", "training_attributes": "training"}
        if need in parts and self._attributes(parts[need]) is None:
            return "the bundle's reference rows have no attributes"
        if need in ("real", "training", "codes", "likelihood") and not self._count(
            "training" if need == "training" else "real"
        ):
            return "the bundle has no such reference rows"
        return None

    # How each is had.

    def _gather_real(self) -> Gathering:
        yield from ()
        self.evidence.real = _unit(self._rows("real"))

    def _gather_training(self) -> Gathering:
        yield from ()
        self.evidence.training = _unit(self._rows("training"))

    def _gather_real_attributes(self) -> Gathering:
        yield from ()
        self.evidence.real_attributes = self._attributes("real")

    def _gather_training_attributes(self) -> Gathering:
        yield from ()
        self.evidence.training_attributes = self._attributes("training")

    def _gather_sample_attributes(self) -> Gathering:
        yield from ()
        self.evidence.sample_attributes = self._conditions(self.sizes.n)

    def _gather_samples(self) -> Gathering:
        n, seed = self.sizes.n, self.sizes.seed
        conditions = self._conditions(n)
        found = yield from _in_parts(
            "samples", n, lambda rows: Draw(seed, rows.start, _length(rows), _at(conditions, rows))
        )
        # As they are served: what looks at pictures shall not tell floats from levels.
        self.evidence.samples = (found * 255).round() / 255 if found.dim() == 4 else found

    def _gather_real_features(self) -> Gathering:
        self.evidence.real_features = yield from self._features("real")

    def _gather_sample_features(self) -> Gathering:
        self.evidence.sample_features = yield from self._features("samples")

    def _gather_training_features(self) -> Gathering:
        self.evidence.training_features = yield from self._features("training")

    def _features(
        self, need: Literal["real", "samples", "training"]
    ) -> Generator[Asked, Any, Tensor]:
        yield from self.gather(need)
        x = self.evidence.have(need)
        phase: dict[str, Need] = {"real": "real_features", "samples": "sample_features"}
        found: Tensor = yield from _in_parts(
            phase.get(need, "training_features"), len(x), lambda rows: Features(x[rows])
        )
        return found

    def _gather_sample_probabilities(self) -> Gathering:
        yield from self.gather("samples")
        x = self.evidence.have("samples")
        self.evidence.sample_probabilities = yield from _in_parts(
            "sample_probabilities", len(x), lambda rows: Probabilities(x[rows])
        )

    def _gather_told_attributes(self) -> Gathering:
        yield from self.gather("samples")
        x = self.evidence.have("samples")
        self.evidence.told_attributes = yield from _in_parts(
            "told_attributes", len(x), lambda rows: Tell(x[rows])
        )

    def _gather_codes(self) -> Gathering:
        yield from self.gather("real")
        self.evidence.codes = yield from self._codes("codes", "real")

    def _gather_training_codes(self) -> Gathering:
        yield from self.gather("training")
        self.evidence.training_codes = yield from self._codes("training_codes", "training")

    def _codes(self, phase: Need, part: Part) -> Generator[Asked, Any, Tensor]:
        x, conditions = self.evidence.have(part), self._conditions_of(part)
        found = yield from _in_parts(
            phase, len(x), lambda rows: Encode(x[rows], _at(conditions, rows))
        )
        return found.flatten(1)

    def _gather_reconstructions(self) -> Gathering:
        yield from self.gather("real")
        x, y = self.evidence.have("real"), self._conditions_of("real")
        x = x[: self._searched(len(x))]
        z = yield from _in_parts(
            "reconstructions",
            len(x),
            lambda rows: Encode(x[rows], _at(y, rows)),
            total=2 * len(x),
        )
        self.evidence.reconstructions = yield from _in_parts(
            "reconstructions",
            len(x),
            lambda rows: Decode(z[rows], _at(y, rows)),
            before=len(x),
            total=2 * len(x),
        )

    def _gather_likelihood(self) -> Gathering:
        yield from self.gather("real")
        x, y = self.evidence.have("real"), self._conditions_of("real")
        parts: list[Likelihood] = []
        for rows in _parts(len(x)):
            score = Score(x[rows], self.sizes.seed, rows.start, self.sizes.effort, _at(y, rows))
            parts.append((yield Asked(score, "likelihood", len(score.x), rows.start, len(x))))
        self.evidence.likelihood = Likelihood(
            torch.cat([each.nats.double() for each in parts]),
            parts[0].kind,
            torch.cat([each.standard_error.double() for each in parts]),
            parts[0].measure,
        )

    def _gather_path_features(self) -> Gathering:
        """Pairs at t and t + step of each path (Karras et al., 2019, arXiv:1812.04948, section
        4.1)."""
        n, step = self.sizes.n, self.evidence.path_step
        t = self._generator("places on paths").random(n) * (1 - step)
        pairs = yield from self._along("path_features", np.stack([t, t + step], axis=1))
        self.evidence.path_features = pairs.reshape(n, 2, -1)

    def _gather_midpoint_features(self) -> Gathering:
        halves = np.full((self.sizes.n, 1), 0.5)
        self.evidence.midpoint_features = yield from self._along("midpoint_features", halves)

    def _along(self, phase: Need, places: np.ndarray[Any, Any]) -> Generator[Asked, Any, Tensor]:
        """Features of pictures at given places, (n, P) in [0, 1], of paths between latents: on the
        sphere where the prior is normal, else straight; (n P, D)."""
        subject = self.subject
        assert subject is not None
        assert isinstance(subject.model, Latent)
        (n, each), seed = places.shape, self.sizes.seed
        total = PASSES[phase] * n
        space = subject.model.latent_spaces[0]
        conditions = self._conditions(n)
        # A path's two ends are rows k and n + k, of one condition.
        of_ends = None if conditions is None else conditions.repeat(2, 1)
        ends = yield from _in_parts(
            phase,
            2 * n,
            lambda rows: DrawLatents(seed, rows.start, _length(rows), _at(of_ends, rows)),
            total=total,
        )
        method = "slerp" if space.prior == "standard_normal" else "lerp"
        flat = ends.flatten(1)
        z = torch.cat(
            [_between(flat[k], flat[n + k], places[k], method) for k in range(n)]
        ).reshape(n * each, *space.shape)
        if conditions is not None:
            conditions = conditions.repeat_interleave(each, dim=0)
        x = yield from _in_parts(
            phase,
            len(z),
            lambda rows: Decode(z[rows], _at(conditions, rows)),
            before=2 * n,
            total=total,
        )
        found: Tensor = yield from _in_parts(
            phase,
            len(x),
            lambda rows: Features(x[rows]),
            before=2 * n + len(z),
            total=total,
        )
        return found

    # The bundle's rows.

    def _shape(self) -> tuple[int, ...]:
        if self.subject is not None:
            return self.subject.description.shape
        given = self.evidence.samples
        return () if given is None else tuple(given.shape[1:])

    def _searched(self, count: int) -> int:
        model = self.subject.model if self.subject is not None else None
        is_search = isinstance(model, Encoder) and model.inference == "optimisation"
        return min(count, SEARCHED_ROWS) if is_search else count

    def _reference_rows(self) -> Reference:
        if self._reference is None:
            assert self.subject is not None
            self._reference = self.subject.reference()
        return self._reference

    def _order(self, part: Part) -> tuple[str, np.ndarray[Any, Any]]:
        """Which rows: `real` ones are a fair draw, as files may be sorted."""
        name = "training" if part == "training" else self.sizes.reference
        rows = getattr(self._reference_rows(), name)
        if part == "training":
            return name, np.arange(len(rows))
        return name, self._generator("reference").permutation(len(rows))[: self.sizes.n]

    def _count(self, part: Part) -> int:
        return len(self._order(part)[1])

    def _rows(self, part: Part) -> np.ndarray[Any, Any]:
        name, order = self._order(part)
        found: np.ndarray[Any, Any] = getattr(self._reference_rows(), name)[order]
        return found

    def _attributes(self, part: Part) -> Tensor | None:
        name, order = self._order(part)
        found = getattr(self._reference_rows(), f"{name}_attributes")
        return None if found is None else torch.from_numpy(found[order])

    def _conditions_of(self, part: Part) -> Tensor | None:
        """What the model is to be told of reference rows."""
        schema = self.evidence.sample_schema
        if not schema.attributes:
            return None
        columns = self._attributes(part)
        if columns is None:
            return torch.tensor([schema.encode({})]).repeat(self._count(part), 1)
        return torch.from_numpy(schema.encode_columns(columns.numpy()))

    def _conditions(self, count: int) -> Tensor | None:
        """What samples are asked for: what the real rows have, again and again."""
        found = self._conditions_of("real")
        if found is None or len(found) >= count:
            return None if found is None else found[:count]
        if not len(found):
            return torch.tensor([self.evidence.sample_schema.encode({})]).repeat(count, 1)
        return found.repeat(-(-count // len(found)), 1)[:count]

    def _generator(self, name: str) -> np.random.Generator:
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        return np.random.Generator(np.random.Philox(key=[self.sizes.seed, word]))


def _parts(count: int) -> Iterator[slice]:
    for start in range(0, count, ROWS_AT_ONCE):
        yield slice(start, min(start + ROWS_AT_ONCE, count))


def _in_parts(
    phase: Need,
    count: int,
    question: Callable[[slice], Question],
    before: int = 0,
    total: int | None = None,
) -> Generator[Asked, Any, Tensor]:
    """The answers to a question about each part of so many rows, joined."""
    found: list[Tensor] = []
    for rows in _parts(count):
        done, size = before + rows.start, _length(rows)
        found.append((yield Asked(question(rows), phase, size, done, total or count)))
    return torch.cat(found)


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)


def _at(conditions: Tensor | None, rows: slice) -> Tensor | None:
    return None if conditions is None else conditions[rows]


def _unit(values: np.ndarray[Any, Any]) -> Tensor:
    """Reference rows as models see them."""
    x = torch.from_numpy(np.ascontiguousarray(values)).float()
    return x / 255 if values.dtype == np.uint8 else x


def _between(a: Tensor, b: Tensor, places: np.ndarray[Any, Any], method: str) -> Tensor:
    """Points of a path (P, D)."""
    t = torch.from_numpy(places).to(a.dtype)
    return slerp(a, b, t) if method == "slerp" else lerp(a, b, t)

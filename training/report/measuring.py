"""One bundle to one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from metrics.evaluation import used
from metrics.gathering import Asked, Gatherer, Sizes
from metrics.metric import Metric
from metrics.results import MetricResult
from models.bundle import Bundle
from training.judging import judge
from training.report.curves import read_curves
from training.report.finding import group_of
from training.report.records import Record, Sampling, Scoring
from training.report.sheets import Rows, Sheets, draw_sheets
from training.report.timing import one_thread, time_sampling, time_scoring

FEWEST = 50  # samples, however slow a model is
# Pictures that the metrics want of a model for each sample that is asked for.
DECODED = 3  # pairs along a path, and a midpoint


@torch.no_grad()
def measure(
    name: str,
    subject: Bundle,
    evaluator: Bundle | None,
    metrics: Sequence[Metric],
    sizes: Sizes,
    limit: float | None,
    sheets: Sheets,
    done: Mapping[str, MetricResult],
    tell: Callable[[Asked | MetricResult], None] | None = None,
) -> Record:
    """
    Args:
        limit: seconds that the model's own work may take; of one that needs longer fewer samples
            are asked for.
        done: results of the same sizes, which are not measured again.
    Raises:
        LatentdError: the model cannot do what it says.
    """
    rows = rows_of(subject, sizes)
    with one_thread():
        drawn = time_sampling(subject, rows.conditions, sizes.seed)
        samples = None if drawn is None else drawn[1]
        sampling = None if drawn is None else drawn[0]
        scoring = None
        if rows.real is not None:
            scoring = time_scoring(subject, rows.real, rows.conditions, sizes.seed)
        pictures, distances, decoding = draw_sheets(subject, rows, samples, sizes.seed, sheets)
        n = _affordable(sizes.n, sampling, scoring, decoding, limit)
        asked = Sizes(n, sizes.seed, sizes.reference, sizes.effort)
        evaluation = judge(name, metrics, Gatherer(subject, evaluator, asked), tell, done)
    description = subject.description
    return Record(
        name=name,
        digest=subject.digest,
        family=description.family,
        group=group_of(subject),
        data=description.provenance.data,
        shape=description.shape,
        recipe=description.provenance.recipe,
        weights=sum(each.numel() for each in subject.model.state_dict().values()),
        steps=description.provenance.steps,
        evaluator=used(evaluator),
        n=sizes.n,
        seed=sizes.seed,
        evaluation=evaluation,
        sampling=sampling,
        scoring=scoring,
        draws_means=_draws_means(samples, rows.real),
        pictures=pictures,
        neighbour_distances=distances,
    )


def with_curves(record: Record, runs: Path | None) -> Record:
    """The record with its run's losses, as they are now; runs are named as bundles are."""
    if runs is None:
        return record
    return record.model_copy(update={"curves": read_curves(runs / record.name)})


def rows_of(subject: Bundle, sizes: Sizes) -> Rows:
    """The bundle's own rows, those that its metrics see."""
    gatherer = Gatherer(subject, None, sizes)
    for need in ("real", "training", "sample_attributes"):
        if gatherer.lacks(need) is None:
            for _ in gatherer.gather(need):
                pass  # nobody has to be asked for these
    evidence = gatherer.evidence
    return Rows(evidence.real, evidence.training, evidence.sample_attributes)


def _draws_means(samples: torch.Tensor | None, real: torch.Tensor | None) -> bool:
    """Whether samples lie between 0 and 1 where the data never do.

    >>> _draws_means(torch.tensor([0.5]), torch.tensor([0.0, 1.0]))
    True
    """
    if samples is None or real is None:
        return False
    return [bool(((x == 0) | (x == 1)).all()) for x in (samples, real)] == [False, True]


def _affordable(
    n: int,
    sampling: Sampling | None,
    scoring: Scoring | None,
    decoding: float | None,
    limit: float | None,
) -> int:
    """How many samples there is time for, of two digits where it is fewer than n.

    >>> from training.report.records import Spread
    >>> slow = Spread(median=2.0, lowest=2.0, highest=2.0, repeats=1, rows=16)
    >>> _affordable(1000, Sampling(seconds=slow, steps=1000), None, None, 300.0)
    150
    """
    if limit is None:
        return n
    seconds = sum(each.seconds.median for each in (sampling, scoring) if each is not None)
    seconds += DECODED * (decoding or 0.0)
    affordable = int(limit / seconds) if seconds else n
    if affordable >= n:
        return n
    unit: int = 10 ** max(len(str(affordable)) - 2, 0)
    return min(n, max(FEWEST, affordable // unit * unit))

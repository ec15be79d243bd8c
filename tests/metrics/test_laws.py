"""Laws that every metric keeps: it is tested by its file being there."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from metrics import classifier_accuracy_score
from metrics.evidence import Evidence
from metrics.registry import all_metrics
from models.capabilities import Likelihood
from models.conditions import Boolean, Categorical, ConditionSchema

ROWS, SIDE, WIDTH = 96, 16, 6
SCHEMA = ConditionSchema(
    attributes=(Categorical(name="label", values=("a", "b", "c")), Boolean(name="lit"))
)
NAMES = sorted(all_metrics())
# These split or pair rows, or draw some, as they come: another order is another draw.
OF_ORDER = {
    "classifier_accuracy_score",
    "dci_completeness",
    "dci_disentanglement",
    "dci_informativeness",
    "factor_vae_score",
    "inception_score",
    "ms_ssim",
    "separated_attribute_predictability",
    "sliced_wasserstein",
}
SAMPLES = ("samples", "sample_features", "sample_probabilities", "sample_attributes")
REAL = ("real", "real_features", "real_attributes", "reconstructions", "codes")


@pytest.fixture(autouse=True)
def brief_learning(monkeypatch):
    """Laws hold however long a classifier learns."""
    monkeypatch.setattr(classifier_accuracy_score, "STEPS", 20)


def draw(seed):
    return torch.Generator().manual_seed(seed)


def evidence(seed=0):
    g = draw(seed)
    classes = torch.randint(0, 3, (ROWS, 2), generator=g) % torch.tensor([3, 2])
    vectors = torch.from_numpy(SCHEMA.encode_columns(classes.float().numpy()))
    features = {
        name: torch.randn(ROWS, WIDTH, generator=g)
        for name in ("real_features", "sample_features", "training_features", "midpoint_features")
    }
    pictures = {
        name: torch.rand(ROWS, 1, SIDE, SIDE, generator=g)
        for name in ("real", "samples", "training", "reconstructions")
    }
    codes = torch.cat([classes + 0.1 * torch.randn(ROWS, 2, generator=g)] * 2, dim=1)
    return Evidence(
        schema=SCHEMA,
        sample_schema=SCHEMA,
        told_schema=SCHEMA,
        real_attributes=classes.float(),
        training_attributes=classes.float(),
        sample_attributes=vectors,
        told_attributes=vectors.roll(1, 0),
        sample_probabilities=torch.softmax(torch.randn(ROWS, 3, generator=g), dim=1),
        codes=codes,
        training_codes=codes + 0.1 * torch.randn(codes.shape, generator=g),
        path_features=torch.randn(ROWS, 2, WIDTH, generator=g),
        likelihood=Likelihood(
            torch.randn(ROWS, generator=g), "exact", torch.zeros(ROWS), "density"
        ),
        **features,
        **pictures,
    )


SEEN, AGAIN = evidence(), evidence()  # once: metrics that share work share it here too


def value(name, seen):
    return all_metrics()[name].measure(seen).value


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_keeps_its_bounds_and_its_error_is_sane(name):
    metric = all_metrics()[name]
    assert all((metric.definition, metric.source, metric.misses, metric.needs))
    assert metric.smallest_n > 1
    found = metric.measure(SEEN)
    assert metric.lowest is None or found.value >= metric.lowest - 1e-6
    assert metric.highest is None or found.value <= metric.highest + 1e-6
    assert found.standard_error is not None
    assert found.standard_error >= 0
    low, high = found.interval_95
    assert low - 1e-9 <= found.value <= high + 1e-9
    assert metric.measure(AGAIN) == found


@pytest.mark.parametrize("name", sorted(set(NAMES) - OF_ORDER))
def test_the_order_of_rows_makes_no_difference(name):
    seen = evidence()
    one, other = (torch.randperm(ROWS, generator=draw(k)) for k in (1, 2))
    for needs, order in (((*SAMPLES, "told_attributes"), one), (REAL, other)):
        for need in needs:
            setattr(seen, need, getattr(seen, need)[order])
    assert value(name, seen) == pytest.approx(value(name, evidence()), rel=1e-5, abs=1e-6)


COMPARING = ("frechet_distance", "kernel_distance", "sliced_wasserstein", "precision")


def compared(name, changed):
    """A metric of changed rows beside others of the same law, which are pictures or features."""
    g = draw(5)
    if name == "sliced_wasserstein":
        # Smooth pictures: noise is new to them.
        base = F.interpolate(torch.rand(48, 1, 4, 4, generator=g), size=SIDE, mode="bilinear")
        samples = changed(base[24:], draw(6)).clamp(0, 1)
        return value(name, Evidence(real=base[:24], samples=samples))
    base = torch.randn(800, WIDTH, generator=g)
    samples = changed(base[400:], draw(6))
    return value(name, Evidence(real_features=base[:400], sample_features=samples))


@pytest.mark.parametrize("name", COMPARING)
def test_more_noise_is_worse(name):
    levels = (0.0, 0.1, 0.2, 0.4) if name == "sliced_wasserstein" else (0.0, 1.0, 2.0, 4.0)
    found = [
        compared(name, lambda x, g, level=level: x + level * torch.randn(x.shape, generator=g))
        for level in levels
    ]
    sign = 1 if all_metrics()[name].better == "lower" else -1
    assert all(sign * before < sign * after for before, after in pairwise(found))


@pytest.mark.parametrize("name", ["frechet_distance", "kernel_distance", "precision", "recall"])
def test_a_set_is_nearest_to_itself(name):
    g = draw(5)
    base = torch.randn(400, WIDTH, generator=g)
    itself, *worse = (
        value(name, Evidence(real_features=base, sample_features=samples))
        for samples in (base, base + 2, 4 * base, base.roll(1, 1) + torch.randn(WIDTH, generator=g))
    )
    sign = 1 if all_metrics()[name].better == "lower" else -1
    assert all(sign * itself <= sign * each for each in worse)
    assert sign * itself < max(sign * each for each in worse)


def test_dropped_modes_cost_recall_and_coverage_and_not_precision():
    g = draw(7)
    modes = 30 * torch.eye(4)[:, None] + torch.randn(4, 100, 4, generator=g)
    more = 30 * torch.eye(4)[:, None] + torch.randn(4, 100, 4, generator=g)
    real = modes.flatten(0, 1)
    all_of_them, half = (
        {
            name: value(name, Evidence(real_features=real, sample_features=each.flatten(0, 1)))
            for name in ("precision", "recall", "coverage")
        }
        for each in (more, more[:2])
    )
    assert half["recall"] < 0.6 * all_of_them["recall"]
    assert half["coverage"] < 0.6 * all_of_them["coverage"]
    assert half["precision"] == pytest.approx(all_of_them["precision"], abs=0.1)


def test_copied_samples_change_neither_precision_nor_density_nor_coverage():
    seen = evidence()
    twice = Evidence(
        real_features=seen.real_features, sample_features=seen.sample_features.repeat(2, 1)
    )
    for name in ("precision", "density", "coverage"):
        assert value(name, twice) == value(name, seen)


@pytest.mark.parametrize("name", ["frechet_distance", "kernel_distance"])
def test_the_standard_error_is_the_spread_of_new_draws(name):
    g = draw(8)
    found = []
    for _ in range(60):
        seen = Evidence(
            real_features=torch.randn(300, 2, generator=g),
            sample_features=1.3 * torch.randn(300, 2, generator=g) + 0.7,
        )
        found.append(all_metrics()[name].measure(seen))
    spread = torch.tensor([each.value for each in found]).std().item()
    errors = torch.tensor([each.standard_error for each in found]).mean().item()
    assert errors == pytest.approx(spread, rel=0.35)


def test_copies_of_training_rows_are_told_from_new_draws():
    g = draw(9)
    training, held_out, new = (torch.rand(200, 8, generator=g) for _ in range(3))
    copies = training[:100] + 0.01 * torch.randn(100, 8, generator=g)
    honest, copied = (
        all_metrics()["memorisation"].measure(
            Evidence(training=training, samples=samples, real=held_out)
        )
        for samples in (new, copies)
    )
    assert honest.value == pytest.approx(0.5, abs=0.1)
    assert abs(honest.details["z"]) < 3
    assert copied.value > 0.95
    assert copied.details["p_value"] < 1e-6

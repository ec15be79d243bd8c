"""A bundle's evaluation: what is asked of the model, what is refused, what is written."""

import json

import numpy as np
import pytest
import torch

from metrics.evaluation import evaluating
from metrics.evidence import Evidence
from metrics.gathering import Asked, Gatherer, Sizes
from metrics.metric import Measured, Metric
from metrics.questions import ROWS_AT_ONCE, Draw, Encode, Score
from metrics.registry import all_metrics
from models.bundle import load_bundle
from models.capabilities import Conditional, Encoder, Sampler, offers
from tests.service.bundles import SCHEMA, build, save, supported
from training.evaluation_card import annotate
from training.judging import judge

EVERY_NEED = (
    *("real", "samples", "training", "real_attributes", "sample_attributes", "reconstructions"),
    *("codes", "training_codes", "training_attributes", "likelihood"),
)


def probe(needs, measure=lambda evidence: Measured(1.0), smallest_n=2, name="probe"):
    """A metric that wants something."""
    return Metric(name, "a", "b", "higher", None, None, smallest_n, "c", needs, measure)


@pytest.fixture
def bundle(tmp_path):
    def made(name="vae", shape=(3, 8, 8)):
        save(build(name, shape), tmp_path / name)
        return load_bundle(tmp_path / name)

    return made


@pytest.mark.parametrize("name", sorted(supported()))
def test_what_a_model_does_not_lack_is_had_of_it(name, tmp_path):
    """Every family: what is gathered has as many rows as it says, and questions as foretold."""
    family, shape = supported()[name]
    save(build(family, shape), tmp_path / name)
    subject = load_bundle(tmp_path / name)
    gatherer = Gatherer(subject, None, Sizes(n=3))
    can = [need for need in EVERY_NEED if gatherer.lacks(need) is None]
    assert ("samples" in can) == offers(subject.model, Sampler)
    asked = []
    evidence = {}

    def keep(found: Evidence) -> Measured:
        evidence.update(vars(found))
        return Measured(1.0)

    result = judge(
        name, [probe(tuple(can), keep)], Gatherer(subject, None, Sizes(n=3)), asked.append
    )
    assert not result.refused
    questions = [each for each in asked if isinstance(each, Asked)]
    assert sum(each.rows for each in questions) == gatherer.workload(can)
    rows = {need: result.results[0].rows[need] for need in can}
    assert all(rows[need] == 3 for need in can if not need.startswith("training")), rows
    if "reconstructions" in can:
        assert evidence["reconstructions"].shape == evidence["real"].shape
    if "codes" in can:
        assert evidence["codes"].dim() == 2


def test_samples_are_those_that_the_service_would_serve(bundle):
    """256 levels, of the rows of the seed; a conditional model is asked for what real rows have."""
    subject = bundle("cvae")
    seen = {}
    wanted = probe(
        ("samples", "sample_attributes"), lambda e: (seen.update(vars(e)), Measured(0.0))[1]
    )
    judge("a", [wanted], Gatherer(subject, None, Sizes(n=6, seed=5)))
    levels = seen["samples"] * 255
    assert torch.equal(levels, levels.round())
    assert seen["sample_attributes"].shape == (6, SCHEMA.width)
    # There are four held-out rows: the fifth sample has the first one's attributes again.
    assert torch.equal(seen["sample_attributes"][4], seen["sample_attributes"][0])


def test_rows_are_asked_for_in_parts_and_in_their_order(bundle):
    subject = bundle()
    steps = evaluating(
        "a", [probe(("samples",))], Gatherer(subject, None, Sizes(n=2 * ROWS_AT_ONCE + 1))
    )
    first, count, answer = 0, 0, None
    while isinstance(step := steps.send(answer), Asked):
        assert isinstance(step.question, Draw)
        assert step.question.first_row == first == step.done
        answer = torch.zeros(step.rows, 3, 8, 8)
        first, count = first + step.rows, count + 1
    assert (first, count) == (2 * ROWS_AT_ONCE + 1, 3)


def test_what_was_measured_before_is_not_measured_again(bundle):
    subject = bundle()
    metrics = [probe(("samples",), name="one"), probe(("likelihood",), name="two")]
    once = judge("a", metrics, Gatherer(subject, None, Sizes(n=2)))
    asked = []
    done = {"two": once.results[1]}
    again = judge("a", metrics, Gatherer(subject, None, Sizes(n=2)), asked.append, done)
    assert again.results[1] is once.results[1]
    assert not any(isinstance(each.question, Score) for each in asked if isinstance(each, Asked))


def test_reasons_are_given_for_what_cannot_be_had(bundle):
    subject = bundle("histogram", (2,))
    metrics = [
        probe(("codes",), name="encoder"),
        probe(("sample_features",), name="evaluator"),
        probe(("samples",), lambda e: Measured(float("nan")), name="not_finite"),
        probe(("samples",), smallest_n=10),
    ]
    found = judge("a", metrics, Gatherer(subject, None, Sizes(n=2)))
    assert "does not encode" in found.refused["encoder"]
    assert "no evaluator was given" in found.refused["evaluator"]
    assert "not a finite number" in found.refused["not_finite"]
    assert "fewer than 10 say little" in found.results[0].warnings[0]


def test_the_real_rows_are_a_fair_draw_named_by_the_seed(bundle, tmp_path):
    gatherers = [Gatherer(bundle(), None, Sizes(n=4, seed=seed)) for seed in (1, 1, 2, 3, 4)]
    orders = [tuple(each._order("real")[1]) for each in gatherers]
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_the_numbers_stand_in_the_bundle_which_computes_what_it_did(bundle):
    subject = bundle()
    evaluation = judge("a", [probe(("samples",))], Gatherer(subject, None, Sizes(n=2)))
    digest = annotate(subject.path, subject, evaluation)
    annotated = load_bundle(subject.path)
    assert annotated.digest == digest != subject.digest
    written = json.loads((subject.path / "evaluation.json").read_text())
    assert written == evaluation.model_dump(mode="json")
    assert "`probe` | 1 |" in annotated.card
    assert annotated.card.startswith(subject.card.rstrip())
    x, y = (each.model.state_dict() for each in (subject, annotated))
    assert all(torch.equal(x[name], y[name]) for name in x)
    assert annotated.description.files["model.safetensors"] == evaluation.weights
    assert np.array_equal(annotated.reference().held_out, subject.reference().held_out)
    # A second evaluation takes the first one's place.
    annotate(subject.path, annotated, evaluation)
    assert load_bundle(subject.path).card.count("## Evaluation") == 1


def test_a_conditional_encoder_is_told_what_its_rows_have(bundle):
    subject = bundle("cvae")
    assert offers(subject.model, Conditional)
    assert offers(subject.model, Encoder)
    steps = evaluating("a", [probe(("codes",))], Gatherer(subject, None, Sizes(n=3)))
    asked = next(steps)
    assert isinstance(asked.question, Encode)
    assert asked.question.condition is not None
    assert asked.question.condition.shape == (3, SCHEMA.width)


def test_every_metric_says_what_it_is():
    for name, metric in all_metrics().items():
        assert metric.name == name
        assert metric.definition, name
        assert metric.source, name
        assert metric.misses, name
        assert metric.smallest_n >= 1
        assert set(metric.needs) <= set(vars(Evidence()))

"""The promises that every family keeps. The fixture `trained` goes over the whole registry, and a
promise about a capability is asked of the families that have it."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models import registry
from models.capabilities import (
    CAPABILITIES,
    AttributeClassifier,
    Codec,
    Conditional,
    Density,
    Encoder,
    Evaluator,
    Inpainter,
    Latent,
    Sampler,
    Stepwise,
    capabilities_of,
    offers,
)
from models.errors import InvalidCondition, WrongShape
from models.learning import (
    Adversarial,
    Batch,
    ClosedForm,
    Contrastive,
    Given,
    Gradient,
    stages_of,
)
from models.noise import Noise
from models.steps import Chains, finished
from service.entropy import Stack, reader, writer
from tests.conftest import SCHEMA, SHAPE, families, learn

ROWS = 4
keys = st.tuples(st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1))
over_families = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def draw(trained, keys):
    return trained.model.sample(Noise(keys), trained.condition(len(keys)))


def test_a_family_says_what_it_can_do_and_how_it_is_learned(trained):
    assert set(capabilities_of(trained.model)) <= set(CAPABILITIES)
    assert any(offers(trained.model, each) for each in (Sampler, Encoder, Evaluator))
    for stage in stages_of(trained.model):
        ways = ClosedForm | Gradient | Adversarial | Contrastive | Given
        assert isinstance(stage.learner, ways)
    assert len(registry.source(trained.name)) > 20


def test_every_tensor_is_in_the_state(trained):
    tensors = {*dict(trained.model.named_parameters()), *dict(trained.model.named_buffers())}
    assert tensors == set(trained.model.state_dict())


@families(Sampler)
def test_samples_are_pictures(trained):
    x = draw(trained, [(7, row) for row in range(ROWS)])
    assert x.shape == (ROWS, *SHAPE)
    assert x.dtype == torch.float32
    assert x.min() >= 0
    assert x.max() <= 1


@families(Sampler)
def test_rows_differ(trained):
    x = draw(trained, [(7, 0), (7, 1), (8, 0)])
    if offers(trained.model, Conditional):
        x = trained.model.sample(Noise([(7, 0), (7, 1), (8, 0)]), trained.labels[:1].expand(3, -1))
    assert len({tuple(row.flatten().tolist()) for row in x}) == 3


@families(Sampler)
@over_families
@given(keys=st.lists(keys, min_size=2, max_size=5))
def test_a_sample_does_not_depend_on_its_batch_mates(trained, keys):
    model = trained.model
    together = draw(trained, keys)
    condition = trained.condition(len(keys))
    alone = model.sample(Noise(keys[-1:]), None if condition is None else condition[-1:])
    # Close, not equal: kernels round differently by batch size. Equal bytes are the engine's
    # promise, and need batches of one fixed shape.
    assert torch.allclose(together[-1:], alone, atol=1e-5)


@families(Sampler)
@over_families
@given(seed=st.integers(0, 2**53 - 1), first=st.integers(0, 10**6))
def test_row_k_of_eight_is_row_k_alone(trained, seed, first):
    model = trained.model
    condition = trained.condition(8)
    eight = model.sample(Noise.of_rows(seed, first, 8), condition)
    fifth = model.sample(
        Noise.of_rows(seed, first + 5, 1), None if condition is None else condition[5:6]
    )
    assert torch.allclose(eight[5:6], fifth, atol=1e-5)


@families(Latent)
def test_sampling_is_decoding_a_draw_from_the_prior(trained):
    model = trained.model
    condition = trained.condition(ROWS)
    z = model.draw(Noise.of_rows(7, count=ROWS), condition)
    assert z.shape == (ROWS, *model.latent_spaces[0].shape)
    sampled = model.sample(Noise.of_rows(7, count=ROWS), condition)
    assert torch.equal(model.decode(z, condition), sampled)


@families(Encoder)
def test_an_encoding_has_the_shape_of_a_latent(trained):
    model = trained.model
    posterior = model.encode(trained.x[:ROWS], trained.condition(ROWS))
    assert len(posterior.mean) == ROWS
    assert posterior.mean.isfinite().all()
    if offers(model, Latent):
        assert posterior.mean.shape[1:] == model.latent_spaces[0].shape
    if posterior.log_variance is not None:
        assert posterior.log_variance.shape == posterior.mean.shape
    if posterior.residual is not None:
        assert posterior.residual.shape == (ROWS,)


@families(Encoder, Latent)
def test_a_reconstruction_is_nearer_to_its_picture_than_to_others(trained):
    model = trained.model
    x, condition = trained.x, trained.condition(len(trained.x))
    rebuilt = model.decode(model.encode(x, condition).mean, condition)
    errors = torch.cdist(rebuilt.flatten(1), x.flatten(1))
    own, others = errors.diagonal().mean(), errors.mean()
    assert own < 0.9 * others


@families(Encoder)
def test_encoding_a_row_does_not_depend_on_its_batch_mates(trained):
    model = trained.model
    condition = trained.condition(ROWS)
    together = model.encode(trained.x[:ROWS], condition).mean[1:2]
    alone = model.encode(trained.x[1:2], None if condition is None else condition[1:2]).mean
    assert torch.allclose(together, alone, atol=1e-2)  # a search over latents amplifies rounding


@families(Density)
@pytest.mark.parametrize("effort", ["least", "more"])
def test_likelihoods_are_finite_and_of_a_known_kind(trained, effort):
    model = trained.model
    effort = 1 if effort == "least" else min(model.maximum_effort, 120)
    noise = Noise.of_rows(0, count=ROWS)
    found = model.log_prob(trained.x[:ROWS], noise, effort, trained.condition(ROWS))
    assert found.nats.shape == found.standard_error.shape == (ROWS,)
    assert found.nats.isfinite().all()
    assert found.kind in ("exact", "lower_bound", "estimate")
    assert found.measure in ("mass", "density")
    if found.measure == "mass":
        assert (found.nats <= 0).all()
    if found.kind == "exact":
        assert (found.standard_error == 0).all()


@families(Density)
def test_data_are_likelier_than_the_same_pixels_shuffled(trained):
    model = trained.model
    x, condition = trained.x, trained.condition(len(trained.x))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(1)[:, order].reshape(x.shape)
    noise = Noise.of_rows(0, count=len(x))
    likelier = model.log_prob(x, noise, 1, condition).nats.mean()
    assert likelier > model.log_prob(shuffled, noise, 1, condition).nats.mean() + 5


@families(Density)
def test_a_likelihood_repeats_and_does_not_depend_on_batch_mates(trained):
    model = trained.model
    effort = min(model.maximum_effort, 7)
    condition = trained.condition(ROWS)
    found = [
        model.log_prob(trained.x[:ROWS], Noise.of_rows(3, count=ROWS), effort, condition).nats
        for _ in range(2)
    ]
    assert torch.equal(*found)
    alone = model.log_prob(
        trained.x[2:3],
        Noise.of_rows(3, first_row=2),
        effort,
        None if condition is None else condition[2:3],
    ).nats
    assert torch.allclose(alone, found[0][2:3], rtol=1e-4)


@families(Conditional)
def test_a_condition_changes_the_sample_and_only_where_it_differs(trained):
    model = trained.model
    assert model.condition_schema == SCHEMA
    noise = [(7, 0), (7, 1)]
    zeros = torch.tensor([SCHEMA.encode({"label": "0"})] * 2)
    ones = torch.tensor([SCHEMA.encode({"label": "0"}), SCHEMA.encode({"label": "1"})])
    before, after = model.sample(Noise(noise), zeros), model.sample(Noise(noise), ones)
    assert torch.allclose(before[0], after[0], atol=1e-5)
    assert not torch.allclose(before[1], after[1], atol=1e-2)


@families(AttributeClassifier)
def test_a_classifier_gives_condition_vectors_and_knows_most_digits(trained):
    model = trained.model
    found = model.classify(trained.x)
    assert found.shape == trained.labels.shape
    assert torch.equal(found.sum(dim=1), torch.ones(len(found)))
    assert (found.argmax(1) == trained.labels.argmax(1)).float().mean() > 0.6


@families(Sampler, Conditional)
def test_a_missing_condition_is_refused(trained):
    with pytest.raises(InvalidCondition, match="needs a condition: label"):
        trained.model.sample(Noise.of_rows(0))
    with pytest.raises(InvalidCondition, match="width 10, got"):
        trained.model.sample(Noise.of_rows(0), torch.zeros(1, 3))


@families(Sampler, without=Conditional)
def test_an_unwanted_condition_is_refused(trained):
    with pytest.raises(InvalidCondition, match="takes no condition"):
        trained.model.sample(Noise.of_rows(0), torch.zeros(1, 10))


@families(Encoder)
def test_pictures_of_another_shape_are_refused(trained):
    model = trained.model
    with pytest.raises(WrongShape, match=r"expected rows of shape \(1, 8, 8\), got \(1, 9, 8\)"):
        model.encode(torch.zeros(1, 1, 9, 8), trained.condition(1))


def test_unknown_and_impossible_settings_are_refused(trained):
    config_type = type(trained.model.config)
    with pytest.raises(ValidationError, match="colour_of_the_bicycle"):
        config_type.for_data(SHAPE, SCHEMA, colour_of_the_bicycle="blue")
    with pytest.raises(ValidationError):
        config_type.for_data((0, 8, 8), SCHEMA)


def test_a_configuration_survives_json(trained):
    config = trained.model.config
    assert type(config).model_validate_json(config.model_dump_json()) == config


def test_every_parameter_learns(trained):
    if isinstance(trained.model, ClosedForm | Given):
        return  # it has no parameters that move
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = registry.build(trained.name, trained.model.config)
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    batch = Batch(trained.x, trained.condition(len(trained.x)), trained.labels)
    learn(model, [batch], epochs=3)
    still = [name for name, tensor in model.named_parameters() if torch.equal(tensor, before[name])]
    assert still == []


@families(Sampler)
def test_no_global_random_state_is_touched(trained):
    state = torch.get_rng_state()
    condition = trained.condition(ROWS)
    trained.model.sample(Noise.of_rows(0, count=ROWS), condition)
    if offers(trained.model, Encoder):
        trained.model.encode(trained.x[:ROWS], condition)
    if offers(trained.model, Density):
        trained.model.log_prob(trained.x[:ROWS], Noise.of_rows(0, count=ROWS), 1, condition)
    assert torch.equal(torch.get_rng_state(), state)


@families(Density)
def test_bits_per_dimension_are_within_reason(trained):
    """A model that has learned anything beats 256 equally likely levels: 8 bits a pixel."""
    model = trained.model
    x, condition = trained.x, trained.condition(len(trained.x))
    found = model.log_prob(x, Noise.of_rows(0, count=len(x)), 1, condition)
    dequantization = math.log(256) if found.measure == "density" else 0.0
    bits = (-found.nats.mean() / 64 + dequantization) / math.log(2)
    assert 0 < bits < 8


@families(Stepwise)
def test_chains_may_join_pause_and_leave_at_every_step(trained):
    """Rows that start later, ride beside others or are moved about come to the same end."""
    model = trained.model
    wanted = model.run_chains(Noise.of_rows(7, count=3), trained.condition(3), steps=6)
    early = model.begin(Noise.of_rows(7, count=2), trained.condition(2), steps=6)
    early = model.advance(model.advance(early))
    late = model.begin(
        Noise.of_rows(7, first_row=2),
        None if trained.condition(3) is None else trained.condition(3)[2:],
        steps=6,
    )
    chains = Chains.joined([late, early]).rows([1, 2, 0])  # as in `wanted`
    while (chains.left > 0).any():
        chains = model.advance(chains)
    assert chains.taken.tolist() == [6, 6, 6]
    assert torch.allclose(model.finish(chains), wanted, atol=1e-5)


@families(Stepwise)
def test_a_step_of_a_chain_that_is_done_changes_nothing(trained):
    model = trained.model
    chains = model.begin(Noise.of_rows(7, count=2), trained.condition(2), steps=1)
    done = model.advance(chains)
    again = model.advance(done)
    assert torch.equal(model.finish(done), model.finish(again))
    assert again.taken.tolist() == [1, 1]


@families(Stepwise, Inpainter)
def test_what_is_known_of_a_picture_stays(trained):
    model, x = trained.model, trained.x[:ROWS]
    known = torch.zeros_like(x, dtype=torch.bool)
    known[..., :4] = True
    chains = model.begin_inpainting(
        x, known, Noise.of_rows(7, count=ROWS), trained.condition(ROWS), steps=6
    )
    filled = model.run_to_end(chains)
    assert torch.equal(filled[known], x[known])
    assert not torch.equal(filled[~known], x[~known])
    assert filled.min() >= 0
    assert filled.max() <= 1


@families(Stepwise, Inpainter)
def test_what_is_not_known_of_a_picture_makes_no_difference(trained):
    model, x = trained.model, trained.x[:ROWS]
    known = torch.zeros_like(x, dtype=torch.bool)
    known[..., :4] = True
    other = torch.where(known, x, x.flip(0))
    found = [
        model.run_to_end(
            model.begin_inpainting(
                each, known, Noise.of_rows(7, count=ROWS), trained.condition(ROWS), steps=6
            )
        )
        for each in (x, other)
    ]
    assert torch.equal(*found)


@families(Codec)
def test_compressed_pictures_come_back_and_take_as_many_bits_as_they_are_unlikely(trained):
    model, x, condition = trained.model, trained.x, trained.condition(len(trained.x))
    coder = writer(model.coder)
    finished(model.compressing(x, coder, condition))
    content = coder.to_bytes()
    back = finished(model.decompressing(len(x), reader(model.coder, content), condition))
    assert torch.equal(back, x)
    bits = 8 * len(content) - (32 * Stack.seed_words if model.coder == "stack" else 0)
    # A bound of one sample is noisy: the mean of some is nearer to what bits back pay.
    scores = [
        model.log_prob(x, Noise.of_rows(seed, count=len(x)), 1, condition).nats.sum()
        for seed in range(5)
    ]
    own = -float(torch.stack(scores).mean()) / math.log(2)
    assert own * 0.98 - 64 < bits < own * 1.02 + 128


@families(Codec, without=Conditional)
def test_a_codec_takes_pictures_in_any_number(trained):
    model, x = trained.model, trained.x[:3]
    coder = writer(model.coder)
    finished(model.compressing(x, coder))
    assert torch.equal(finished(model.decompressing(3, reader(model.coder, coder.to_bytes()))), x)

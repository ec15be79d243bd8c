"""In which shapes a model's work runs, and at which cost: found by running it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

from models.bundle import load_bundle
from models.capabilities import Density, Sampler, Stepwise
from models.noise import Noise
from models.steps import finished
from service.acceleration import GuardedLinear, PackedTransposed, accelerate
from service.admission import Admission
from service.catalog import Served
from service.engine import Engine
from service.plans import Plan, Plans, WarmUp, noise_rows, works_of
from service.telemetry import Telemetry
from service.work import Draw, LogProb, Outputs, Rows, Sample, SampleChains
from tests.service import bundles
from tests.service.test_engine import Silent

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def served_of(bundles_dir, name):
    served = Served(name, load_bundle(bundles_dir / name))
    accelerate(served.model, CPU)
    return served


def planned(served, *, is_strict=True):
    plans = Plans(8)
    with torch.no_grad():
        finished(WarmUp(plans, served, is_strict, 0.1).steps(served.model, Rows(1), CPU))
    return plans


@pytest.mark.parametrize("name", bundles.supported())
def test_every_shape_that_is_allowed_gives_the_same_bytes(bundles_dir, name):
    """Also on rows that the warm-up has not seen, and in every place of the batch."""
    served = served_of(bundles_dir, name)
    plans = planned(served)
    assert set(plans.known) == set(works_of(served))
    for work, plan in plans.known.items():
        assert plan.row_seconds > 0
        assert (work.shape or 8) in plan.shapes
        if work.has_one_shape or len(plan.shapes) == 1:
            continue
        count = 8 if getattr(work, "share_work", False) else 48  # whole pictures, value by value
        rows = noise_rows(served, work, count)
        fresh = Noise.of_rows(seed=99, count=count)
        tensors = {
            key: fresh.normal(each.shape[1:]) if key == "z" else each
            for key, each in rows.tensors.items()
        }
        rows = Rows(count, tensors, fresh.keys)
        wanted = in_passes(served, work, rows, 8)
        for shape in [each for each in plan.shapes if each <= count]:
            found = in_passes(served, work, rows, shape)
            for key, tensor in wanted.tensors.items():
                same = tensor.numpy().tobytes() == found[key].numpy().tobytes()  # NaN too
                assert same, (work, shape, key)


def in_passes(served, work, rows, shape):
    parts = []
    with torch.no_grad():
        for start in range(0, rows.count, shape):
            part = rows.part(start, min(start + shape, rows.count))
            outputs = finished(work.steps(served.model, part.padded(shape), CPU))
            parts.append(outputs.part(0, part.count))
    return Outputs.joined(parts)


@dataclass
class Rounding:
    """A model whose numbers depend on the batch's shape a little, as a kernel's may."""

    shape = (4,)
    has_pictures = False

    def offers(self, *capabilities):
        return capabilities == (Sampler,)

    def sample(self, noise, condition=None):
        x = noise.normal((4,))
        return x * (1 + 1e-6 * (len(x) % 16 == 0))


def test_a_shape_that_rounds_differently_is_not_allowed_in_strict_mode_only():
    model = Rounding()
    for is_strict, shapes in ((True, {1, 2, 4, 8, 24}), (False, {1, 2, 4, 8, 16, 24, 48})):
        plans = Plans(8)
        finished(WarmUp(plans, model, is_strict).steps(model, Rows(1), CPU))
        assert shapes <= set(plans.plan(Sample()).shapes)
        assert (16 in plans.plan(Sample()).shapes) is not is_strict


def test_what_takes_long_costs_more(bundles_dir):
    for name in ("vae-grey", "walk-grey"):
        served = served_of(bundles_dir, name)
        plans = planned(served)
        if served.offers(Stepwise):
            one, many = (plans.row_seconds(SampleChains(steps)) for steps in (1, 100))
            assert many == pytest.approx(100 * one)
        if served.offering(Density).maximum_effort > 1:
            assert plans.row_seconds(LogProb(1000)) > 3 * plans.row_seconds(LogProb(2))


def test_steps_that_an_option_has_taken_again_cost_too_and_ride_with_the_others(bundles_dir):
    served = served_of(bundles_dir, "diffusion-pictures")
    plans, model = planned(served), served.offering(Stepwise)
    plain, again = (SampleChains.of(model, 10, {"resamplings": r}) for r in (1, 5))
    seconds = plans.row_seconds(SampleChains(1))
    assert plans.row_seconds(plain) == pytest.approx(10 * seconds)
    assert plans.row_seconds(again) == pytest.approx(46 * seconds)
    assert plain == again


def test_work_that_was_not_measured_runs_in_the_anchor_shape():
    plan = Plans(8).plan(Draw())
    assert plan.shapes == (8,)


def test_a_plan_takes_the_smallest_shape_with_room_and_forgets_what_memory_forbids():
    plan = Plan((2, 8, 32))
    assert [plan.shape_for(count) for count in (1, 2, 3, 8, 9, 32, 100)] == [2, 2, 8, 8, 32, 32, 32]
    assert plan.without(32)
    assert plan.largest == 8
    assert plan.without(8)
    assert not plan.without(2)
    assert plan.shapes == (2,)


def test_a_model_is_warmed_up_between_the_steps_of_others(bundles_dir):
    served = served_of(bundles_dir, "vae-grey")
    pool = ThreadPoolExecutor(1)
    engine = Engine(CPU, Telemetry(), Silent(), pool, Admission(10, 1), threads=1)
    engine.start()

    async def scene():
        warming = asyncio.ensure_future(engine.warm_up(served))
        answered = 0
        while not warming.done():
            await engine.run(served, Draw(), Rows(1, keys=((0, 0),)))
            answered += 1
        return answered, await warming

    try:
        answered, plans = asyncio.run(scene())
    finally:
        engine.stop()
        pool.shutdown()
    assert answered > 5
    assert set(plans.known) == set(works_of(served))


def test_normalisations_are_folded_and_weights_packed(bundles_dir):
    plain = load_bundle(bundles_dir / "dcgan-pictures").model
    quick = load_bundle(bundles_dir / "dcgan-pictures").model
    accelerate(quick, CPU)
    kinds = [type(layer) for layer in quick.modules()]
    assert torch.nn.BatchNorm2d not in kinds
    assert PackedTransposed in kinds
    z, y = torch.randn(6, plain.latent_width), torch.rand(6, plain.condition_schema.width)
    with torch.no_grad():
        assert torch.allclose(quick.decode(z, y), plain.decode(z, y), atol=1e-5)
        x = plain.decode(z, y)
        a, b = (model.encode(x[:2], y[:2]).residual for model in (quick, plain))
        assert torch.allclose(a, b, atol=1e-3)
    bytes_of = sum(each.nbytes for each in (*quick.parameters(), *quick.buffers()))
    assert bytes_of > sum(each.nbytes for each in plain.generator.parameters())


def test_a_guarded_product_gives_a_row_alone_what_it_gives_it_among_many():
    layer = GuardedLinear(torch.nn.Linear(64, 300).requires_grad_(False))
    x = torch.randn(32, 64)
    together = layer(x)
    for count in (1, 2, 3, 5):
        assert torch.equal(layer(x[:count]), together[:count])

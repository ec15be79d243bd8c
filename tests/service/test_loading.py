"""The catalog itself: models come into memory when asked for, within a budget, and are freed."""

import asyncio
import contextlib
import gc
import random
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import models.bundle
from models.capabilities import Encoder, Evaluator, Latent, Sampler
from models.noise import Noise
from service import loading
from service.catalog import Catalog
from service.discovery import bytes_of
from service.errors import DuplicateModel, ModelRefused, ModelTooLarge, OutOfMemory, UnknownModel
from service.telemetry import Telemetry
from tests.service import bundles

CONFIG = r"config\.json"
NAMES = ("anna", "bert", "cleo", "dora")


class Log(list):
    """Keeps the names of events; what they were about may be freed."""

    def __getattr__(self, level):
        return lambda event, **facts: self.append(event)


async def nothing(served):
    return None


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Four bundles with models of one size."""
    directory = tmp_path_factory.mktemp("four")
    for seed, name in enumerate(NAMES):
        save(directory / name, seed)
    return directory


@pytest.fixture
def directory(four, tmp_path):
    shutil.copytree(four, tmp_path / "bundles")
    return tmp_path / "bundles"


@pytest.fixture(scope="module")
def size():
    return bytes_of(bundles.build("vae", bundles.GREY))


@pytest.fixture
def make(directory):
    """Makes catalogs; unless told otherwise they have looked at the directory."""
    with ThreadPoolExecutor(4) as pool:

        def catalog(prepare=nothing, budget=None, pinned=(), preload=False, named=(), scan=True):
            found = Catalog(
                directory,
                named,
                torch.device("cpu"),
                Telemetry(),
                Log(),
                prepare=prepare,
                budget_bytes=budget,
                pinned=pinned,
                preload=preload,
                pool=pool,
            )
            if scan:
                found.scan_sync()
            return found

        yield catalog


def save(path, seed):
    return bundles.save(bundles.build("vae", bundles.GREY, seed=seed), path)


def corrupt(bundle):
    weights = bundle / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def loaded(catalog):
    return [each.id for each in catalog.served()]


def number(catalog, name, **labels):
    return catalog._telemetry.registry.get_sample_value(f"latentd_{name}", labels)


def loads(catalog, outcome="loaded"):
    return number(catalog, "loads_total", outcome=outcome) or 0


def drawn(served):
    return served.offering(Latent).sample(Noise.of_rows(1, count=2)).tolist()


async def until(condition):
    # Also of what is freed: the event loop and the pool's thread hold what they have handed over
    # until they have gone on to the next thing.
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


# What is known before anything is loaded


@pytest.mark.parametrize("name", bundles.supported())
def test_an_entry_answers_as_its_model_does(make, bundles_dir, name):
    catalog = make(named=(bundles_dir / name,))
    entry = catalog.get(name)

    def answers(of):
        return (
            of.capabilities,
            of.shape,
            of.schema,
            of.digest,
            of.description,
            of.latent_space if of.offers(Latent) else None,
            of.offering(Encoder).inference if of.offers(Encoder) else None,
        )

    before = answers(entry)
    assert (entry.status, entry.bytes, loaded(catalog)) == ("unloaded", 0, [])
    assert all(tensor.is_meta for tensor in entry.blank.state_dict().values())
    promised = bytes_of(entry.blank)
    served = asyncio.run(catalog.acquire(name))
    assert before == answers(served) == answers(entry)
    assert entry.status == "loaded"
    assert entry.bytes == promised == number(catalog, "model_bytes", model=name)


def test_names_that_are_not_there_are_told(make):
    catalog = make()
    for ask in (catalog.acquire, catalog.load, catalog.unload):
        with pytest.raises(UnknownModel, match="did you mean anna"):
            asyncio.run(ask("ana"))


# One load for all


def test_a_hundred_callers_are_one_load(make):
    prepared = []

    async def prepare(served):
        prepared.append(served.id)
        await asyncio.sleep(0.05)
        return "made ready"

    catalog = make(prepare)

    async def ask():
        return await asyncio.gather(*(catalog.acquire("anna") for _ in range(100)))

    found = asyncio.run(ask())
    assert len(set(found)) == 1
    assert found[0].prepared == "made ready"
    assert prepared == ["anna"]
    assert loads(catalog) == 1


def test_a_caller_that_leaves_does_not_take_the_model_from_the_others(make):
    async def story():
        gate = asyncio.Event()

        async def prepare(served):
            await gate.wait()

        catalog = make(prepare)
        first = asyncio.create_task(catalog.acquire("anna"))
        await until(lambda: catalog.entry("anna").status == "loading")
        second = asyncio.create_task(catalog.acquire("anna"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        assert (await second).id == "anna"
        assert loads(catalog) == 1

    asyncio.run(story())


def test_everybody_who_waits_gets_an_error_of_their_own(make, directory):
    corrupt(directory / "anna")
    catalog = make()

    async def ask():
        return await asyncio.gather(
            *(catalog.acquire("anna") for _ in range(10)), return_exceptions=True
        )

    errors = asyncio.run(ask())
    assert {type(error) for error in errors} == {ModelRefused}
    assert len(set(map(id, errors))) == 10
    assert loads(catalog, "refused") == 1


# The budget


def test_the_least_recently_used_makes_room(make, size):
    catalog = make(budget=2 * size)

    async def story():
        for name in ("anna", "bert", "anna", "cleo"):
            await catalog.acquire(name)
        assert loaded(catalog) == ["anna", "cleo"]
        await catalog.acquire("dora")

    asyncio.run(story())
    assert loaded(catalog) == ["cleo", "dora"]
    assert number(catalog, "evictions_total") == 2
    assert number(catalog, "models_loaded") == 2
    assert number(catalog, "model_bytes", model="anna") == 0
    assert catalog.entry("anna").status == "unloaded"


def test_what_is_pinned_stays(make, size):
    catalog = make(budget=2 * size, pinned=("anna",))

    async def story():
        await catalog.acquire("anna")
        for name in ("bert", "cleo", "dora"):
            await catalog.acquire(name)
        assert loaded(catalog) == ["anna", "dora"]
        await catalog.load("dora", pin=True)
        with pytest.raises(ModelTooLarge, match="pinned ones leave 0: unpin some"):
            await catalog.acquire("bert")
        assert loaded(catalog) == ["anna", "dora"]
        await catalog.load("dora", pin=False)
        await catalog.load("bert")
        assert loaded(catalog) == ["anna", "bert"]

    asyncio.run(story())
    assert loads(catalog, "too_large") == 1


def test_a_model_that_cannot_fit_puts_nothing_out(make, size):
    catalog = make(budget=size - 1)
    with pytest.raises(ModelTooLarge, match=f"takes {size} bytes.* may take {size - 1}"):
        asyncio.run(catalog.acquire("anna"))
    entry = catalog.entry("anna")
    assert (entry.status, entry.reason[:10]) == ("unloaded", "this model")
    assert number(catalog, "evictions_total") == 0


def test_what_is_added_in_getting_ready_counts_too(make, size):
    async def prepare(served):
        if served.id == "anna":
            packed = torch.zeros(size, dtype=torch.uint8)
            served.model.register_buffer("packed", packed, persistent=False)

    async def story(budget):
        catalog = make(prepare, budget=budget)
        await catalog.acquire("bert")
        try:
            await catalog.acquire("anna")
        finally:
            assert catalog._residency._reserved == {}
            assert sum(each.bytes for each in catalog.served()) <= budget
        return catalog

    catalog = asyncio.run(story(2 * size))
    assert loaded(catalog) == ["anna"]
    assert number(catalog, "model_bytes", model="anna") == 2 * size
    with pytest.raises(ModelTooLarge):
        asyncio.run(story(2 * size - 1))


def test_a_pin_that_cannot_be_had_leaves_no_trace(make, directory):
    corrupt(directory / "anna")
    catalog = make()
    with pytest.raises(ModelRefused):
        asyncio.run(catalog.load("anna", pin=True))
    assert not catalog.entry("anna").is_pinned


def test_models_that_load_at_once_wait_for_room(make, size):
    catalog = make(budget=size)

    async def story():
        return await asyncio.gather(*(catalog.acquire(name) for name in NAMES))

    found = asyncio.run(story())
    assert [each.id for each in found] == list(NAMES)
    assert len(loaded(catalog)) == 1
    assert number(catalog, "evictions_total") == 3


def test_the_budget_is_never_exceeded(make, size):
    budget = 2 * size + 100
    taken = []

    async def prepare(served):
        taken.append(served.bytes + sum(each.bytes for each in catalog.served()))
        await asyncio.sleep(random.random() / 500)

    catalog = make(prepare, budget=budget)

    async def ask(chance):
        for _ in range(15):
            name = chance.choice(NAMES)
            with contextlib.suppress(ModelTooLarge):
                if chance.random() < 0.2:
                    await catalog.unload(name)
                else:
                    assert (await catalog.acquire(name)).id == name
            taken.append(sum(each.bytes for each in catalog.served()))
            await asyncio.sleep(0)

    async def story():
        await asyncio.gather(*(ask(random.Random(seed)) for seed in range(6)))

    asyncio.run(story())
    assert size < max(taken) <= budget
    assert catalog._residency._reserved == {}
    assert loads(catalog, "refused") == 0
    assert number(catalog, "evictions_total") > 0


# Really freed


@pytest.fixture
def no_collection():
    """What is freed in here is freed as nobody holds it, not as a cycle that was found."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("name", bundles.supported())
def test_an_unloaded_model_is_freed_when_its_last_holder_lets_go(make, bundles_dir, name):
    catalog = make(named=(bundles_dir / name,))

    async def story():
        served = await catalog.acquire(name)
        gone = weakref.ref(served), weakref.ref(served.model)
        await catalog.unload(name)
        assert any(map(served.offers, (Sampler, Encoder, Evaluator))), "who holds it goes on"
        del served
        await until(lambda: [each() for each in gone] == [None, None])
        await catalog.unload(name)  # as often as one likes

    asyncio.run(story())
    assert number(catalog, "model_bytes", model=name) == 0
    assert number(catalog, "models_loaded") == 0


@pytest.mark.usefixtures("no_collection")
def test_an_evicted_model_is_freed(make, size):
    catalog = make(budget=size)

    async def story():
        gone = weakref.ref((await catalog.acquire("anna")).model)
        await catalog.acquire("bert")
        await until(lambda: gone() is None)

    asyncio.run(story())


@pytest.mark.usefixtures("no_collection")
def test_a_model_that_cannot_be_made_ready_is_freed_and_refused(make):
    seen = []

    async def prepare(served):
        seen.append(weakref.ref(served.model))
        raise RuntimeError("SECRET")

    catalog = make(prepare)

    async def story():
        with pytest.raises(ModelRefused, match="the server's log says why") as caught:
            await catalog.acquire("anna")
        assert "SECRET" not in str(caught.value)
        await until(lambda: seen[0]() is None)

    asyncio.run(story())
    assert catalog.entry("anna").status == "refused"
    assert "bundle.failed" in catalog._log


def test_fifty_times_in_and_out_leave_as_many_tensors(make):
    catalog = make()

    def tensors():
        gc.collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    async def story():
        async def in_and_out():
            await catalog.acquire("anna")
            await catalog.unload("anna")

        await in_and_out()
        await asyncio.sleep(0.05)
        before = tensors()
        for _ in range(50):
            await in_and_out()
        await until(lambda: tensors() == before)

    asyncio.run(story())


def test_a_model_that_is_being_loaded_is_unloaded_after(make):
    catalog = make()

    async def story():
        asked = asyncio.create_task(catalog.acquire("anna"))
        await asyncio.sleep(0)
        assert catalog.entry("anna").status == "loading"
        await catalog.unload("anna")
        assert drawn(await asked)
        assert loaded(catalog) == []

    asyncio.run(story())


def test_the_end_lets_go_of_everything(make):
    async def story():
        async def prepare(served):
            if served.id == "bert":
                await asyncio.Event().wait()

        catalog = make(prepare)
        await catalog.acquire("anna")
        asked = asyncio.create_task(catalog.acquire("bert"))
        await until(lambda: catalog.entry("bert").status == "loading")
        await catalog.close()
        assert loaded(catalog) == []
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(story())


# What is refused


def test_a_broken_bundle_is_refused_until_its_files_change(make, directory, four):
    corrupt(directory / "anna")
    catalog = make()

    async def story():
        for _ in range(3):
            with pytest.raises(ModelRefused, match=r"model\.safetensors: altered") as caught:
                await catalog.acquire("anna")
            assert str(directory) not in str(caught.value)
        assert loads(catalog, "refused") == 1, "nobody asks a broken disk again and again"
        assert (await catalog.rescan()).refused.keys() == {"anna"}
        with pytest.raises(ModelRefused):
            catalog.get("anna")
        shutil.copy(four / "anna" / "model.safetensors", directory / "anna")
        assert (await catalog.rescan()).refused == {}
        assert catalog.get("anna").status == "unloaded"
        await catalog.acquire("anna")

    asyncio.run(story())


def test_an_operator_may_try_again(make):
    async def story():
        faults = [RuntimeError("no memory just now")]

        async def prepare(served):
            if faults:
                raise faults.pop()

        catalog = make(prepare)
        with pytest.raises(ModelRefused):
            await catalog.acquire("anna")
        assert (await catalog.load("anna")).id == "anna"
        assert catalog.entry("anna").reason is None

    asyncio.run(story())


def test_what_may_soon_be_over_is_tried_again_for_the_next_caller(make):
    async def story():
        faults = [OutOfMemory("no memory"), MemoryError()]

        async def prepare(served):
            if faults:
                raise faults.pop()

        catalog = make(prepare)
        for message in ("memory does not suffice", "no memory"):
            with pytest.raises(OutOfMemory, match=message):
                await catalog.acquire("anna")
            assert catalog.get("anna").status == "unloaded"
            assert message in catalog.get("anna").reason
        await catalog.acquire("anna")
        assert catalog.get("anna").reason is None

        assert loads(catalog, "too_large") == 2

    asyncio.run(story())


def test_a_bundle_without_a_readable_config_answers_nothing(make, directory):
    (directory / "anna" / "config.json").write_text("{}")
    (directory / "bert" / "config.json").unlink()
    catalog = make()
    assert catalog.entry("anna").reason.startswith("config.json: altered")
    assert catalog.entry("bert").reason == "config.json: missing"
    for name in ("anna", "bert"):
        entry = catalog.entry(name)
        assert (entry.status, entry.is_described) == ("refused", False)
        with pytest.raises(ModelRefused, match=CONFIG):
            catalog.get(name)
        with pytest.raises(ModelRefused, match=CONFIG):
            assert entry.capabilities


# New versions


def test_a_new_version_replaces_the_old_and_holders_keep_theirs(make, directory):
    catalog = make()

    async def story():
        old = await catalog.acquire("anna")
        before = drawn(old)
        digest = save(directory / "anna", seed=9)
        assert catalog.entry("anna").digest == old.digest
        assert (await catalog.rescan()).changed == ("anna",)
        new = await catalog.acquire("anna")
        assert new.digest == digest == catalog.entry("anna").digest
        assert drawn(old) == before != drawn(new)
        assert number(catalog, "models_loaded") == 1
        gone = weakref.ref(old.model)
        del old
        await until(lambda: gone() is None)
        assert (await catalog.rescan()).changed == ()

    asyncio.run(story())
    assert loads(catalog) == 2


def test_the_old_version_serves_while_the_new_one_is_got_ready(make, directory):
    async def story():
        gate = asyncio.Event()
        gate.set()

        async def prepare(served):
            await gate.wait()
            return served.digest

        catalog = make(prepare)
        old = await catalog.acquire("anna")
        digest = save(directory / "anna", seed=9)
        gate.clear()
        rescan = asyncio.create_task(catalog.rescan())
        await until(lambda: catalog.entry("anna").loading is not None)
        await asyncio.sleep(0.05)
        assert await catalog.acquire("anna") is old
        assert catalog.entry("anna").status == "loaded"
        gate.set()
        assert (await rescan).changed == ("anna",)
        assert (await catalog.acquire("anna")).prepared == digest

    asyncio.run(story())


def test_a_corrupt_new_version_leaves_the_old_one_served_and_says_why(make, directory):
    catalog = make()

    async def story():
        old = await catalog.acquire("anna")
        save(directory / "anna", seed=9)
        corrupt(directory / "anna")
        for _ in range(2):
            changes = await catalog.rescan()
            assert changes.changed == ()
            assert changes.refused["anna"].startswith("model.safetensors: altered")
        assert loads(catalog, "refused") == 1, "it is not tried again as it is"
        entry = catalog.get("anna")
        assert (entry.status, entry.digest) == ("loaded", old.digest)
        assert entry.reason == changes.refused["anna"]
        assert await catalog.acquire("anna") is old
        with pytest.raises(ModelRefused):
            await catalog.load("anna")  # an operator may have it tried all the same
        assert loads(catalog, "refused") == 2
        assert await catalog.acquire("anna") is old
        digest = save(directory / "anna", seed=10)
        assert (await catalog.rescan()).changed == ("anna",)
        assert (await catalog.acquire("anna")).digest == digest
        assert entry.reason is None

    asyncio.run(story())


def test_the_old_version_once_unloaded_does_not_hide_that_the_new_one_is_broken(make, directory):
    catalog = make()

    async def story():
        await catalog.acquire("anna")
        (directory / "anna" / "config.json").write_text("{}")
        assert (await catalog.rescan()).refused["anna"].startswith("config.json: altered")
        assert drawn(await catalog.acquire("anna"))
        await catalog.unload("anna")
        with pytest.raises(ModelRefused, match=CONFIG):
            await catalog.acquire("anna")

    asyncio.run(story())


def test_two_versions_that_do_not_fit_together_wait_for_an_unload(make, directory, size):
    catalog = make(budget=size)

    async def story():
        old = await catalog.acquire("anna")
        digest = save(directory / "anna", seed=9)
        assert "unload this model" in (await catalog.rescan()).refused["anna"]
        assert await catalog.acquire("anna") is old
        await catalog.unload("anna")
        assert (await catalog.acquire("anna")).digest == digest
        assert (await catalog.rescan()).refused == {}

    asyncio.run(story())


def test_a_new_version_that_found_no_room_is_swapped_in_once_there_is_some(make, directory, size):
    catalog = make(budget=2 * size, pinned=("bert",))

    async def story():
        await catalog.acquire("anna")
        await catalog.acquire("bert")
        save(directory / "anna", seed=9)
        assert "anna" in (await catalog.rescan()).refused
        await catalog.unload("bert")
        assert (await catalog.rescan()).changed == ("anna",)

    asyncio.run(story())


def test_what_is_removed_goes_and_what_is_new_comes(make, directory, four):
    catalog = make()

    async def story():
        held = await catalog.acquire("anna")
        shutil.rmtree(directory / "anna")
        shutil.copytree(four / "bert", directory / "emil")
        changes = await catalog.rescan()
        assert (changes.added, changes.removed) == (("emil",), ("anna",))
        assert drawn(held)
        assert loaded(catalog) == []
        with pytest.raises(UnknownModel):
            await catalog.acquire("anna")
        await catalog.acquire("emil")

    asyncio.run(story())
    assert number(catalog, "model_bytes", model="anna") is None


def test_a_bundle_removed_while_it_is_loaded_is_for_those_who_wait_and_no_others(make, directory):
    async def story():
        gate, is_read = asyncio.Event(), asyncio.Event()

        async def prepare(served):
            is_read.set()
            await gate.wait()

        catalog = make(prepare)
        asked = asyncio.create_task(catalog.acquire("anna"))
        await is_read.wait()
        shutil.rmtree(directory / "anna")
        rescan = asyncio.create_task(catalog.rescan())
        await until(lambda: "anna" not in catalog.entries())
        gate.set()
        assert drawn(await asked)
        assert (await rescan).removed == ("anna",)
        assert loaded(catalog) == []
        assert catalog._residency._taken == 0

    asyncio.run(story())


def test_two_bundles_of_one_name_change_nothing(make, directory, four):
    catalog = make()

    async def story():
        served = await catalog.acquire("anna")
        catalog._bundles = (four / "anna",)
        shutil.rmtree(directory / "bert")
        with pytest.raises(DuplicateModel, match="anna"):
            await catalog.rescan()
        assert set(catalog.entries()) == set(NAMES)
        assert await catalog.acquire("anna") is served

    asyncio.run(story())


def test_two_rescans_come_one_after_the_other(make, directory, four):
    async def story():
        gate = asyncio.Event()
        gate.set()

        async def prepare(served):
            await gate.wait()

        catalog = make(prepare)
        await catalog.acquire("anna")
        gate.clear()
        save(directory / "anna", seed=9)
        shutil.copytree(four / "bert", directory / "emil")
        both = asyncio.gather(catalog.rescan(), catalog.rescan())
        await until(lambda: catalog.entry("anna").loading is not None)
        await asyncio.sleep(0.1)
        gate.set()
        first, second = await both
        assert (first.added, first.changed) == (("emil",), ("anna",))
        assert (second.added, second.changed) == ((), ())
        assert loads(catalog) == 2

    asyncio.run(story())


def test_a_bundle_replaced_while_it_is_read_is_not_served_mixed(make, directory, monkeypatch):
    catalog, digests = make(), []
    read = models.bundle._read_checked

    def replaced_before(path, name, expected):
        if not digests:  # its config.json was read, its weights were not
            digests.append(save(directory / "anna", seed=9))
        return read(path, name, expected)

    monkeypatch.setattr(models.bundle, "_read_checked", replaced_before)
    assert asyncio.run(catalog.acquire("anna")).digest == digests[0]
    assert catalog.entry("anna").digest == digests[0]
    assert (loads(catalog), loads(catalog, "refused")) == (1, 0)


def test_a_bundle_replaced_before_it_is_read_is_measured_again(make, directory, monkeypatch, size):
    """The room that was made is for the version that was looked at."""
    catalog, read = make(budget=size), loading.load_bundle

    def replaced_before(path, device):
        monkeypatch.setattr(loading, "load_bundle", read)
        bundles.save(bundles.build("vae", bundles.PICTURE), directory / "anna")
        return read(path, device)

    monkeypatch.setattr(loading, "load_bundle", replaced_before)
    with pytest.raises(ModelTooLarge):
        asyncio.run(catalog.acquire("anna"))
    assert catalog._residency._reserved == {}


def test_a_rescan_replaces_what_was_being_loaded_before_it(make, directory, monkeypatch):
    """A load that has read the old files when the new ones come."""
    catalog, is_read, go_on = make(), threading.Event(), threading.Event()
    read = loading.load_bundle

    def slow(path, device):
        found = read(path, device)
        is_read.set()
        assert go_on.wait(10)
        return found

    monkeypatch.setattr(loading, "load_bundle", slow)

    async def story():
        asked = asyncio.create_task(catalog.acquire("anna"))
        await until(is_read.is_set)
        digest = save(directory / "anna", seed=9)
        rescan = asyncio.create_task(catalog.rescan())
        await asyncio.sleep(0.05)
        go_on.set()
        assert (await asked).digest != digest
        await rescan
        assert (await catalog.acquire("anna")).digest == digest

    asyncio.run(story())


# Beforehand


def test_what_is_pinned_is_loaded_first_then_the_others_while_there_is_room(make, directory, size):
    order = []

    async def prepare(served):
        assert not catalog.is_ready
        order.append(served.id)

    corrupt(directory / "bert")
    catalog = make(prepare, budget=2 * size, pinned=("dora", "zeno"), preload=True)
    asyncio.run(catalog.preload())
    assert catalog.is_ready
    assert order == ["dora", "anna"]
    assert loaded(catalog) == ["anna", "dora"]
    assert number(catalog, "evictions_total") == 0
    assert "catalog.pinned_is_missing" in catalog._log


@pytest.mark.parametrize("scan", [True, False])
def test_a_broken_bundle_does_not_keep_the_others_from_being_loaded(make, directory, scan):
    corrupt(directory / "anna")
    (directory / "bert" / "config.json").write_text("{}")
    catalog = make(preload=True, scan=scan)
    asyncio.run(catalog.preload())
    assert catalog.is_ready
    assert loaded(catalog) == ["cleo", "dora"]
    assert catalog.entry("anna").status == catalog.entry("bert").status == "refused"
    assert loads(catalog, "refused") == 1


def test_without_preload_only_what_is_pinned_is_loaded(make):
    catalog = make(pinned=("cleo",))
    asyncio.run(catalog.preload())
    assert loaded(catalog) == ["cleo"]


def test_what_a_rescan_finds_is_loaded_as_at_the_start(make, directory, four):
    catalog = make(preload=True)

    async def story():
        await catalog.preload()
        await catalog.unload("bert")
        shutil.copytree(four / "bert", directory / "emil")
        await catalog.rescan()

    asyncio.run(story())
    assert loaded(catalog) == ["anna", "cleo", "dora", "emil"]


# The watch


@contextlib.asynccontextmanager
async def watching(catalog):
    watch = asyncio.create_task(catalog.watch(0.01))
    await asyncio.sleep(0.05)
    yield
    assert not watch.done()
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


def test_the_watch_rescans_when_something_has_changed_and_only_then(make, directory, four):
    catalog = make()

    async def story():
        old = await catalog.acquire("anna")
        async with watching(catalog):
            await asyncio.sleep(0.1)
            assert "catalog.scanned" not in catalog._log
            digest = save(directory / "anna", seed=9)
            await until(lambda: catalog.entry("anna").digest == digest)
            assert await catalog.acquire("anna") is not old
            shutil.rmtree(directory / "bert")
            await until(lambda: "bert" not in catalog.entries())
            scans = catalog._log.count("catalog.scanned")
            await asyncio.sleep(0.1)
            assert catalog._log.count("catalog.scanned") == scans

    asyncio.run(story())


def test_the_watch_outlives_what_is_wrong_with_the_directory(make, directory, four):
    shutil.rmtree(directory / "anna")
    catalog = make(named=(four / "anna",))
    shutil.copytree(four / "anna", directory / "anna")

    async def story():
        async with watching(catalog):
            shutil.copytree(four / "anna", directory / "emil")
            await until(lambda: "catalog.watch_failed" in catalog._log)
            assert "emil" not in catalog.entries()
            shutil.rmtree(directory / "anna")
            await until(lambda: "emil" in catalog.entries())
            assert catalog._log.count("catalog.watch_failed") == 1

    asyncio.run(story())


def test_the_watch_does_not_act_on_what_is_still_being_written(make, monkeypatch):
    catalog = make()
    looks = iter([1, 2, 3, 3])  # files that differ at each look, and then hold still
    scans = []

    async def story():
        def look():
            scans.append(catalog._log.count("catalog.scanned"))
            return {"file": next(looks, 3)}

        monkeypatch.setattr(catalog, "_stamps", look)
        async with watching(catalog):
            await until(lambda: len(scans) > 5)

    asyncio.run(story())
    assert scans[:5] == [0, 0, 0, 0, 1]
    assert scans[-1] == 1

"""Jobs as they are kept: taken by one, given up by none, counted once."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sql

from models.errors import InvalidConfig
from service.errors import JobOver, KeyReused, ModelFailed, Overloaded, UnknownJob
from service.job_records import Order, Progress
from service.job_store import FILE, JobStore
from service.job_tables import formats, open_database, url_of, writing

LEASE = 10.0


def order(model="vae", seed=0):
    return Order(
        model=model,
        digest="d",
        evaluator=None,
        evaluator_digest=None,
        metrics=("x", "y"),
        n=8,
        seed=seed,
        reference="held_out",
        effort=1,
    )


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def open_store(tmp_path, clock):
    """Opens the same store, as another process would."""
    opened = []

    def make(**settings):
        known = {"lease_seconds": LEASE, "most_attempts": 3, "most_waiting": 4, "clock": clock}
        opened.append(JobStore(None, tmp_path, **{**known, **settings}))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


def submit(store, key=None, asked="a", **more):
    return store.submit(order(**more), {}, 100, key, asked)[0]


def test_there_is_no_file_before_the_first_job(store, tmp_path):
    assert not store.is_there
    assert store.all() == []
    with pytest.raises(UnknownJob):
        store.get("a")
    submit(store)
    assert store.is_there
    assert (tmp_path / FILE).exists()


def test_the_oldest_is_taken_first_and_by_one_only(store, open_store, clock):
    ids = [submit(store, seed=k).id for k in range(3) if not setattr(clock, "now", 1000 + k)]
    others = [open_store() for _ in range(4)]
    with ThreadPoolExecutor(5) as pool:
        claims = list(pool.map(lambda each: each.claim(), [store, *others]))
    taken = [claim[1].id for claim in claims if claim is not None]
    assert sorted(taken) == sorted(ids)
    assert {store.get(id).state for id in ids} == {"running"}


def test_one_who_is_silent_loses_the_job_and_can_change_nothing_any_more(store, open_store, clock):
    job = submit(store)
    first, _ = store.claim()
    assert store.add_result(job.id, first, "x", '{"by": 1}')
    other = open_store()
    clock.now += LEASE - 1
    assert store.beat(job.id, first, Progress("samples", 5, 100))
    clock.now += LEASE - 1
    assert other.claim() is None  # it was heard of
    clock.now += 2
    second, taken = other.claim()
    assert (taken.id, taken.metrics_done) == (job.id, ("x",))
    assert taken.progress.rows == 0
    assert not store.beat(job.id, first, Progress())
    assert not store.add_result(job.id, first, "y", '{"by": 1}')
    assert not store.finish(job.id, first, "{}", {})
    assert not store.fail(job.id, first, ModelFailed("late"))
    assert not store.give_back(job.id, first)
    assert other.add_result(job.id, second, "y", '{"by": 2}')
    assert other.finish(job.id, second, '{"all": 2}', {"z": "no"})
    assert list(store.results(job.id).items()) == [("x", '{"by": 1}'), ("y", '{"by": 2}')]
    done = store.get(job.id)
    assert (done.state, done.refused, store.evaluation(job.id)) == (
        "done",
        {"z": "no"},
        '{"all": 2}',
    )
    assert store.claim() is None


def test_what_is_given_back_is_there_at_once_and_not_held_against_it(store):
    job = submit(store)
    for _ in range(5):
        holder, _ = store.claim()
        assert store.give_back(job.id, holder)
    assert store.get(job.id).attempts == 0


def test_a_job_that_ends_its_processes_is_given_up_unless_it_gets_further(store, clock):
    job = submit(store)
    for _ in range(3):
        holder, _ = store.claim()
        clock.now += LEASE + 1
    assert store.claim() is None
    found = store.get(job.id)
    assert found.state == "failed"
    assert found.problem["type"].endswith(":job-abandoned")
    job = submit(store)
    for k in range(9):
        holder, _ = store.claim()
        if k % 2:
            assert store.add_result(job.id, holder, f"m{k}", "{}")
        clock.now += LEASE + 1
    assert store.claim() is not None


def test_cancelling_is_at_once_and_what_is_over_stays_so(store):
    waiting, running = submit(store), submit(store)
    holder, _ = store.claim()
    for job in (waiting, running):
        for _ in range(2):
            assert store.cancel(job.id).state == "cancelled"
    assert not store.beat(running.id, holder, Progress())
    assert store.claim() is None
    job = submit(store)
    holder, _ = store.claim()
    store.fail(job.id, holder, ModelFailed("no"))
    with pytest.raises(JobOver):
        store.cancel(job.id)


def test_the_same_key_is_the_same_job_also_for_two_at_once(store, open_store):
    first = submit(store, "key", "a")
    again, is_new = store.submit(order(), {}, 1, "key", "a")
    assert (again.id, is_new) == (first.id, False)
    assert store.of_key("key", "a").id == first.id
    assert store.of_key("other", "a") is None
    for call in (store.of_key, lambda key, asked: store.submit(order(), {}, 1, key, asked)):
        with pytest.raises(KeyReused):
            call("key", "b")
    stores = [open_store() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda each: each.submit(order(), {}, 1, "new", "a"), stores))
    assert len({job.id for job, _ in made}) == 1
    assert sum(is_new for _, is_new in made) == 1


def test_too_many_are_turned_away_and_old_ones_forgotten(store, clock):
    kept = [submit(store) for _ in range(4)]
    with pytest.raises(Overloaded):
        submit(store)
    store.cancel(kept[0].id)
    submit(store)
    clock.now += 31 * 86400
    store.cancel(kept[1].id)
    submit(store)
    with pytest.raises(UnknownJob):
        store.get(kept[0].id)
    assert store.get(kept[1].id).state == "cancelled"


def test_lists_are_of_a_state_or_a_model_the_newest_first(store, clock):
    ids = []
    for k in range(3):
        clock.now += 1
        ids.append(submit(store, model="ab"[k % 2]).id)
    store.cancel(ids[0])
    assert [each.id for each in store.all()] == ids[::-1]
    assert [each.id for each in store.all(state="cancelled")] == ids[:1]
    assert [each.id for each in store.all(model="a", most=1)] == ids[2:]


def test_a_file_that_is_none_or_of_a_later_format_is_told(tmp_path):
    (tmp_path / FILE).write_text("no database, and long enough to be taken for the head of one")
    with pytest.raises(InvalidConfig, match="cannot keep jobs"):
        JobStore(None, tmp_path).open()
    later = tmp_path / "later"
    database = open_database(url_of(None, later, FILE))
    with writing(database) as connection:
        connection.execute(sql.update(formats).values(version=9))
    database.dispose()
    with pytest.raises(InvalidConfig, match="format 9"):
        JobStore(None, later).open()


@pytest.mark.parametrize("url", ["nonsense", "mysql://a/b", "sqlite://", "sqlite:///:memory:"])
def test_an_address_that_cannot_be_used_is_told(url, tmp_path):
    with pytest.raises(InvalidConfig) as caught:
        JobStore(url, tmp_path)
    assert caught.value.param == "jobs_url"


def test_what_was_committed_is_on_the_disk(store, tmp_path):
    submit(store)
    with sqlite3.connect(tmp_path / FILE) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    file.close()

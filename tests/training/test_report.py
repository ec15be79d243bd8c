"""One page about a folder of models: its numbers, and what it is in a real browser."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from models import registry
from tests.training.browser import opened
from tests.training.conftest import Runs
from training.cli import app
from training.recipe import Recipe
from training.report.book import ASPECTS, KINDS, MARKS
from training.report.columns import columns
from training.report.making import Wishes, make_report
from training.report.page import page_html
from training.report.records import PICTURES, RESULTS, Results, read_results
from training.report.verdicts import verdict

JUDGE = {
    "family": "evaluator",
    "data": {"name": "digits"},
    "model": {"channels": [4]},
    "training": {"steps": 10, "batch_size": 64},
}
MIXTURE = {
    "family": "mixture",
    "data": {"name": "digits", "binarize": "stochastic"},
    "model": {"components": 2, "law": "bernoulli"},
}
NAMES = ["dcgan", "mixture", "older/pca", "vae"]
N = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Models of digits, grey and binary, an evaluator, and a bundle with a flipped bit."""
    place: Path = tmp_path_factory.mktemp("place")
    runs = Runs(place)
    for name in ("pca", "vae", "dcgan"):
        runs.train(runs.recipe(name), "older/pca" if name == "pca" else name)
    for name, content in (("judge", JUDGE), ("mixture", MIXTURE)):
        runs.train(Recipe.model_validate(content), name)
    shutil.copytree(runs.bundle("vae"), runs.bundle("broken"))
    weights = runs.bundle("broken") / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return place


@pytest.fixture(scope="module")
def report(folder) -> Path:
    """The folder of a report on it."""
    lines: list[str] = []
    out = folder / "report"
    page = make_report(Wishes(folder / "bundles", out, n=N), lines.append)
    assert page == out / "index.html"
    assert any(line.startswith("broken is left out: model.safetensors") for line in lines)
    return out


def results(report: Path) -> Results:
    found = read_results(report / RESULTS)
    assert found is not None
    return found


def document(report: Path) -> ElementTree.Element:
    """The page as XML, which it is but for its first line."""
    text = (report / "index.html").read_text(encoding="utf-8")
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def test_every_whole_model_is_measured_and_judged_by_its_datas_evaluator(report):
    found = results(report)
    records = [found.records[key] for key in found.shown]
    assert [each.name for each in records] == NAMES
    assert {each.evaluator.name for each in records if each.evaluator} == {"judge"}
    assert {each.group for each in records} == {"digits, grey", "digits, binary"}
    assert [each.path for each in found.left_out] == ["broken"]
    for each in records:
        assert each.sampling is not None
        assert each.sampling.seconds.median > 0
        assert each.value("precision") is not None
        assert set(each.pictures) >= {"samples", "data", "neighbours"}
    by_name = {each.name: each for each in records}
    assert by_name["vae"].scoring is not None
    assert by_name["vae"].scoring.kind == "lower_bound"
    assert by_name["vae"].draws_means
    assert not by_name["mixture"].draws_means
    assert "loss" in {each.name for each in by_name["vae"].curves}
    assert by_name["dcgan"].scoring is None
    assert "interpolation" in by_name["dcgan"].pictures


def test_the_page_is_well_formed_and_has_one_table_a_data_set(report):
    page = document(report)
    tables = page.findall(".//table[@class='numbers']")
    captions = ["".join(each.find("caption").itertext()) for each in tables]  # type: ignore[union-attr]
    assert [each.split(", judged")[0] for each in captions] == [
        "2 models of digits, binary",
        "2 models of digits, grey",
    ]
    assert all("judged by judge (evaluator, " in each for each in captions)
    assert len(page.findall(".//article")) == len(NAMES)
    left = "".join(page.findall(".//section")[-1].itertext())
    assert "broken" in left
    assert "model.safetensors: altered" in left


def test_every_number_of_the_tables_follows_from_the_results(report):
    shown = {
        float(cell.get("data-value"))
        for cell in document(report).findall(".//table[@class='numbers']/tbody/tr/td")
        if cell.get("data-value")
    }
    known: set[float] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict | list):
            for each in value.values() if isinstance(value, dict) else value:
                walk(each)
        elif isinstance(value, int | float) and value:
            known.update((float(value), 1 / value, 1000 * value))

    walk(results(report).model_dump(mode="json"))
    assert len(shown) > 10
    assert shown <= known | {0.0, 1.0, 2.0}  # kinds of likelihood are sorted by their order


def test_a_changed_result_is_a_changed_page(report):
    found = results(report)
    text = found.model_dump_json()
    before = page_html(found, report / PICTURES)
    steps = re.sub(r'("steps":)1\b', r"\g<1>98765", text)
    after = page_html(Results.model_validate_json(steps), report / PICTURES)
    assert "98,765" in after
    assert "98,765" not in before


def test_a_second_report_measures_only_what_is_new(folder, report, monkeypatch):
    before = results(report)
    out = folder / "second"
    shutil.copytree(report, out)
    lines: list[str] = []
    make_report(Wishes(folder / "bundles", out, n=N), lines.append)
    assert not any("measured in" in line for line in lines)
    assert results(out).records == before.records
    shutil.copytree(folder / "bundles/dcgan", folder / "more/dcgan")
    make_report(Wishes(folder / "more", out, n=N // 2), lines.append)
    assert sum("measured in" in line for line in lines) == 1
    found = results(out)
    assert [found.records[key].name for key in found.shown] == ["dcgan"]
    assert set(before.records) < set(found.records)
    assert found.records[found.shown[0]].evaluator is None  # there is none below that folder


def test_in_a_browser_nothing_is_fetched_and_columns_sort(report, tmp_path):
    url = (report / "index.html").as_uri()
    with opened(tmp_path / "profile") as page:
        page.open(url, width=1400)
        assert page.run("[...document.images].every((x) => x.complete && x.naturalWidth > 0)")
        names = "[...document.querySelectorAll('#TABLE tbody th a')].map((x) => x.textContent)"
        names = names.replace("#TABLE", "#digits-grey-judge .numbers")
        head = "document.querySelector('#digits-grey-judge [data-column=samples_per_second]')"
        found = results(report)
        speeds = {
            each.name: each.sampling.seconds.median
            for each in found.records.values()
            if each.sampling and each.group == "digits, grey"
        }
        quickest = sorted(speeds, key=lambda name: speeds[name])
        page.run(f"{head}.querySelector('button').click()")
        assert page.run(f"{head}.getAttribute('aria-sort')") == "descending"
        assert page.run(names) == quickest
        page.run(f"{head}.querySelector('button').focus()")
        page.press("Enter", 13)
        assert page.run(f"{head}.getAttribute('aria-sort')") == "ascending"
        assert page.run(names) == quickest[::-1]
        page.run("document.querySelectorAll('.filters button')[1].click()")
        shown = "[...document.querySelectorAll('section[data-group]')].map((x) => !x.hidden)"
        assert page.run(shown) == [True, False]

        page.open(url, width=360)
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.run(overflow) == 0
        assert page.run("document.querySelector('.wide').scrollWidth") > 360
        asked = [each for each in page.requests if not each.startswith("data:")]
        assert set(asked) == {url}
        assert page.complaints == []


def test_the_books_figure_is_of_families_that_there_are():
    assert set(KINDS) == set(MARKS)
    assert {family for families in KINDS.values() for family in families} <= set(registry.names())
    assert all(len(marks) == len(ASPECTS) for marks in MARKS.values())
    assert {each.aspect for each in columns()} == set(ASPECTS)


def test_a_tick_agrees_with_what_is_better_than_the_middle(report):
    found = results(report)
    record = next(each for each in found.records.values() if each.name == "dcgan")
    by_key = {each.key: each for each in columns()}
    precision, steps = by_key["precision"], by_key["steps"]

    def of(value: float) -> Any:
        measured = tuple(
            each.model_copy(update={"value": value}) if each.metric == "precision" else each
            for each in record.evaluation.results
        )
        evaluation = record.evaluation.model_copy(update={"results": measured})
        return record.model_copy(update={"evaluation": evaluation})

    table = [of(value) for value in (0.9, 0.7, 0.5, 0.3)]
    assert verdict(table[0], precision, "yes", table) == "agrees"
    assert verdict(table[3], precision, "yes", table) == "differs"
    assert verdict(table[3], precision, "no", table) == "agrees"
    assert verdict(table[0], precision, "open", table) is None
    assert verdict(table[0], precision, "yes", table[:3]) is None  # too few for a middle
    assert verdict(table[0], steps, "yes", table) == "agrees"  # one step, whoever else is there


def test_a_folder_without_models_is_an_error(tmp_path):
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert "no models" in done.output

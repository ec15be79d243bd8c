"""`latentd evaluate`: every metric of a bundle, written into it."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.commands.device import Device

if TYPE_CHECKING:
    from metrics.results import Evaluation, MetricResult


class Rows(StrEnum):
    held_out = "held_out"
    training = "training"


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="A metric's name; may be repeated.  [default: all that can be had]"),
    ] = None,
    n: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="Samples; as many real rows at most.")
    ] = 2048,
    seed: Annotated[int, typer.Option(min=0, help="Names the samples.")] = 0,
    reference: Annotated[
        Rows, typer.Option(help="Which of the bundle's rows are the real ones.")
    ] = Rows.held_out,
    effort: Annotated[int, typer.Option(min=1, help="Samples of a likelihood.")] = 1,
    evaluator: Annotated[
        Path | None,
        typer.Option(
            help="The bundle whose features are used.  [default: the one beside BUNDLE that was "
            "trained on data of the same name]"
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="What to compute on.")] = Device.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    write: Annotated[
        bool, typer.Option(help="Put the numbers into the bundle and its model card.")
    ] = True,
) -> None:
    """Measure a bundle by every metric that can be had of it.

    The same bundle, evaluator, seed and sizes give the same numbers on the same device.
    """
    from rich.progress import Progress

    from metrics.evaluation import chosen, refusals
    from metrics.gathering import Asked, Gatherer, Sizes
    from models.bundle import load_bundle
    from models.errors import NotSupported
    from training.evaluation_card import annotate
    from training.judging import find_evaluator, judge

    wanted = chosen(metrics or None)
    place = _device(device)
    subject = load_bundle(bundle, place)
    judged_by = find_evaluator(subject, evaluator, place)
    sizes = Sizes(n, seed, reference.value, effort)
    gatherer = Gatherer(subject, judged_by, sizes)
    refused = refusals(wanted, gatherer)
    if metrics and refused:
        name, why = next(iter(refused.items()))
        raise NotSupported(f"{name}: {why}")
    rows = gatherer.workload({need for each in wanted for need in each.needs})
    with Progress(transient=True, disable=as_json) as bars:
        task = bars.add_task("", total=rows)

        def show(step: Asked | MetricResult) -> None:
            if isinstance(step, Asked):
                phase = step.phase.replace("_", " ")
                told = f"{phase} {step.done:,} of {step.total:,}"
                bars.update(task, advance=step.rows, description=told)
            else:
                bars.console.print(_line(step))

        evaluation = judge(bundle.name, wanted, gatherer, show)
    if as_json:
        typer.echo(json.dumps(evaluation.model_dump(mode="json"), indent=2))
    else:
        _tell_refused(evaluation)
    if write:
        digest = annotate(bundle, subject, evaluation)
        typer.echo(f"{bundle}  {digest}", err=as_json)


def _device(chosen: Device) -> str:
    import torch

    from models.errors import InvalidConfig

    if chosen is Device.cuda and not torch.cuda.is_available():
        raise InvalidConfig("--device cuda: torch finds none", "device")
    if chosen is Device.auto:
        return "cuda" if torch.cuda.is_available() else "cpu"
    return chosen.value


def _line(result: MetricResult) -> str:
    error = "" if result.standard_error is None else f" +- {result.standard_error:.2g}"
    return f"{result.metric:38} {result.value:.5g}{error} {result.unit}".rstrip()


def _tell_refused(evaluation: Evaluation) -> None:
    for name, why in evaluation.refused.items():
        typer.echo(f"{name:38} not measured: {why}")

"""What a model card says of an evaluation."""

from __future__ import annotations

from pathlib import Path

from metrics.registry import all_metrics
from metrics.results import Evaluation, MetricResult
from models.bundle import Bundle, annotate_bundle

HEADING = "## Evaluation"
ARROWS = {"higher": "higher is better", "lower": "lower is better", "neither": "beside data's"}


def annotate(path: Path, subject: Bundle, evaluation: Evaluation) -> str:
    """Put an evaluation into a bundle and its card; returns the new digest."""
    content = evaluation.model_dump_json(indent=2).encode() + b"\n"
    return annotate_bundle(path, evaluation=content, card=card_with(subject.card, evaluation))


def card_with(card: str, evaluation: Evaluation) -> str:
    """A card with a section on the evaluation at its end; one that was there is replaced."""
    before = card.partition(f"\n{HEADING}\n")[0].rstrip()
    return f"{before}\n\n{HEADING}\n\n{_section(evaluation)}"


def _section(evaluation: Evaluation) -> str:
    evaluators = {each.evaluator for each in evaluation.results if each.evaluator}
    by = "".join(
        f" Features and classes are those of `{each.name}` ({each.family}, `{each.digest}`): "
        "numbers by another evaluator do not compare."
        for each in sorted(evaluators, key=lambda each: each.digest)
    )
    lines = [
        f"{evaluation.n:,} samples of seed {evaluation.seed} and "
        f"{evaluation.reference.replace('_', '-')} rows of this bundle, weights "
        f"`{evaluation.weights}`.{by}",
        "",
        "| metric | value | 95 % interval | rows | |",
        "|---|--:|---|--:|---|",
        *(_line(each) for each in evaluation.results),
    ]
    known = all_metrics()
    lines += ["", "What they are:", ""]
    for each in evaluation.results:
        if each.metric in known:
            metric = known[each.metric]
            lines.append(
                f"- `{metric.name}`: {metric.definition} ({metric.source}). {metric.misses}"
            )
    return "\n".join(lines) + "\n"


def _line(result: MetricResult) -> str:
    interval = ""
    if result.interval_95 is not None:
        low, high = result.interval_95
        interval = f"{low:.5g} to {high:.5g}"
    value = f"{result.value:.5g} {result.unit}".strip()
    rows = min(result.rows.values())
    few = " (few)" if result.warnings else ""
    return f"| `{result.metric}` | {value} | {interval} | {rows:,}{few} | {ARROWS[result.better]} |"

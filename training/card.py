"""The model card of a bundle: YAML header, use, data, how it was trained, measured numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from models import registry
from models.bundle import Provenance
from models.capabilities import capabilities_of
from models.family import Family, FamilyConfig
from training.data.dataset import DataSet
from training.evaluation import Measurement
from training.recipe import Recipe

# The hub's identifiers of licences that data sets here have; others are "other" with a name.
HUB_LICENCES = {
    "CC BY 4.0": "cc-by-4.0",
    "CC BY-SA 3.0": "cc-by-sa-3.0",
    "CC BY-SA 4.0": "cc-by-sa-4.0",
    "CC0 1.0": "cc0-1.0",
    "MIT": "mit",
    "Apache-2.0": "apache-2.0",
}


def model_card(
    model: Family[FamilyConfig],
    recipe: Recipe,
    data: DataSet,
    provenance: Provenance,
    measurements: Sequence[Measurement],
    command: str,
) -> str:
    """Markdown with the header that the Hugging Face hub reads."""
    family = registry.name_of(model)
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    abilities = ", ".join(capabilities_of(model))
    rows = f"{len(data.train):,} training, {len(data.validation):,} validation and "
    return f"""{_header(model, family, data)}
# {provenance.recipe}

{recipe.description}

![samples](samples.png)

A latentd bundle: `latentd serve` answers HTTP for it; `models.bundle.load_bundle` reads it in
Python. Family `{family}`: {registry.source(family)}

What it can do: {abilities}.

## Intended use

For study and for trying out operations on latents. It knows nothing beyond its training data, whose
gaps and biases it has; it was not examined for any use in which its output would decide about
people.

## Data

`{data.name}`, rows of shape {tuple(data.shape)}: {rows}{len(data.test):,} test rows.
Source: {data.source or "not stated"}. Licence of the data: {data.licence or "not stated"}.
Digest: `{provenance.data_digest}`.

## How it was trained

```sh
{command}
```

{provenance.steps:,} steps, seed {provenance.seed}; {versions};
commit {provenance.commit or "unknown"}.
The whole recipe is in `config.json`, under `provenance.settings`.

## Measured numbers

{_table(measurements)}
"""


def _header(model: Family[FamilyConfig], family: str, data: DataSet) -> str:
    licence = HUB_LICENCES.get(data.licence)
    lines = {
        "license": licence or "other",
        "license_name": None if licence else _slug(data.licence or "not stated"),
        "library_name": "latentd",
        "pipeline_tag": "unconditional-image-generation" if len(model.config.shape) == 3 else None,
        "tags": ["latentd", "generative-model", family],
    }
    # JSON values are YAML values.
    given = [f"{key}: {json.dumps(value)}" for key, value in lines.items() if value is not None]
    return "\n".join(["---", *given, "---", ""])


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64]


def _table(measurements: Sequence[Measurement]) -> str:
    if not measurements:
        return "None: there is no test split, or nothing that this family can be measured by."
    lines = [f"| `{each.name}` | {each.value:.5g} | {each.meaning} |" for each in measurements]
    return "\n".join(["| name | value | what it is |", "|---|---|---|", *lines])

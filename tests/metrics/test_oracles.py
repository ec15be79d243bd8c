"""Metrics against numbers that others' implementations gave of the same arrays."""

from pathlib import Path

import numpy as np
import pytest
import torch

from metrics.density_coverage import density_coverage
from metrics.disentanglement_completeness_informativeness import concentration
from metrics.distances import sphere_radii
from metrics.frechet_distance import (
    frechet_distance,
    frechet_distance_and_error,
    frechet_distance_of_moments,
)
from metrics.inception_score import inception_score
from metrics.kernel_distance import _of_subsets, squared_mmd, squared_mmd_and_error
from metrics.linear_probe import logistic_regression
from metrics.ms_ssim import in_pairs, ms_ssim
from metrics.mutual_information_gap import mutual_information_gap
from metrics.nearest_neighbour_accuracy import nearest_neighbours_say
from metrics.precision_recall import precision_recall
from metrics.separated_attribute_predictability import separated_attribute_predictability
from metrics.sliced_wasserstein import (
    descriptors,
    laplacian_pyramid,
    sliced_distances,
)
from tests import oracles

CASES = oracles.cases(Path(__file__).parent / "oracles")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_it_is_what_the_reference_gives(path):
    oracles.check(path, ANSWERS)


def of_inception(x, parameters):
    p = torch.from_numpy(x["probs"])
    splits = parameters.get("splits", 10)
    own = inception_score(p, splits)
    found = {"mean": own.mean, "std": own.deviation, "mean_splits1": inception_score(p, 1).mean}
    if "perm" in x:
        mixed = inception_score(p[x["perm"]], splits)
        found |= {"mean_shuffled": mixed.mean, "std_shuffled": mixed.deviation}
    return found


def of_frechet(x, _):
    if "mu_1" in x:
        names = ("mu_1", "sigma_1", "mu_2", "sigma_2")
        moments = [torch.from_numpy(x[name]) for name in names]
        return {"frechet_distance": frechet_distance_of_moments(*moments)}
    a, b = (torch.from_numpy(x[f"features_{k}"]) for k in (1, 2))
    found = frechet_distance(a, b)
    assert frechet_distance_and_error(a, b).distance == pytest.approx(found, rel=1e-9, abs=1e-9)
    return {"frechet_distance": found}


def of_kernel(x, _):
    a, b = (torch.from_numpy(x[f"features_{k}"]) for k in (1, 2))
    found = squared_mmd(a, b)
    assert squared_mmd_and_error(a, b).value == pytest.approx(found, rel=1e-9, abs=1e-12)
    if "subset_indices_1" not in x:
        return {"mmd2_unbiased": found}
    chosen = [torch.from_numpy(x[f"subset_indices_{k}"]).long() for k in (1, 2)]
    subsets = _of_subsets(a, b, list(zip(*chosen, strict=True)))
    return {"subset_mmd2": subsets, "kid_mean": np.mean(subsets), "kid_std": np.std(subsets)}


def of_neighbourhoods(x, _):
    real, samples = torch.from_numpy(x["real"]), torch.from_numpy(x["fake"])
    return {
        **precision_recall(real, samples)._asdict(),
        **density_coverage(real, samples)._asdict(),
        "radii_real_k3": sphere_radii(real, 3),
        "radii_fake_k3": sphere_radii(samples, 3),
        "radii_real_k5": sphere_radii(real, 5),
    }


def of_ms_ssim(x, parameters):
    if "images" in x:
        return {"ms_ssim": ms_ssim(*in_pairs(torch.from_numpy(x["images"]).float() / 255)).mean()}
    scale = parameters.get("input_scale", 1.0) / parameters["max_val"]
    a, b = (
        torch.from_numpy(x[f"images_{k}"]).float().movedim(3, 1).contiguous() * scale
        for k in (1, 2)
    )
    found = ms_ssim(a, b)
    return {"ms_ssim": found.mean(), "ms_ssim_per_pair": found}


def of_sliced_wasserstein(x, parameters):
    real, fake = (laplacian_pyramid(torch.from_numpy(x[name]).float()) for name in ("real", "fake"))
    found, means = {}, []
    for level, other in zip(real, fake, strict=True):
        side = level.shape[-1]
        a, b = (
            descriptors(each, torch.from_numpy(x[f"positions_{name}_{side}"]).long())
            for each, name in ((level, "real"), (other, "fake"))
        )
        distances = sliced_distances(a, b, torch.from_numpy(x[f"directions_{side}"]))
        found[f"swd_repeats_{side}"] = distances
        means.append(1000 * distances.mean().item())
    return {**found, "swd_x1e3": means, "swd_x1e3_avg": np.mean(means)}


def of_disentanglement(x, _):
    if "importance_matrix" in x:
        importance = torch.from_numpy(x["importance_matrix"])
        return {
            "disentanglement": concentration(importance, over=1),
            "completeness": concentration(importance, over=0),
        }
    codes, factors, test_codes, test_factors = (
        torch.from_numpy(x[name]).T.double()
        for name in ("codes_train", "factors_train", "codes_test", "factors_test")
    )
    gap = mutual_information_gap(codes, factors)
    found = {"mig": gap.mean}
    for are_names, kind in ((True, "discrete"), (False, "continuous")):
        told = separated_attribute_predictability(
            codes, factors, [are_names] * len(factors.T), test_codes, test_factors
        )
        found |= {f"sap_{kind}": told.mean, f"sap_{kind}_matrix": told.scores}
    return found


def of_probes(x, parameters):
    codes, labels, test, true = (
        x[name] for name in ("train_codes", "train_labels", "test_codes", "test_labels")
    )
    fitted = logistic_regression(codes, labels, parameters["C"])
    told = nearest_neighbours_say(*(torch.from_numpy(each) for each in (codes, labels, test)))
    return {
        "train_accuracy": (fitted.predict(codes) == labels).mean(),
        "test_accuracy": (fitted.predict(test) == true).mean(),
        "test_probabilities": fitted.predict_proba(test)[:20],  # that so many are stored
        "knn5_test_accuracy": (told.numpy() == true).mean(),
    }


ANSWERS = {
    "inception_score": of_inception,
    "frechet_distance": of_frechet,
    "kernel_distance": of_kernel,
    "precision_recall": of_neighbourhoods,
    "ms_ssim": of_ms_ssim,
    "swd": of_sliced_wasserstein,
    "disentanglement": of_disentanglement,
    "linear_probe": of_probes,
}

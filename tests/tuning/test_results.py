import numpy as np
import pytest

from tfvae.tuning.results import TERMS, TrialResult, average, choose


def trial_of(latent_dim, elbos, error=1.0):
    """The result of a trial of executions with these ELBOs, each with the same standard error."""
    records = [
        dict.fromkeys(TERMS, elbo)
        | {f"{term}_stderr": error for term in TERMS}
        | {"val_active_units": 3, "val_effective_sample_size_median": 50.0, "parameters": 10}
        | {"epochs": 3, "best_epoch": 2, "seconds": 1.0}
        for elbo in elbos
    ]
    return TrialResult("0", {"latent_dim": latent_dim}, numbers=average(records, "val_elbo"))


@pytest.mark.parametrize(
    ("elbos", "chosen", "reason"),
    [
        (
            [-90, -80, -70.9, -70.0],
            8,
            "Take 8 latent dimensions: the smallest number whose val_elbo, -70.90 ± 1.00 nats, is "
            "within one standard error of the best, -70.00 ± 1.00 nats with 16. No larger number "
            "was tried, and one may be better still.",
        ),
        ([-90, -80, -71.1, -70.0], 16, "No larger number was tried"),
        ([-90, -70, -71.1, -75.0], 4, "no smaller one is within one standard error of it."),
        ([-70, -70, -70, -70], 1, "Take 1 latent dimension: no other number has a better val_elbo"),
    ],
)
def test_the_smallest_size_within_one_standard_error_is_chosen(elbos, chosen, reason):
    sizes = [
        trial_of(*each) for each in zip((1, 4, 8, 16), ([elbo] for elbo in elbos), strict=True)
    ]
    trial, sentence = choose(sizes, "val_elbo")
    assert trial.latent_dim == chosen
    assert reason in sentence


def test_a_standard_error_is_over_images_and_executions():
    trial = trial_of(2, [-12.0, -10.0, -14.0], error=0.5)
    assert trial.numbers["val_elbo"] == -12.0
    assert trial.numbers["best_execution"] == 1
    assert trial.numbers["val_elbo_stddev_over_executions"] == 2.0
    assert trial.numbers["val_elbo_stderr"] == pytest.approx(np.sqrt(0.5**2 + 2.0**2 / 3))
    assert trial.line("val_elbo") == "trial 0: latent_dim 2  val_elbo -12.00 ± 1.26  (1 s)"

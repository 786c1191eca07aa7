"""The numbers of an evaluation as lines to read, each with its standard error."""

from typing import Any


def lines(results: dict[str, Any]) -> list[str]:
    """The numbers that people ask for first.

    Args:
        results: What `diagnostics.evaluate` returns, with the `settings` that gave them.

    Returns:
        Lines of text.
    """
    rows = [
        ("ELBO", _number(results, "elbo")),
        ("reconstruction  E_q[log p(x|z)]", _number(results, "reconstruction")),
        ("KL(q(Z|x) || p(Z))", _number(results, "kl")),
        ("log p(x)", _number(results, "log_likelihood")),
        ("posterior gap  log p(x) - ELBO", _number(results, "posterior_gap")),
        ("bits per dimension", _number(results, "bits_per_dim", digits=4)),
        ("active units", f"{results['active_units']:8d} of {len(results['kl_per_dimension'])}"),
    ]
    width = max(len(name) for name, _ in rows)
    split = results["settings"]["split"]
    return [
        f"On the {results['num_images']:,} images of {results['settings']['dataset']}'s {split} "
        "split, mean ± standard error in nats per image:",
        *(f"  {name:<{width}}  {number}" for name, number in rows),
        f"  (log p(x) from {results['num_importance_samples']:,} importance samples an image, of a "
        f"median effective size of {results['effective_sample_size_median']:.0f})",
    ]


def _number(results, name, digits=2):
    error = results[f"{name}_stderr"]
    return f"{results[name]:8.{digits}f} ± " + ("?" if error is None else f"{error:.{digits}f}")

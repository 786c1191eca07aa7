"""What is estimated from a model: log p(x), p(z|x), the gaps, diagnostics, gradient variances."""

from tfvae.inference.bounds import Bounds, bounds_by_num_samples
from tfvae.inference.diagnostics import (
    KLParts,
    active_units,
    bits_per_dimension,
    evaluate,
    kl_parts,
    kl_per_dimension,
)
from tfvae.inference.gradient_variance import GradientVariance, gradient_draws, gradient_variance
from tfvae.inference.marginal_likelihood import (
    Estimate,
    Evidence,
    LowEffectiveSampleSizeWarning,
    Sandwich,
    evidence,
    log_likelihood,
    sandwich,
)
from tfvae.inference.posterior import (
    Gaps,
    HMCSamples,
    PosteriorGap,
    ResampledLatents,
    gaps,
    posterior_gap,
    refine,
    resample,
    sample_hmc,
)

__all__ = [
    "Bounds",
    "Estimate",
    "Evidence",
    "Gaps",
    "GradientVariance",
    "HMCSamples",
    "KLParts",
    "LowEffectiveSampleSizeWarning",
    "PosteriorGap",
    "ResampledLatents",
    "Sandwich",
    "active_units",
    "bits_per_dimension",
    "bounds_by_num_samples",
    "evaluate",
    "evidence",
    "gaps",
    "gradient_draws",
    "gradient_variance",
    "kl_parts",
    "kl_per_dimension",
    "log_likelihood",
    "posterior_gap",
    "refine",
    "resample",
    "sample_hmc",
    "sandwich",
]

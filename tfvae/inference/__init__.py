"""What is estimated from a model: log p(x), p(z|x), the gaps, diagnostics, gradient variances."""

from tfvae.inference.annealing import Sandwich, sandwich
from tfvae.inference.diagnostics import (
    KLParts,
    active_units,
    bits_per_dimension,
    evaluate,
    kl_parts,
    kl_per_dimension,
)
from tfvae.inference.gradient_noise import GradientVariance, gradient_draws, gradient_variance
from tfvae.inference.marginal_likelihood import (
    Bounds,
    Estimate,
    Evidence,
    LowEffectiveSampleSizeWarning,
    bounds_by_num_samples,
    evidence,
    log_likelihood,
)
from tfvae.inference.posterior_sampling import HMCSamples, ResampledLatents, resample, sample_hmc
from tfvae.inference.variational_gaps import Gaps, gaps, refine

__all__ = [
    "Bounds",
    "Estimate",
    "Evidence",
    "Gaps",
    "GradientVariance",
    "HMCSamples",
    "KLParts",
    "LowEffectiveSampleSizeWarning",
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
    "refine",
    "resample",
    "sample_hmc",
    "sandwich",
]

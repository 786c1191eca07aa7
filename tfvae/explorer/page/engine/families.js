// What the numbers of a network mean. A likelihood, a posterior and a prior are one object each:
// from parameters to a mean, a log probability and a sample. Another family is another object.

import { sigmoid, softplus } from "./kernels.js";

const HALF_LOG_TWO_PI = 0.5 * Math.log(2 * Math.PI);
// Those of `tfvae.distributions`: what is added to a stddev, and where a softplus is 1.
const SMALLEST_STDDEV = 1e-6;
const UNIT_SCALE = 0.5413248546129181;

/**
 * The likelihoods p(X|z), by the name that the packed model has. Parameters are the decoder's output
 * for one image, `size` its number of values.
 */
export const LIKELIHOODS = {
  Bernoulli: {
    /** What the page calls the mean and a sample. */
    meanName: "probabilities",
    sampleName: "a binary sample",
    /** The value nearest to one between 0 and 1 that has a probability. */
    nearestValue: (value) => (value > 0.5 ? 1 : 0),
    parametersPerValue: 1,

    mean(parameters) {
      return parameters.map(sigmoid);
    },

    /** log p(x|z) in nats: the sum of x l - max(l, 0) - log(1 + exp(-|l|)) over the pixels. */
    logProbability(pixels, parameters, start, size) {
      let total = 0;
      let product = 1;
      for (let i = 0; i < size; i++) {
        const logit = parameters[start + i];
        total += pixels[i] * logit - (logit > 0 ? logit : 0);
        // A product of eight factors from [1, 2] costs one logarithm.
        product *= 1 + Math.exp(logit > 0 ? -logit : logit);
        if (i % 8 === 7) {
          total -= Math.log(product);
          product = 1;
        }
      }
      return total - Math.log(product);
    },

    sample(parameters, random) {
      return parameters.map((logit) => (random.uniform() < sigmoid(logit) ? 1 : 0));
    },
  },
};

/** The posteriors q(Z|x) of one image, by name. */
export const POSTERIORS = {
  FactorialNormal: class {
    static parametersPerLatent = 2;

    /** @param {Float32Array} parameters the encoder's output: locations, then unconstrained scales */
    constructor(parameters) {
      const latentDim = parameters.length / 2;
      this.mean = parameters.slice(0, latentDim);
      this.stddev = parameters
        .slice(latentDim)
        .map((scale) => SMALLEST_STDDEV + softplus(scale + UNIT_SCALE));
    }

    /** z = mean + stddev * noise; written to `latents` from `start` on. */
    draw(noise, noiseStart = 0, latents = new Float32Array(this.mean.length), start = 0) {
      for (let j = 0; j < this.mean.length; j++) {
        latents[start + j] = this.mean[j] + this.stddev[j] * noise[noiseStart + j];
      }
      return latents;
    }

    /** log q(z|x) in nats. */
    logProbability(latents, start = 0) {
      let total = 0;
      for (let j = 0; j < this.mean.length; j++) {
        const deviation = (latents[start + j] - this.mean[j]) / this.stddev[j];
        total -= 0.5 * deviation * deviation + Math.log(this.stddev[j]) + HALF_LOG_TWO_PI;
      }
      return total;
    }
  },
};

/** The priors p(Z), by name. */
export const PRIORS = {
  StandardNormal: class {
    constructor(latentDim) {
      this.latentDim = latentDim;
    }

    draw(noise) {
      return noise;
    }

    logProbability(latents, start = 0) {
      let total = 0;
      for (let j = 0; j < this.latentDim; j++) {
        total -= 0.5 * latents[start + j] * latents[start + j] + HALF_LOG_TWO_PI;
      }
      return total;
    }

    /** KL(q(Z_j|x) || p(Z_j)) of each latent in nats, in closed form. */
    divergences(posterior) {
      return posterior.mean.map((mean, j) => {
        const variance = posterior.stddev[j] * posterior.stddev[j];
        return 0.5 * (mean * mean + variance - 1) - Math.log(posterior.stddev[j]);
      });
    }
  },
};

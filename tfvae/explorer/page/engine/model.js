// The model: what `tfvae.VAE` has in Python, for one image at a time or a few.

import { WeightSums, meanAndStandardError } from "./estimates.js";
import { LIKELIHOODS, POSTERIORS, PRIORS } from "./families.js";
import { Network } from "./network.js";
import { Random } from "./random.js";

// So many values of images at once: more would leave the processor's cache.
const VALUES_PER_PASS = 100_000;

export class Model {
  /**
   * @param {object} description what `tfvae/explorer/packing.py` says of the model
   * @param {{values: Float32Array, shape: number[]}[]} arrays its weights
   */
  constructor(description, arrays) {
    this.imageShape = description.image_shape;
    this.imageSize = this.imageShape.reduce((product, size) => product * size, 1);
    this.latentDim = description.latent_dim;
    this.encoder = new Network(description.encoder, arrays);
    this.decoder = new Network(description.decoder, arrays);
    this.likelihood = LIKELIHOODS[description.likelihood.name];
    this.Posterior = POSTERIORS[description.posterior.name];
    this.prior = new PRIORS[description.prior.name](this.latentDim);
    this.latentsPerPass = Math.max(1, Math.floor(VALUES_PER_PASS / this.imageSize));
  }

  /** q(Z|x) of an image. */
  posterior(pixels) {
    return new this.Posterior(this.encoder.run(floats(pixels), 1));
  }

  /** The mean and the stddev of q(Z|x) of each of some images, and its KL from the prior by latent. */
  encode(pixels) {
    const values = floats(pixels);
    const count = values.length / this.imageSize;
    const result = { mean: [], stddev: [], divergences: [] };
    for (let image = 0; image < count; image++) {
      const part = values.subarray(image * this.imageSize, (image + 1) * this.imageSize);
      const posterior = this.posterior(part);
      result.mean.push(posterior.mean);
      result.stddev.push(posterior.stddev);
      result.divergences.push(this.prior.divergences(posterior));
    }
    return mapValues(result, concatenate);
  }

  /** The parameters of p(X|z) of some latents. */
  parameters(latents) {
    return this.decoder.run(latents, latents.length / this.latentDim);
  }

  /** E[X|z] of some latents, one after the other. */
  decode(latents) {
    const values = floats(latents);
    const parts = [];
    this.passes(values.length / this.latentDim, (start, count) => {
      const part = values.subarray(start * this.latentDim, (start + count) * this.latentDim);
      parts.push(this.likelihood.mean(this.parameters(part)));
    });
    return concatenate(parts);
  }

  /** log p(x|z) of an image for each of some latents. */
  logLikelihoods(pixels, latents) {
    const count = latents.length / this.latentDim;
    const result = new Float64Array(count);
    const size = this.imageSize;
    this.passes(count, (start, passCount) => {
      const part = latents.subarray(start * this.latentDim, (start + passCount) * this.latentDim);
      const parameters = this.parameters(part);
      const stride = size * this.likelihood.parametersPerValue;
      for (let i = 0; i < passCount; i++) {
        result[start + i] = this.likelihood.logProbability(pixels, parameters, i * stride, size);
      }
    });
    return result;
  }

  /** The ELBO of an image in nats, its expectation from the latents of the noise given. */
  elbo(pixels, noise) {
    const { reconstruction, kl } = this.elboTerms(floats(pixels), floats(noise));
    const mean = meanAndStandardError(reconstruction).mean;
    return { elbo: mean - kl, reconstruction: mean, kl };
  }

  /** log p(x|z) for the latent of each noise, and the KL of q(Z|x) from the prior. */
  elboTerms(pixels, noise) {
    const posterior = this.posterior(pixels);
    const latents = this.drawLatents(posterior, noise);
    const kl = this.prior.divergences(posterior).reduce((sum, divergence) => sum + divergence, 0);
    return { reconstruction: Array.from(this.logLikelihoods(pixels, latents)), kl };
  }

  /** log p(x) of an image by importance sampling from q(Z|x). */
  logLikelihood(pixels, noise) {
    return new WeightSums().add(this.logWeights(floats(pixels), floats(noise))).result();
  }

  /** log p(x, z) / q(z|x) for the latent of each noise; from the prior, log p(x|z). */
  logWeights(pixels, noise, proposal = "posterior") {
    if (proposal === "prior") return this.logLikelihoods(pixels, this.prior.draw(noise));
    const posterior = this.posterior(pixels);
    const latents = this.drawLatents(posterior, noise);
    return this.logLikelihoods(pixels, latents).map((logLikelihood, i) => {
      const place = i * this.latentDim;
      return (
        logLikelihood +
        this.prior.logProbability(latents, place) -
        posterior.logProbability(latents, place)
      );
    });
  }

  /** As `logWeights`, from noise of a seed. */
  drawLogWeights(pixels, seed, count, proposal) {
    return this.logWeights(pixels, new Random(seed).normals(count * this.latentDim), proposal);
  }

  /** log p(x, z) of an image for each of some latents. */
  logJoint(pixels, latents) {
    return this.logLikelihoods(pixels, latents).map(
      (logLikelihood, i) => logLikelihood + this.prior.logProbability(latents, i * this.latentDim),
    );
  }

  drawLatents(posterior, noise) {
    const latents = new Float32Array(noise.length);
    for (let start = 0; start < noise.length; start += this.latentDim) {
      posterior.draw(noise, start, latents, start);
    }
    return latents;
  }

  passes(count, visit) {
    for (let start = 0; start < count; start += this.latentsPerPass) {
      visit(start, Math.min(this.latentsPerPass, count - start));
    }
  }
}

/** Numbers in any arrangement as one Float32Array. */
export function floats(numbers) {
  if (numbers instanceof Float32Array) return numbers;
  const parts = [numbers].flat(Infinity).map((part) => (ArrayBuffer.isView(part) ? [...part] : part));
  return Float32Array.from(parts.flat());
}

export function concatenate(parts) {
  const result = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let start = 0;
  for (const part of parts) {
    result.set(part, start);
    start += part.length;
  }
  return result;
}

const mapValues = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));

// Stands for a model that the page cannot run: it knows the held-out images and some latents.

export class PrecomputedModel {
  /**
   * @param {object} description
   * @param {{values: Float32Array, shape: number[]}[]} arrays
   */
  constructor(description, arrays) {
    const stored = description.precomputed;
    this.imageShape = description.image_shape;
    this.imageSize = this.imageShape.reduce((product, size) => product * size, 1);
    this.latentDim = description.latent_dim;
    this.images = description.images && arrays[description.images.pixels].values;
    this.latents = arrays[stored.latents].values;
    this.means = arrays[stored.means].values;
    this.posteriors = ["mean", "stddev", "divergences"].map((name) => arrays[stored[name]].values);
    this.terms = ["reconstruction", "kl"].map((name) => arrays[stored[name]].values);
  }

  /** The place of each of some images among the held-out ones. */
  placesOf(pixels) {
    const size = this.imageSize;
    const places = [];
    for (let start = 0; start < pixels.length; start += size) {
      let place = 0;
      const isSame = () => {
        for (let i = 0; i < size; i++) {
          if (Math.abs(this.images[place * size + i] / 255 - pixels[start + i]) > 1e-6) return false;
        }
        return true;
      };
      while (place * size < this.images.length && !isSame()) place += 1;
      if (place * size === this.images.length) {
        throw new Error("The page cannot run this model, and knows the held-out images alone.");
      }
      places.push(place);
    }
    return places;
  }

  encode(pixels) {
    const size = this.latentDim;
    const places = this.placesOf(pixels);
    const [mean, stddev, divergences] = this.posteriors.map((values) =>
      Float32Array.from({ length: places.length * size }, (_, i) =>
        values[places[Math.floor(i / size)] * size + (i % size)],
      ),
    );
    return { mean, stddev, divergences };
  }

  /** E[X|z] of the nearest latents that are stored. */
  decode(latents) {
    const count = latents.length / this.latentDim;
    const result = new Float32Array(count * this.imageSize);
    for (let i = 0; i < count; i++) {
      const place = this.nearest(latents, i * this.latentDim);
      for (let j = 0; j < this.imageSize; j++) {
        result[i * this.imageSize + j] = this.means[place * this.imageSize + j] / 255;
      }
    }
    return result;
  }

  nearest(latents, start) {
    let best = 0;
    let least = Infinity;
    for (let place = 0; place < this.latents.length / this.latentDim; place++) {
      let distance = 0;
      for (let j = 0; j < this.latentDim; j++) {
        distance += (this.latents[place * this.latentDim + j] - latents[start + j]) ** 2;
      }
      if (distance < least) [best, least] = [place, distance];
    }
    return best;
  }

  /** The terms of the ELBO of a held-out image; the noise was drawn in Python. */
  elbo(pixels) {
    const [place] = this.placesOf(pixels);
    const [reconstruction, kl] = this.terms.map((values) => values[place]);
    return { elbo: reconstruction - kl, reconstruction, kl };
  }
}

// From what lies in the page to a model that can be asked.

import { floats } from "./engine/model.js";
import { Model } from "./engine/model.js";
import { PrecomputedModel } from "./engine/precomputed.js";
import { decompress, unpackArrays } from "./engine/unpack.js";
import { PageModel, startWorker } from "./engine/worker.js";

const textOf = (id) => document.getElementById(id).textContent;

/** What the page says of the model, before the model itself is there. */
export function readDescription() {
  return JSON.parse(textOf("model"));
}

/**
 * The model, and what calls its methods elsewhere than in the page's own thread.
 *
 * `canRun` says whether the page has the network, or only what Python has precomputed of it.
 */
export async function loadModel(description) {
  const bytes = await decompress(textOf("data"));
  const arrays = unpackArrays(description.arrays, bytes);
  const { images } = description;
  const heldOut = images && {
    levels: arrays[images.pixels].values,
    labels: images.labels === undefined ? null : arrays[images.labels].values,
    count: arrays[images.pixels].shape[0],
  };
  if (description.precomputed) {
    const model = new PrecomputedModel(description, arrays);
    return { model, heldOut, canRun: false, started: Promise.resolve(new PageModel(model)) };
  }
  const model = new Model(description, arrays);
  const script = `${textOf("engine")}\nengine.answerCalls(self);`;
  const started = startWorker(script, description, bytes, model);
  return { model, heldOut, canRun: true, started };
}

/** What `window.tfvae` has: the same numbers as in the page, for scripts. */
export function scriptInterface(model) {
  return {
    encode(pixels) {
      const { mean, stddev } = model.encode(floats(pixels));
      return { mean, stddev };
    },
    decode: (latents) => model.decode(floats(latents)),
    elbo: (pixels, noise) => model.elbo(floats(pixels), floats(noise)),
    logLikelihood(pixels, noise) {
      if (!model.logLikelihood) throw new Error("The page cannot run this model's network.");
      return model.logLikelihood(pixels, noise);
    },
  };
}

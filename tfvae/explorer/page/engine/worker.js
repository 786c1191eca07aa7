// Work that would keep the page from answering is done in a Web Worker, or, where a browser starts
// none from a file, in the page itself.

import { Model } from "./model.js";
import { unpackArrays } from "./unpack.js";

/** Answers calls of the model's methods; this runs in the worker. */
export function answerCalls(scope) {
  let model = null;
  scope.onmessage = ({ data: { id, method, values } }) => {
    try {
      if (method === "load") {
        const [description, bytes] = values;
        model = new Model(description, unpackArrays(description.arrays, bytes));
        scope.postMessage({ id, result: null });
      } else {
        scope.postMessage({ id, result: model[method](...values) });
      }
    } catch (error) {
      scope.postMessage({ id, error: String(error) });
    }
  };
}

/** Calls methods of a model in a worker, one at a time, and promises what they return. */
export class WorkerModel {
  /**
   * @param {string} script the text of the scripts that the worker runs
   * @param {object} description
   * @param {Uint8Array} bytes
   */
  constructor(script, description, bytes) {
    this.waiting = new Map();
    this.count = 0;
    const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) reject(new Error(error));
      else resolve(result);
    };
    this.started = new Promise((resolve, reject) => {
      this.worker.onerror = () => reject(new Error("no Web Worker starts here"));
      this.call("load", description, bytes).then(resolve, reject);
    });
  }

  call(method, ...values) {
    return new Promise((resolve, reject) => {
      this.count += 1;
      this.waiting.set(this.count, { resolve, reject });
      this.worker.postMessage({ id: this.count, method, values });
    });
  }
}

/** Does the same in the page, after what else is waiting there. */
export class PageModel {
  constructor(model) {
    this.model = model;
  }

  async call(method, ...values) {
    await new Promise((resolve) => setTimeout(resolve));
    return this.model[method](...values);
  }
}

/** A worker with the model, or the page where none can be had; `isWorker` says which. */
export async function startWorker(script, description, bytes, model) {
  try {
    const worker = new WorkerModel(script, description, bytes);
    await worker.started;
    return { caller: worker, isWorker: true };
  } catch {
    return { caller: new PageModel(model), isWorker: false };
  }
}

// What runs in the page and in its Web Worker.

import { ACTIVATIONS } from "./kernels.js";
import { PrecomputedModel } from "./precomputed.js";
import { Random } from "./random.js";
import { decompress } from "./unpack.js";
import { PageModel, startWorker } from "./worker.js";

// Layers as plain loops. Every array is a Float32Array with the batch first and the channels last,
// as in Keras, whose names the layers have.

/**
 * The product of `rows` rows with a kernel `[inputs, outputs]`, plus a bias.
 * It goes over two rows and four outputs at a time, whose sums stay in registers.
 */
export function dense(input, kernel, bias, rows, inputs, outputs, result) {
  const whole = outputs - (outputs % 4);
  for (let row = 0; row < rows; row += 2) {
    const first = row * inputs;
    const isPair = row + 1 < rows;
    const second = isPair ? first + inputs : first;
    const place = row * outputs;
    const placeBelow = isPair ? place + outputs : place;
    for (let output = 0; output < whole; output += 4) {
      let a0 = bias[output];
      let a1 = bias[output + 1];
      let a2 = bias[output + 2];
      let a3 = bias[output + 3];
      let b0 = a0;
      let b1 = a1;
      let b2 = a2;
      let b3 = a3;
      for (let i = 0, k = output; i < inputs; i++, k += outputs) {
        const a = input[first + i];
        const b = input[second + i];
        const w0 = kernel[k];
        const w1 = kernel[k + 1];
        const w2 = kernel[k + 2];
        const w3 = kernel[k + 3];
        a0 += a * w0;
        a1 += a * w1;
        a2 += a * w2;
        a3 += a * w3;
        b0 += b * w0;
        b1 += b * w1;
        b2 += b * w2;
        b3 += b * w3;
      }
      result[place + output] = a0;
      result[place + output + 1] = a1;
      result[place + output + 2] = a2;
      result[place + output + 3] = a3;
      result[placeBelow + output] = b0;
      result[placeBelow + output + 1] = b1;
      result[placeBelow + output + 2] = b2;
      result[placeBelow + output + 3] = b3;
    }
    for (let output = whole; output < outputs; output++) {
      let a = bias[output];
      let b = a;
      for (let i = 0, k = output; i < inputs; i++, k += outputs) {
        a += input[first + i] * kernel[k];
        b += input[second + i] * kernel[k];
      }
      result[place + output] = a;
      result[placeBelow + output] = b;
    }
  }
  return result;
}

/** The rows or columns of zeros in front of an image that TensorFlow pads to `same`. */
function paddingBefore(padding, large, small, kernelSize, stride) {
  if (padding !== "same") return 0;
  return Math.floor(Math.max((small - 1) * stride + kernelSize - large, 0) / 2);
}

/** The size that a convolution makes of a size. */
export function convolvedSize(size, kernelSize, stride, padding) {
  return Math.ceil((padding === "same" ? size : size - kernelSize + 1) / stride);
}

/** The size that a transposed convolution makes of a size. */
export function transposedSize(size, kernelSize, stride, padding) {
  return size * stride + (padding === "same" ? 0 : Math.max(kernelSize - stride, 0));
}

/**
 * Calls `visit(place in the large image, place in the patch)` for the pixels of the small image at
 * (row, column) of a convolution; both places are those of the first channel.
 */
function visitPatch(geometry, row, column, visit) {
  const { large, kernelSize, strides, before, channels } = geometry;
  for (let y = 0; y < kernelSize[0]; y++) {
    const largeRow = row * strides[0] + y - before[0];
    if (largeRow < 0 || largeRow >= large[0]) continue;
    for (let x = 0; x < kernelSize[1]; x++) {
      const largeColumn = column * strides[1] + x - before[1];
      if (largeColumn < 0 || largeColumn >= large[1]) continue;
      const place = (largeRow * large[1] + largeColumn) * channels;
      visit(place, (y * kernelSize[1] + x) * channels);
    }
  }
}

function geometryOf(large, small, kernelSize, strides, padding) {
  const before = [0, 1].map((axis) =>
    paddingBefore(padding, large[axis], small[axis], kernelSize[axis], strides[axis]),
  );
  return { large, kernelSize, strides, before, channels: large[2] };
}

/** A convolution: the patches of each image, times the kernel `[patch, outputs]`. */
export function convolution(input, kernel, bias, batch, from, to, kernelSize, strides, padding) {
  const geometry = geometryOf(from, to, kernelSize, strides, padding);
  const patchSize = kernelSize[0] * kernelSize[1] * from[2];
  const positions = to[0] * to[1];
  const inputSize = from[0] * from[1] * from[2];
  const result = new Float32Array(batch * positions * to[2]);
  const patches = new Float32Array(positions * patchSize);
  for (let image = 0; image < batch; image++) {
    const start = image * inputSize;
    // What lies outside of the image is zero in every image.
    for (let position = 0; position < positions; position++) {
      const row = Math.floor(position / to[1]);
      visitPatch(geometry, row, position % to[1], (place, inPatch) => {
        const target = position * patchSize + inPatch;
        for (let c = 0; c < from[2]; c++) patches[target + c] = input[start + place + c];
      });
    }
    const size = positions * to[2];
    const part = result.subarray(image * size, (image + 1) * size);
    dense(patches, kernel, bias, positions, patchSize, to[2], part);
  }
  return result;
}

/** The kernel `[height, width, outputs, inputs]` of a transposed convolution as a matrix. */
export function transposedKernel(kernel, patchSize, inputs) {
  const matrix = new Float32Array(kernel.length);
  for (let row = 0; row < patchSize; row++) {
    for (let i = 0; i < inputs; i++) matrix[i * patchSize + row] = kernel[row * inputs + i];
  }
  return matrix;
}

/** A transposed convolution: each pixel times the kernel `[inputs, patch]`, added up in place. */
export function transposedConvolution(
  input, kernel, bias, batch, from, to, kernelSize, strides, padding,
) {
  const geometry = geometryOf(to, from, kernelSize, strides, padding);
  const patchSize = kernelSize[0] * kernelSize[1] * to[2];
  const positions = from[0] * from[1];
  const resultSize = to[0] * to[1] * to[2];
  const result = new Float32Array(batch * resultSize);
  const patches = new Float32Array(positions * patchSize);
  const zeros = new Float32Array(patchSize);
  for (let image = 0; image < batch; image++) {
    const size = positions * from[2];
    const part = input.subarray(image * size, (image + 1) * size);
    dense(part, kernel, zeros, positions, from[2], patchSize, patches);
    const start = image * resultSize;
    for (let i = 0; i < resultSize; i++) result[start + i] = bias[i % to[2]];
    for (let position = 0; position < positions; position++) {
      const row = Math.floor(position / from[1]);
      visitPatch(geometry, row, position % from[1], (place, inPatch) => {
        const source = position * patchSize + inPatch;
        for (let c = 0; c < to[2]; c++) result[start + place + c] += patches[source + c];
      });
    }
  }
  return result;
}

/** The first half of the last axis, times the sigmoid of the second half. */
export function gatedLinearUnit(input, width) {
  const half = width / 2;
  const result = new Float32Array(input.length / 2);
  for (let i = 0; i < result.length; i++) {
    const place = Math.floor(i / half) * width + (i % half);
    result[i] = input[place] * sigmoid(input[place + half]);
  }
  return result;
}

/** Images without some of their first and last rows and columns. */
export function crop(input, batch, from, to, top, left) {
  const result = new Float32Array(batch * to[0] * to[1] * to[2]);
  const width = to[1] * to[2];
  for (let row = 0; row < batch * to[0]; row++) {
    const fromRow = Math.floor(row / to[0]) * from[0] + (row % to[0]) + top;
    const start = (fromRow * from[1] + left) * from[2];
    result.set(input.subarray(start, start + width), row * width);
  }
  return result;
}

export function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

export function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** By Abramowitz and Stegun, 7.1.26: within 1.5e-7. */
export function errorFunction(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const polynomial =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - polynomial * Math.exp(-x * x));
}

const SELU_SCALE = 1.0507009873554805;
const SELU_ALPHA = 1.6732632423543772;

/** The activations of `tfvae.networks`, by their Keras names; `tfvae/explorer/packing.py` lists them. */
export const ACTIVATIONS = {
  linear: (x) => x,
  relu: (x) => Math.max(x, 0),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  selu: (x) => SELU_SCALE * (x > 0 ? x : SELU_ALPHA * Math.expm1(x)),
  gelu: (x) => 0.5 * x * (1 + errorFunction(x * Math.SQRT1_2)),
  silu: (x) => x * sigmoid(x),
  softplus,
  tanh: Math.tanh,
  sigmoid,
};

/** Applies an activation to every value, in place. */
export function activate(values, name) {
  if (name === "linear") return values;
  const activation = ACTIVATIONS[name];
  for (let i = 0; i < values.length; i++) values[i] = activation(values[i]);
  return values;
}

// A Keras network as a list of layers, each of which takes the outputs of earlier ones.

import {
  activate,
  convolution,
  convolvedSize,
  crop,
  dense,
  gatedLinearUnit,
  transposedConvolution,
  transposedKernel,
  transposedSize,
} from "./kernels.js";

const sizeOf = (shape) => shape.reduce((product, size) => product * size, 1);

/** Values of a batch with the shape that each of its elements has. */
const tensor = (values, shape) => ({ values, shape });

// What each kind of layer makes of its inputs; `weights` are its arrays.
const LAYERS = {
  Dense(layer, [input], batch, [kernel, bias]) {
    const inputs = input.shape.at(-1);
    const outputs = kernel.shape.at(-1);
    const rows = (batch * sizeOf(input.shape)) / inputs;
    const values = new Float32Array(rows * outputs);
    dense(input.values, kernel.values, bias.values, rows, inputs, outputs, values);
    return tensor(activate(values, layer.activation), [...input.shape.slice(0, -1), outputs]);
  },

  Conv2D(layer, [input], batch, [kernel, bias]) {
    const { strides, padding, activation } = layer;
    const [height, width] = kernel.shape;
    const shape = [
      convolvedSize(input.shape[0], height, strides[0], padding),
      convolvedSize(input.shape[1], width, strides[1], padding),
      kernel.shape[3],
    ];
    const values = convolution(
      input.values, kernel.values, bias.values, batch, input.shape, shape, [height, width], strides, padding,
    );
    return tensor(activate(values, activation), shape);
  },

  Conv2DTranspose(layer, [input], batch, [kernel, bias]) {
    const { strides, padding, activation } = layer;
    const [height, width, outputs, inputs] = kernel.shape;
    const shape = [
      transposedSize(input.shape[0], height, strides[0], padding),
      transposedSize(input.shape[1], width, strides[1], padding),
      outputs,
    ];
    kernel.matrix ??= transposedKernel(kernel.values, height * width * outputs, inputs);
    const values = transposedConvolution(
      input.values, kernel.matrix, bias.values, batch, input.shape, shape, [height, width], strides, padding,
    );
    return tensor(activate(values, activation), shape);
  },

  // The scale and the offset that the moving statistics come to.
  BatchNormalization(layer, [input], batch, [scale, offset]) {
    const width = input.shape.at(-1);
    const values = input.values.map((x, i) => x * scale.values[i % width] + offset.values[i % width]);
    return tensor(values, input.shape);
  },

  Activation(layer, [input]) {
    return tensor(activate(input.values.slice(), layer.activation), input.shape);
  },

  Add(layer, inputs) {
    const [first, ...others] = inputs;
    const values = first.values.map((x, i) => others.reduce((sum, other) => sum + other.values[i], x));
    return tensor(values, first.shape);
  },

  Glu(layer, [input]) {
    const width = input.shape.at(-1);
    return tensor(gatedLinearUnit(input.values, width), [...input.shape.slice(0, -1), width / 2]);
  },

  Cropping2D(layer, [input], batch) {
    const [[top, bottom], [left, right]] = layer.cropping;
    const [height, width, channels] = input.shape;
    const shape = [height - top - bottom, width - left - right, channels];
    return tensor(crop(input.values, batch, input.shape, shape, top, left), shape);
  },

  Flatten(layer, [input]) {
    return tensor(input.values, [sizeOf(input.shape)]);
  },

  Reshape(layer, [input]) {
    const known = -sizeOf(layer.target_shape);
    const shape = layer.target_shape.map((size) => (size < 0 ? sizeOf(input.shape) / known : size));
    return tensor(input.values, shape);
  },

  Dropout(layer, [input]) {
    return input;
  },
};

/** Runs a network that `tfvae/explorer/packing.py` has packed. */
export class Network {
  /**
   * @param {object[]} layers in an order in which each comes after its inputs; the first is the input
   * @param {{values: Float32Array, shape: number[]}[]} arrays the weights that the layers refer to
   */
  constructor(layers, arrays) {
    this.layers = layers;
    this.arrays = arrays;
    this.inputShape = layers[0].shape;
  }

  /** The outputs of a batch of inputs, one after the other. */
  run(values, batch) {
    const outputs = [tensor(values, this.inputShape)];
    for (const layer of this.layers.slice(1)) {
      const inputs = layer.inputs.map((place) => outputs[place]);
      const weights = layer.weights.map((place) => this.arrays[place]);
      outputs.push(LAYERS[layer.layer](layer, inputs, batch, weights));
    }
    return outputs.at(-1).values;
  }
}

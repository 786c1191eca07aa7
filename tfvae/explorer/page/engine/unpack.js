// From the text in the page to the arrays of the model.

/** The bytes of gzip-compressed data in base64. */
export async function decompress(base64) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error(
      "This browser is too old to unpack the model: open the page in Chrome or Edge 80, Firefox 113, " +
        "Safari 16.4 or anything newer.",
    );
  }
  const text = atob(base64);
  const compressed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) compressed[i] = text.charCodeAt(i);
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The arrays that a model's description lists, out of its bytes. */
export function unpackArrays(entries, bytes) {
  return entries.map(({ type, shape, start }) => {
    const size = shape.reduce((product, length) => product * length, 1);
    return { values: READERS[type](bytes, start, size, shape.at(-1)), shape };
  });
}

const READERS = {
  uint8: (bytes, start, size) => bytes.subarray(start, start + size),
  int32: (bytes, start, size) => new Int32Array(bytes.slice(start, start + 4 * size).buffer),
  float32: (bytes, start, size) => new Float32Array(bytes.slice(start, start + 4 * size).buffer),

  // Multiples of a unit for each place of the last axis: the units, all high bytes, all low ones.
  fixed16(bytes, start, size, width) {
    const units = READERS.float32(bytes, start, width);
    const high = start + 4 * width;
    const low = high + size;
    const values = new Float32Array(size);
    for (let i = 0; i < size; i++) {
      const multiple = ((bytes[high + i] << 24) >> 16) | bytes[low + i];
      values[i] = multiple * units[i % width];
    }
    return values;
  },
};

"use strict";
// From the pixels of an image to the class of each pixel, with the numbers that stand in nets.json: what lmnet-predict does.

/** Open a net: {file, size, stride, mean, std, in_channels, classes: [{name, color}]} of nets.json. */
async function openNet(facts) {
  const session = await ort.InferenceSession.create(new URL(facts.file, location.href).href, {
    executionProviders: ["wasm"],
  });
  const output = session.outputNames.includes("logits") ? "logits" : session.outputNames[0];
  return { ...facts, session, output };
}

/** Channels of an RGBA image as the net takes them: three colours, or one grey channel (Pillow's weights). */
function channelsOf({ data, width, height }, count) {
  const channels = Array.from({ length: count }, () => new Uint8Array(width * height));
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (count === 1) channels[0][i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    else [channels[0][i], channels[1][i], channels[2][i]] = [red, green, blue];
  }
  return channels;
}

/** The net's input: resized, normalised, and repeated at the right and lower border up to a multiple of the stride. */
function inputOf(image, net) {
  const side = Math.ceil(net.size / net.stride) * net.stride;
  const input = new Float32Array(net.in_channels * side * side);
  channelsOf(image, net.in_channels).forEach((channel, c) => {
    const small = resizeBytes(channel, image.width, image.height, net.size, net.size);
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const value = small[Math.min(y, net.size - 1) * net.size + Math.min(x, net.size - 1)];
        input[(c * side + y) * side + x] = (value / 255 - net.mean[c]) / net.std[c];
      }
    }
  });
  return new ort.Tensor("float32", input, [1, net.in_channels, side, side]);
}

/** Probability of each class at each pixel of the image's own size, and the net's milliseconds. */
async function probabilities(image, net) {
  const input = inputOf(image, net);
  const start = performance.now();
  const logits = (await net.session.run({ image: input }))[net.output];
  const ms = performance.now() - start;
  const [, outputs, side, wide] = logits.dims;
  const size = net.size;
  const count = Math.max(2, outputs);
  const shares = Array.from({ length: count }, () => new Float32Array(size * size));
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const at = (k) => logits.data[(k * side + y) * wide + x];
      // one output is the lesion's logit against 0
      const values = outputs === 1 ? [0, at(0)] : Array.from({ length: count }, (_, k) => at(k));
      const most = Math.max(...values);
      const powers = values.map((value) => Math.exp(value - most));
      const total = powers.reduce((sum, power) => sum + power, 0);
      powers.forEach((power, k) => { shares[k][y * size + x] = power / total; });
    }
  }
  return { ms, shares: shares.map((map) => stretchFloats(map, size, size, image.width, image.height)) };
}

/** Class of each pixel: the most probable one, or above a least probability of not being background. */
function maskOf(shares, threshold) {
  const mask = new Uint8Array(shares[0].length);
  for (let i = 0; i < mask.length; i++) {
    let best = threshold === null ? 0 : 1;
    for (let k = best + 1; k < shares.length; k++) if (shares[k][i] > shares[best][i]) best = k;
    mask[i] = threshold === null || 1 - shares[0][i] >= threshold ? best : 0;
  }
  return mask;
}

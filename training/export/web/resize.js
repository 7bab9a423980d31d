"use strict";
// Resizing as lmnet does it, so that a net sees the same numbers: images as Pillow's BILINEAR filter (antialiased, in
// whole numbers), probabilities as torch's bilinear interpolation.

const BITS = 22;

/** Weights of Pillow's bilinear filter along one axis: for each target pixel its first source pixel and the weights. */
function bilinearWeights(from, to) {
  const scale = from / to;
  const support = Math.max(scale, 1);
  const rows = [];
  for (let target = 0; target < to; target++) {
    const center = (target + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(from, Math.trunc(center + support + 0.5));
    const weights = [];
    for (let source = first; source < last; source++) {
      weights.push(Math.max(0, 1 - Math.abs((source - center + 0.5) / support)));
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    rows.push({ first, weights: weights.map((weight) => Math.trunc(0.5 + (weight / total) * (1 << BITS))) });
  }
  return rows;
}

/** Resize one channel of bytes: along rows first, then along columns, each rounded to bytes. */
function resizeBytes(pixels, width, height, toWidth, toHeight) {
  if (width !== toWidth) {
    const rows = bilinearWeights(width, toWidth);
    const out = new Uint8Array(toWidth * height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < toWidth; x++) {
        const { first, weights } = rows[x];
        let sum = 1 << (BITS - 1);
        for (let i = 0; i < weights.length; i++) sum += pixels[y * width + first + i] * weights[i];
        out[y * toWidth + x] = Math.min(255, sum / (1 << BITS));
      }
    }
    pixels = out;
  }
  if (height !== toHeight) {
    const rows = bilinearWeights(height, toHeight);
    const out = new Uint8Array(toWidth * toHeight);
    for (let y = 0; y < toHeight; y++) {
      const { first, weights } = rows[y];
      for (let x = 0; x < toWidth; x++) {
        let sum = 1 << (BITS - 1);
        for (let i = 0; i < weights.length; i++) sum += pixels[(first + i) * toWidth + x] * weights[i];
        out[y * toWidth + x] = Math.min(255, sum / (1 << BITS));
      }
    }
    pixels = out;
  }
  return pixels;
}

/** Source pixels and share of the second one, for each target pixel along one axis. */
function interpolation(from, to) {
  return Array.from({ length: to }, (_, target) => {
    const place = Math.max(0, ((target + 0.5) * from) / to - 0.5);
    const first = Math.min(from - 1, Math.floor(place));
    return { first, second: Math.min(from - 1, first + 1), share: place - first };
  });
}

/** Stretch one map of floats to another size (bilinear, pixel centres). */
function stretchFloats(map, width, height, toWidth, toHeight) {
  const out = new Float32Array(toWidth * toHeight);
  const columns = interpolation(width, toWidth);
  interpolation(height, toHeight).forEach(({ first, second, share }, y) => {
    for (let x = 0; x < toWidth; x++) {
      const c = columns[x];
      const top = map[first * width + c.first] * (1 - c.share) + map[first * width + c.second] * c.share;
      const low = map[second * width + c.first] * (1 - c.share) + map[second * width + c.second] * c.share;
      out[y * toWidth + x] = top * (1 - share) + low * share;
    }
  });
  return out;
}

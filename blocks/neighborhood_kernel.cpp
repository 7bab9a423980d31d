// Neighbourhood attention on the CPU, float32, with its backward pass. A plain C interface, without Python or torch.
//
// A row of the map is worked on with 16 pixels in a vector. Keys and values of the k rows of the window are held planar
// (channel by channel) in a ring. The pixels of a row are reordered: first those whose windows slide along ("inner"),
// whose windows are plain loads at rising addresses; then those at the two ends ("outer"), which share the first or the
// last window, so that a key is one number for all of them. Nothing is kept for the backward pass: weights are computed
// again, row by row.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t LANES = 16;
typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Mask __attribute__((vector_size(LANES * sizeof(int32_t))));
constexpr float LOG2E = 1.44269504088896340736f, LN2 = 0.69314718055994530942f;

int64_t round_up(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

inline Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }
inline Vector splat(float x) { return x - Vector{}; }

// 2^x for x <= 0; NaN stays NaN. Polynomial of Cephes' exp2f, relative error 2e-7.
inline Vector exp2_of(Vector x) {
  const Vector lowest = splat(-126.0f), shift = splat(12582912.0f);  // 1.5 * 2^23: its low bits hold the integer
  x = x < lowest ? lowest : x;
  const Vector whole = x + shift;
  const Vector f = x - (whole - shift);
  Vector p = splat(1.535336188319500e-4f);
  p = p * f + 1.339887440266574e-3f;
  p = p * f + 9.618437357674640e-3f;
  p = p * f + 5.550332471162809e-2f;
  p = p * f + 2.402264791363012e-1f;
  p = p * f + 6.931472028550421e-1f;
  p = p * f + 1.0f;
  return (Vector)((Mask)p + ((Mask)whole << 23));
}

struct Shape {
  int64_t n, height, width, heads, depth, kh, kw;
  int64_t channels() const { return heads * depth; }
  int64_t start(int64_t i) const { return std::min(std::max<int64_t>(i - kh / 2, 0), height - kh); }
  int64_t inner() const { return width - kw + 1; }  // pixels of a row whose windows slide
  int64_t left() const { return kw / 2; }           // pixels that share the first window; kw - 1 - left the last
  int64_t blocks() const { return (round_up(inner()) + round_up(kw - 1)) / LANES; }
  int64_t key_row() const { return round_up(width) + LANES; }  // floats of a planar row, zeros behind it
  int64_t border() const { return round_up(kw - 1); }          // zeros before a row of inner pixels
  int64_t pixel_row() const { return border() + round_up(width) + LANES + round_up(kw - 1); }
  int64_t outer_at() const { return border() + round_up(width) + LANES; }
};

struct Input {
  const float* data;
  const int64_t* strides;  // N, H, W, heads, depth
  const float* row(int64_t n, int64_t y) const { return data + n * strides[0] + y * strides[1]; }
};

// Where the pixel x of a row lies in the reordered row.
inline int64_t place(const Shape& s, int64_t x) {
  const int64_t left = s.left(), inner = s.inner();
  if (x < left) return s.outer_at() + x;
  return x < left + inner ? s.border() + x - left : s.outer_at() + x - inner;
}

void read_keys(const Shape& s, const Input& from, int64_t n, int64_t y, float* planar) {
  const float* row = from.row(n, y);
  for (int64_t first = 0; first < s.width; first += LANES)
    for (int64_t head = 0; head < s.heads; ++head)
      for (int64_t d = 0; d < s.depth; ++d) {
        float* to = planar + (head * s.depth + d) * s.key_row();
        const float* channel = row + head * from.strides[3] + d * from.strides[4];
        for (int64_t x = first; x < std::min(first + LANES, s.width); ++x) to[x] = channel[x * from.strides[2]];
      }
}

void read_pixels(const Shape& s, const Input& from, int64_t n, int64_t y, float scale, float* planar) {
  const float* row = from.row(n, y);
  for (int64_t x = 0; x < s.width; ++x)
    for (int64_t head = 0, to = place(s, x); head < s.heads; ++head)
      for (int64_t d = 0; d < s.depth; ++d, to += s.pixel_row())
        planar[to] = scale * row[x * from.strides[2] + head * from.strides[3] + d * from.strides[4]];
}

// `row` is (width, channels), contiguous.
void write_pixels(const Shape& s, const float* planar, float* row) {
  const int64_t channels = s.channels();
  for (int64_t x = 0; x < s.width; ++x)
    for (int64_t c = 0, from = place(s, x); c < channels; ++c, from += s.pixel_row())
      row[x * channels + c] = planar[from];
}

template <bool Add>
void write_keys(const Shape& s, const float* planar, float* row) {
  const int64_t channels = s.channels();
  for (int64_t first = 0; first < s.width; first += LANES)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t x = first; x < std::min(first + LANES, s.width); ++x) {
        const float value = planar[c * s.key_row() + x];
        row[x * channels + c] = Add ? row[x * channels + c] + value : value;
      }
}

// 16 pixels of a row: where they lie, and how they see a planar row of keys.
struct Block {
  int64_t at;      // in a reordered row
  int64_t inner;   // first inner pixel, -1 in an outer block
  Mask is_left;    // outer: which lanes share the first window; the others share the last
  int64_t last;    // where the last window starts

  Block(const Shape& s, int64_t index) {
    const int64_t inner_blocks = round_up(s.inner()) / LANES;
    inner = index < inner_blocks ? index * LANES : -1;
    const int64_t first = (index - inner_blocks) * LANES;
    at = inner >= 0 ? s.border() + inner : s.outer_at() + first;
    last = s.width - s.kw;
    for (int64_t lane = 0; lane < LANES; ++lane) is_left[lane] = first + lane < s.left() ? -1 : 0;
  }
  template <bool Inner>
  inline Vector key(const float* row, int64_t offset) const {
    if (Inner) return load(row + inner + offset);
    return is_left ? splat(row[offset]) : splat(row[last + offset]);
  }
};

// For each offset in the window: terms[offset] (+)= sum over D channels of pixel * key.
template <int64_t D, bool Inner>
void compare(const Shape& s, const Block& b, const float* pixels, const float* const* rows, int64_t channel, bool add,
             Vector* terms) {
  Vector pixel[D];
  for (int64_t d = 0; d < D; ++d) pixel[d] = load(pixels + (channel + d) * s.pixel_row() + b.at);
  for (int64_t i = 0; i < s.kh; ++i) {
    const float* row = rows[i] + channel * s.key_row();
    for (int64_t j = 0; j < s.kw; ++j, ++terms) {
      Vector sum = add ? *terms : Vector{};
      for (int64_t d = 0; d < D; ++d) sum += pixel[d] * b.template key<Inner>(row + d * s.key_row(), j);
      *terms = sum;
    }
  }
}

// For D channels: out = scale * sum over the window of terms * key.
template <int64_t D, bool Inner>
void collect(const Shape& s, const Block& b, const Vector* terms, const float* const* rows, int64_t channel,
             Vector scale, float* out) {
  Vector sum[D] = {};
  for (int64_t i = 0; i < s.kh; ++i) {
    const float* row = rows[i] + channel * s.key_row();
    for (int64_t j = 0; j < s.kw; ++j, ++terms)
      for (int64_t d = 0; d < D; ++d) sum[d] += *terms * b.template key<Inner>(row + d * s.key_row(), j);
  }
  for (int64_t d = 0; d < D; ++d) store(out + (channel + d) * s.pixel_row() + b.at, sum[d] * scale);
}

// Call f with D = 16, 8, 4, 2, 1 until all channels of a head are done.
template <int64_t Most = 16, typename F>
void by_channels(int64_t channel, int64_t depth, F f) {
  for (; depth >= Most; depth -= Most, channel += Most) f(std::integral_constant<int64_t, Most>{}, channel);
  if constexpr (Most > 1) by_channels<Most / 2>(channel, depth, f);
}

template <bool Inner>
void compare_head(const Shape& s, const Block& b, const float* pixels, const float* const* rows, int64_t head,
                  Vector* terms) {
  by_channels(head * s.depth, s.depth, [&](auto d, int64_t channel) {
    compare<d, Inner>(s, b, pixels, rows, channel, channel > head * s.depth, terms);
  });
}

template <bool Inner>
void collect_head(const Shape& s, const Block& b, const Vector* terms, const float* const* rows, int64_t head,
                  Vector scale, float* out) {
  by_channels(head * s.depth, s.depth,
              [&](auto d, int64_t channel) { collect<d, Inner>(s, b, terms, rows, channel, scale, out); });
}

// Scores in units of ln 2 become weights; returns 1 / their sum.
Vector soften(Vector* terms, int64_t area) {
  Vector most = terms[0], sum = {};
  for (int64_t t = 1; t < area; ++t) most = terms[t] > most ? terms[t] : most;
  for (int64_t t = 0; t < area; ++t) sum += terms[t] = exp2_of(terms[t] - most);
  return 1.0f / sum;
}

// A zeroed, aligned piece of memory a name.
struct Memory {
  std::vector<float> data;
  explicit Memory(int64_t size) : data(size + LANES) {}
  float* get() {
    const auto address = reinterpret_cast<uintptr_t>(data.data());
    return data.data() + (64 - address % 64) % 64 / sizeof(float);
  }
};

// The planar rows of one map that the window of the current row needs; row y is in slot y % kh.
struct Ring {
  const Shape& s;
  Memory memory;
  explicit Ring(const Shape& shape) : s(shape), memory(shape.kh * shape.channels() * shape.key_row()) {}
  float* row(int64_t y) { return memory.get() + y % s.kh * s.channels() * s.key_row(); }
};

// Rows first to last of one image, worked on by one thread.
struct Chunk {
  int64_t n, first, last;
};

std::vector<Chunk> chunks_of(const Shape& s, int64_t threads) {
  // At least a window high: then at most two chunks add to a row of gradients, in whichever order the same.
  const int64_t count = std::max<int64_t>(1, std::min((4 * threads + s.n - 1) / s.n, s.height / s.kh));
  std::vector<Chunk> chunks;
  for (int64_t n = 0; n < s.n; ++n)
    for (int64_t c = 0; c < (threads > 1 ? count : 1); ++c) {
      const int64_t of = threads > 1 ? count : 1;
      chunks.push_back({n, s.height * c / of, s.height * (c + 1) / of});
    }
  return chunks;
}

// Reads keys and values as the window moves down.
struct Reader {
  const Shape& s;
  Input key, value;
  Ring keys, values;
  int64_t next = -1;
  std::vector<const float*> key_rows, value_rows;

  Reader(const Shape& shape, Input k, Input v)
      : s(shape), key(k), value(v), keys(shape), values(shape), key_rows(shape.kh), value_rows(shape.kh) {}
  void move(int64_t n, int64_t y) {
    const int64_t start = s.start(y);
    for (next = std::max(next, start); next < start + s.kh; ++next) {
      read_keys(s, key, n, next, keys.row(next));
      read_keys(s, value, n, next, values.row(next));
    }
    for (int64_t i = 0; i < s.kh; ++i) key_rows[i] = keys.row(start + i), value_rows[i] = values.row(start + i);
  }
};

template <bool Inner>
void forward_block(const Shape& s, const Block& b, int64_t head, const float* pixels, const Reader& reader,
                   Vector* terms, float* out) {
  compare_head<Inner>(s, b, pixels, reader.key_rows.data(), head, terms);
  const Vector scale = soften(terms, s.kh * s.kw);
  collect_head<Inner>(s, b, terms, reader.value_rows.data(), head, scale, out);
}

void forward_chunk(const Shape& s, const Chunk& c, Input query, Input key, Input value, float* out, float scale) {
  Reader reader(s, key, value);
  Memory pixels(s.channels() * s.pixel_row()), sums(s.channels() * s.pixel_row()), terms(s.kh * s.kw * LANES);
  for (int64_t y = c.first; y < c.last; ++y) {
    reader.move(c.n, y);
    read_pixels(s, query, c.n, y, scale * LOG2E, pixels.get());
    auto* space = reinterpret_cast<Vector*>(terms.get());
    for (int64_t head = 0; head < s.heads; ++head)
      for (int64_t index = 0; index < s.blocks(); ++index) {
        const Block b(s, index);
        if (b.inner >= 0)
          forward_block<true>(s, b, head, pixels.get(), reader, space, sums.get());
        else
          forward_block<false>(s, b, head, pixels.get(), reader, space, sums.get());
      }
    write_pixels(s, sums.get(), out + (c.n * s.height + y) * s.width * s.channels());
  }
}

// What the backward pass of one chunk holds: reordered rows of pixels, and of weights and their slopes by offset.
struct Backward {
  const Shape& s;
  Reader reader;
  Ring key_grads, value_grads;
  Memory query, grad, query_grad, weights, slopes, terms, more;

  Backward(const Shape& shape, Input key, Input value)
      : s(shape), reader(shape, key, value), key_grads(shape), value_grads(shape),
        query(shape.channels() * shape.pixel_row()), grad(query.data.size()), query_grad(query.data.size()),
        weights(shape.kh * shape.kw * shape.pixel_row()), slopes(weights.data.size()),
        terms(shape.kh * shape.kw * LANES), more(terms.data.size()) {}

  // The weights and slopes of 16 pixels, and the gradient of their queries.
  template <bool Inner>
  void by_pixel(const Block& b, int64_t head, float scale) {
    auto *p = reinterpret_cast<Vector*>(terms.get()), *slope = reinterpret_cast<Vector*>(more.get());
    const int64_t area = s.kh * s.kw;
    compare_head<Inner>(s, b, query.get(), reader.key_rows.data(), head, p);
    const Vector inverse = soften(p, area);
    compare_head<Inner>(s, b, grad.get(), reader.value_rows.data(), head, slope);
    Vector mean = {};
    for (int64_t t = 0; t < area; ++t) mean += (p[t] *= inverse) * slope[t];
    for (int64_t t = 0; t < area; ++t) slope[t] = p[t] * (slope[t] - mean);
    collect_head<Inner>(s, b, slope, reader.key_rows.data(), head, splat(scale), query_grad.get());
    Mask is_pixel;
    const int64_t count = Inner ? s.inner() - b.inner : LANES;
    for (int64_t lane = 0; lane < LANES; ++lane) is_pixel[lane] = lane < count ? -1 : 0;
    float *to_p = weights.get() + b.at, *to_slope = slopes.get() + b.at;
    for (int64_t t = 0; t < area; ++t, to_p += s.pixel_row(), to_slope += s.pixel_row()) {
      store(to_p, is_pixel ? p[t] : Vector{});
      store(to_slope, is_pixel ? slope[t] : Vector{});
    }
  }

  // What the inner pixels of the row add to D channels of one row of keys and values.
  template <int64_t D>
  void by_key(int64_t i, int64_t channel, float* key_row, float* value_row) {
    for (int64_t x = 0; x < s.width; x += LANES) {
      Vector key_sum[D], value_sum[D];
      for (int64_t d = 0; d < D; ++d) {
        key_sum[d] = load(key_row + (channel + d) * s.key_row() + x);
        value_sum[d] = load(value_row + (channel + d) * s.key_row() + x);
      }
      for (int64_t j = 0; j < s.kw; ++j) {
        const int64_t from = s.border() + x - j;
        const Vector p = load(weights.get() + (i * s.kw + j) * s.pixel_row() + from);
        const Vector slope = load(slopes.get() + (i * s.kw + j) * s.pixel_row() + from);
        for (int64_t d = 0; d < D; ++d) {
          key_sum[d] += slope * load(query.get() + (channel + d) * s.pixel_row() + from);
          value_sum[d] += p * load(grad.get() + (channel + d) * s.pixel_row() + from);
        }
      }
      for (int64_t d = 0; d < D; ++d) {
        store(key_row + (channel + d) * s.key_row() + x, key_sum[d]);
        store(value_row + (channel + d) * s.key_row() + x, value_sum[d]);
      }
    }
  }

  // What the outer pixels of the row add to one channel of one row of keys and values.
  void by_key_outer(int64_t i, int64_t channel, float* key_row, float* value_row) {
    const float* q = query.get() + channel * s.pixel_row() + s.outer_at();
    const float* g = grad.get() + channel * s.pixel_row() + s.outer_at();
    for (int64_t j = 0; j < s.kw; ++j) {
      const float* p = weights.get() + (i * s.kw + j) * s.pixel_row() + s.outer_at();
      const float* slope = slopes.get() + (i * s.kw + j) * s.pixel_row() + s.outer_at();
      float key_sum[2] = {}, value_sum[2] = {};
      for (int64_t lane = 0; lane < s.kw - 1; ++lane) {
        const bool side = lane >= s.left();
        key_sum[side] += slope[lane] * q[lane];
        value_sum[side] += p[lane] * g[lane];
      }
      for (int64_t side = 0; side < 2; ++side) {
        const int64_t x = channel * s.key_row() + j + side * (s.width - s.kw);
        key_row[x] += key_sum[side];
        value_row[x] += value_sum[side];
      }
    }
  }

  void row(int64_t y, float scale) {
    const int64_t start = s.start(y);
    for (int64_t head = 0; head < s.heads; ++head) {
      for (int64_t index = 0; index < s.blocks(); ++index) {
        const Block b(s, index);
        b.inner >= 0 ? by_pixel<true>(b, head, scale) : by_pixel<false>(b, head, scale);
      }
      for (int64_t i = 0; i < s.kh; ++i) {
        float *key_row = key_grads.row(start + i), *value_row = value_grads.row(start + i);
        by_channels<8>(head * s.depth, s.depth,
                       [&](auto d, int64_t channel) { by_key<d>(i, channel, key_row, value_row); });
        for (int64_t d = 0; d < s.depth; ++d) by_key_outer(i, head * s.depth + d, key_row, value_row);
      }
    }
  }
};

void backward_chunk(const Shape& s, const Chunk& c, Input grad, Input query, Input key, Input value, float* query_grad,
                    float* key_grad, float* value_grad, float scale) {
  Backward work(s, key, value);
  const int64_t floats = s.width * s.channels();
  // Rows of keys that no other chunk adds to.
  const int64_t own_first = c.first > 0 ? s.start(c.first - 1) + s.kh : 0;
  const int64_t own_last = c.last < s.height ? s.start(c.last) : s.height;
  auto finish = [&](int64_t y) {
    float *key_row = work.key_grads.row(y), *value_row = work.value_grads.row(y);
    float *to_key = key_grad + (c.n * s.height + y) * floats, *to_value = value_grad + (c.n * s.height + y) * floats;
    // Here, not while adding: a fused multiply-add would make the sum depend on which chunk comes first.
    for (int64_t at = 0; at < s.channels() * s.key_row(); ++at) key_row[at] *= LN2;
    if (y >= own_first && y < own_last) {
      write_keys<false>(s, key_row, to_key);
      write_keys<false>(s, value_row, to_value);
    } else {
#pragma omp critical(lmnet_shared_rows)
      {
        write_keys<true>(s, key_row, to_key);
        write_keys<true>(s, value_row, to_value);
      }
    }
    std::fill_n(key_row, s.channels() * s.key_row(), 0.0f);
    std::fill_n(value_row, s.channels() * s.key_row(), 0.0f);
  };
  int64_t oldest = s.start(c.first);
  for (int64_t y = c.first; y < c.last; ++y) {
    for (; oldest < s.start(y); ++oldest) finish(oldest);
    work.reader.move(c.n, y);
    read_pixels(s, query, c.n, y, scale * LOG2E, work.query.get());
    read_pixels(s, grad, c.n, y, 1.0f, work.grad.get());
    work.row(y, scale);
    write_pixels(s, work.query_grad.get(), query_grad + (c.n * s.height + y) * floats);
  }
  for (const int64_t end = oldest + s.kh; oldest < end; ++oldest) finish(oldest);
}

Shape shape_of(const int64_t* sizes, int64_t window) {
  return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], std::min(window, sizes[1]), std::min(window, sizes[2])};
}

}  // namespace

extern "C" {

// All pointers are to float32; strides are in elements, (N, H, W, heads, depth); `out` is contiguous.
void lmnet_attention(const float* query, const int64_t* query_strides, const float* key, const int64_t* key_strides,
                     const float* value, const int64_t* value_strides, float* out, const int64_t* sizes, int64_t window,
                     float scale, int64_t threads) {
  const Shape s = shape_of(sizes, window);
  const std::vector<Chunk> chunks = chunks_of(s, threads);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (size_t c = 0; c < chunks.size(); ++c)
    forward_chunk(s, chunks[c], {query, query_strides}, {key, key_strides}, {value, value_strides}, out, scale);
}

// The gradients are contiguous; those of key and value must hold zeros.
void lmnet_attention_backward(const float* grad, const int64_t* grad_strides, const float* query,
                              const int64_t* query_strides, const float* key, const int64_t* key_strides,
                              const float* value, const int64_t* value_strides, float* query_grad, float* key_grad,
                              float* value_grad, const int64_t* sizes, int64_t window, float scale, int64_t threads) {
  const Shape s = shape_of(sizes, window);
  const std::vector<Chunk> chunks = chunks_of(s, threads);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (size_t c = 0; c < chunks.size(); ++c)
    backward_chunk(s, chunks[c], {grad, grad_strides}, {query, query_strides}, {key, key_strides},
                   {value, value_strides}, query_grad, key_grad, value_grad, scale);
}
}

// Parallel depthwise convolutions of one map, each with its batch norm and, if asked, ReLU or ReLU6, summed: statistics,
// result and gradients on the CPU, float32, channels last. A plain C interface, without Python or torch.
//
// The map is worked on 8 channels at a time, in bands of rows that are copied into a tile with zeros around it. No
// branch's map is ever stored: convolutions are computed again wherever they are needed, which is cheaper than moving
// maps through memory. Bands are the same for any number of threads, and their sums are added in order, so the result
// does not depend on the threads.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace {

constexpr int64_t LANES = 8, BAND = 16, PIXELS = 8, TAPS = 5;
typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t Mask __attribute__((vector_size(LANES * sizeof(int32_t))));

inline Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }

// What is behind each branch's convolution, where branches are activated: min(max(factor * map + plus, 0), high).
struct Gate {
  const float *factor, *plus;  // (branches, channels)
  float high;
};

// Not-a-number passes, as in torch.
inline Vector activated(Vector value, float high) {
  const Vector most = Vector{} + high;
  value = (Vector)(~(value <= Vector{}) & (Mask)value);
  const Mask above = value > most;
  return (Vector)((above & (Mask)most) | (~above & (Mask)value));
}
// The gradient where the activation lets it through, else 0.
inline Vector let_through(Vector gradient, Vector value, float high) {
  return (Vector)(~((value <= Vector{}) | (value >= Vector{} + high)) & (Mask)gradient);
}

struct Map {
  int64_t n, height, width, channels;
  int64_t bands() const { return (height + BAND - 1) / BAND; }
  int64_t tasks() const { return n * bands(); }
  int64_t chunks() const { return (channels + LANES - 1) / LANES; }
  // The last 8 channels overlap those before them where the channels are no multiple of 8: both find the same numbers.
  int64_t first_channel(int64_t chunk) const { return std::min(chunk * LANES, channels - LANES); }
  float* at(float* data, int64_t image, int64_t y, int64_t channel) const {
    return data + ((image * height + y) * width) * channels + channel;
  }
  const float* at(const float* data, int64_t image, int64_t y, int64_t channel) const {
    return data + ((image * height + y) * width) * channels + channel;
  }
};

struct Kernel {
  const float* weight;  // (channels, height, width)
  int64_t height, width;
  int64_t up() const { return height / 2; }
  int64_t left() const { return width / 2; }
  int64_t taps() const { return height * width; }
};

// Rows of 8 channels with zeros around them; row and pixel may be negative as far as the margins go.
struct Tile {
  int64_t rows, above, margin, pitch;
  std::unique_ptr<Vector[]> data;
  Tile(int64_t height, int64_t above, int64_t width, int64_t margin)
      : rows(height + 2 * above), above(above), margin(margin), pitch(width + 2 * margin + PIXELS),
        data(new Vector[rows * pitch]()) {}
  Vector* row(int64_t y) { return data.get() + (y + above) * pitch + margin; }
  const Vector* row(int64_t y) const { return data.get() + (y + above) * pitch + margin; }
};

// Fill a tile's rows first..last - 1, counted from the band's first row; rows outside the map become zero.
void fill(const Map& map, const float* data, int64_t image, int64_t top, int64_t channel, int64_t first, int64_t last,
          Tile* tile) {
  for (int64_t y = first; y < last; ++y) {
    Vector* row = tile->row(y);
    if (top + y < 0 || top + y >= map.height) {
      std::fill(row, row + map.width, Vector{});
      continue;
    }
    const float* from = map.at(data, image, top + y, channel);
    for (int64_t x = 0; x < map.width; ++x) row[x] = load(from + x * map.channels);
  }
}

// A kernel's taps for 8 channels; turned by 180 degrees where the transposed convolution is wanted.
void read_taps(const Kernel& kernel, int64_t channel, bool turned, Vector* taps) {
  const int64_t count = kernel.taps();
  for (int64_t tap = 0; tap < count; ++tap)
    for (int64_t lane = 0; lane < LANES; ++lane)
      taps[turned ? count - 1 - tap : tap][lane] = kernel.weight[(channel + lane) * count + tap];
}

// out[x] (+)= the convolution at row y. Writes up to 7 pixels beyond the width.
template <bool Add>
void convolve_row(const Tile& tile, const Kernel& kernel, const Vector* taps, int64_t y, int64_t width, Vector* out) {
  for (int64_t x = 0; x < width; x += PIXELS) {
    Vector sum[PIXELS];
    for (int64_t p = 0; p < PIXELS; ++p) sum[p] = Add ? out[x + p] : Vector{};
    const Vector* tap = taps;
    for (int64_t i = 0; i < kernel.height; ++i) {
      const Vector* row = tile.row(y + i - kernel.up()) + x - kernel.left();
      for (int64_t j = 0; j < kernel.width; ++j, ++tap, ++row)
        for (int64_t p = 0; p < PIXELS; ++p) sum[p] += *tap * row[p];
    }
    for (int64_t p = 0; p < PIXELS; ++p) out[x + p] = sum[p];
  }
}

template <int64_t Count>
void correlate(const Vector* one, const Vector* other, int64_t width, Vector* sums) {
  Vector sum[Count] = {};
  for (int64_t x = 0; x < width; ++x)
    for (int64_t t = 0; t < Count; ++t) sum[t] += one[x] * other[x + t];
  for (int64_t t = 0; t < Count; ++t) sums[t] += sum[t];
}

// sums[tap] += the sum over a row of one[x] times the tile's pixel under that tap.
void correlate_row(const Tile& tile, const Kernel& kernel, const Vector* one, int64_t y, int64_t width, Vector* sums) {
  for (int64_t i = 0; i < kernel.height; ++i) {
    const Vector* row = tile.row(y + i - kernel.up()) - kernel.left();
    for (int64_t j = 0; j < kernel.width; j += TAPS) {
      const int64_t count = std::min(TAPS, kernel.width - j);
      Vector* at = sums + i * kernel.width + j;
      if (count == 5) correlate<5>(one, row + j, width, at);
      else if (count == 4) correlate<4>(one, row + j, width, at);
      else if (count == 3) correlate<3>(one, row + j, width, at);
      else if (count == 2) correlate<2>(one, row + j, width, at);
      else correlate<1>(one, row + j, width, at);
    }
  }
}

struct Branches {
  std::vector<Kernel> kernels;
  int64_t up = 0, left = 0, taps = 0;
  Branches(int64_t count, const float* const* weights, const int64_t* sides) {
    for (int64_t i = 0; i < count; ++i) {
      kernels.push_back({weights[i], sides[2 * i], sides[2 * i + 1]});
      up = std::max(up, kernels[i].up());
      left = std::max(left, kernels[i].left());
      taps = std::max(taps, kernels[i].taps());
    }
  }
  int64_t count() const { return (int64_t)kernels.size(); }
};

// For each task in a thread: run(task, image, first row, rows).
template <typename Run>
void for_bands(const Map& map, int64_t threads, const Run& run) {
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int64_t task = 0; task < map.tasks(); ++task) {
    const int64_t top = task % map.bands() * BAND;
    run(task, task / map.bands(), top, std::min(BAND, map.height - top));
  }
}

// Sums over all pixels: of the gradient (channels), and of the gradient times (branch - its mean) (branches, channels).
// Where branches are activated, the gradient is each branch's own: of_grad is (branches, channels) then.
template <bool Gated>
void branch_sums(const float* input, const float* grad, const int64_t* shape, int64_t count,
                 const float* const* weights, const int64_t* sides, const float* mean, const Gate& gate,
                 double* of_grad, double* of_product, int64_t threads) {
  const Map map{shape[0], shape[1], shape[2], shape[3]};
  const Branches branches(count, weights, sides);
  const int64_t gradients = (Gated ? count : 1) * map.channels, numbers = gradients + count * map.channels;
  std::vector<double> sums(map.tasks() * numbers);
  for_bands(map, threads, [&](int64_t task, int64_t image, int64_t top, int64_t rows) {
    Tile tile(BAND, branches.up, map.width, branches.left), grads(BAND, 0, map.width, 0);
    std::unique_ptr<Vector[]> taps(new Vector[branches.taps]), row(new Vector[map.width + PIXELS]);
    for (int64_t chunk = 0; chunk < map.chunks(); ++chunk) {
      const int64_t channel = map.first_channel(chunk);
      fill(map, input, image, top, channel, -branches.up, rows + branches.up, &tile);
      fill(map, grad, image, top, channel, 0, rows, &grads);
      double* all = &sums[task * numbers + channel];
      std::fill(all, all + LANES, 0.0);
      for (int64_t y = 0; y < rows && !Gated; ++y) {
        Vector sum{};
        for (int64_t x = 0; x < map.width; ++x) sum += grads.row(y)[x];
        for (int64_t lane = 0; lane < LANES; ++lane) all[lane] += sum[lane];
      }
      for (int64_t branch = 0; branch < count; ++branch) {
        const Kernel& kernel = branches.kernels[branch];
        read_taps(kernel, channel, false, taps.get());
        const int64_t number = branch * map.channels + channel;
        const Vector middle = load(mean + number);
        const Vector factor = Gated ? load(gate.factor + number) : Vector{};
        const Vector plus = Gated ? load(gate.plus + number) : Vector{};
        double* at = &sums[task * numbers + gradients + number];
        std::fill(at, at + LANES, 0.0);
        if (Gated) {
          all = &sums[task * numbers + number];
          std::fill(all, all + LANES, 0.0);
        }
        for (int64_t y = 0; y < rows; ++y) {
          convolve_row<false>(tile, kernel, taps.get(), y, map.width, row.get());
          Vector sum{}, through{};
          for (int64_t x = 0; x < map.width; ++x) {
            Vector from = grads.row(y)[x];
            if (Gated) through += from = let_through(from, factor * row[x] + plus, gate.high);
            sum += from * (row[x] - middle);
          }
          for (int64_t lane = 0; lane < LANES; ++lane) at[lane] += sum[lane];
          for (int64_t lane = 0; lane < LANES && Gated; ++lane) all[lane] += through[lane];
        }
      }
    }
  });
  for (int64_t number = 0; number < numbers; ++number) {
    double sum = 0;
    for (int64_t task = 0; task < map.tasks(); ++task) sum += sums[task * numbers + number];
    (number < gradients ? of_grad[number] : of_product[number - gradients]) = sum;
  }
}

// The gradient of branch i's map is by_grad[i] * grad + constant[i] + by_map[i] * map (each (branches, channels)).
// Writes the gradient of the input and of each branch's weight (channels, height, width).
// Where branches are activated, grad is what the activation lets through.
template <bool Gated>
void branch_gradients(const float* input, const float* grad, const int64_t* shape, int64_t count,
                      const float* const* weights, const int64_t* sides, const float* by_grad, const float* constant,
                      const float* by_map, const Gate& gate, float* of_input, float* const* of_weights,
                      int64_t threads) {
  const Map map{shape[0], shape[1], shape[2], shape[3]};
  const Branches branches(count, weights, sides);
  std::vector<int64_t> begin(count + 1);
  for (int64_t i = 0; i < count; ++i) begin[i + 1] = begin[i] + branches.kernels[i].taps() * map.channels;
  std::vector<float> sums(map.tasks() * begin[count]);
  for_bands(map, threads, [&](int64_t task, int64_t image, int64_t top, int64_t rows) {
    Tile tile(BAND, 2 * branches.up, map.width, branches.left), grads(BAND, branches.up, map.width, 0);
    Tile own(BAND, branches.up, map.width, branches.left), out(BAND, 0, map.width, 0);
    std::unique_ptr<Vector[]> taps(new Vector[branches.taps]), turned(new Vector[branches.taps]),
        found(new Vector[branches.taps]);
    for (int64_t chunk = 0; chunk < map.chunks(); ++chunk) {
      const int64_t channel = map.first_channel(chunk);
      fill(map, input, image, top, channel, -2 * branches.up, rows + 2 * branches.up, &tile);
      fill(map, grad, image, top, channel, -branches.up, rows + branches.up, &grads);
      for (int64_t y = 0; y < rows; ++y) std::fill(out.row(y), out.row(y) + map.width, Vector{});
      for (int64_t branch = 0; branch < count; ++branch) {
        const Kernel& kernel = branches.kernels[branch];
        read_taps(kernel, channel, false, taps.get());
        read_taps(kernel, channel, true, turned.get());
        const int64_t number = branch * map.channels + channel;
        const Vector factor = load(by_grad + number), plus = load(constant + number), times = load(by_map + number);
        const Vector scale = Gated ? load(gate.factor + number) : Vector{};
        const Vector shift = Gated ? load(gate.plus + number) : Vector{};
        for (int64_t y = -kernel.up(); y < rows + kernel.up(); ++y) {
          Vector* row = own.row(y);
          if (top + y < 0 || top + y >= map.height) {
            std::fill(row, row + map.width, Vector{});
            continue;
          }
          convolve_row<false>(tile, kernel, taps.get(), y, map.width, row);
          const Vector* from = grads.row(y);
          for (int64_t x = 0; x < map.width; ++x) {
            const Vector own = Gated ? let_through(from[x], scale * row[x] + shift, gate.high) : from[x];
            row[x] = factor * own + plus + times * row[x];
          }
          std::fill(row + map.width, row + map.width + std::max(PIXELS, branches.left), Vector{});
        }
        std::fill(found.get(), found.get() + kernel.taps(), Vector{});
        for (int64_t y = 0; y < rows; ++y) {
          correlate_row(tile, kernel, own.row(y), y, map.width, found.get());
          convolve_row<true>(own, kernel, turned.get(), y, map.width, out.row(y));
        }
        float* at = &sums[task * begin[count] + begin[branch]];
        for (int64_t tap = 0; tap < kernel.taps(); ++tap)
          for (int64_t lane = 0; lane < LANES; ++lane) at[(channel + lane) * kernel.taps() + tap] = found[tap][lane];
      }
      for (int64_t y = 0; y < rows; ++y) {
        float* to = map.at(of_input, image, top + y, channel);
        for (int64_t x = 0; x < map.width; ++x) store(to + x * map.channels, out.row(y)[x]);
      }
    }
  });
  for (int64_t branch = 0; branch < count; ++branch)
    for (int64_t i = 0; i < begin[branch + 1] - begin[branch]; ++i) {
      double sum = 0;
      for (int64_t task = 0; task < map.tasks(); ++task) sum += sums[task * begin[count] + begin[branch] + i];
      of_weights[branch][i] = (float)sum;
    }
}

}  // namespace

extern "C" {

// Mean and variance (biased) of each branch's map: doubles (branches, channels).
void lmnet_branch_statistics(const float* input, const int64_t* shape, int64_t count, const float* const* weights,
                             const int64_t* sides, double* mean, double* variance, int64_t threads) {
  const Map map{shape[0], shape[1], shape[2], shape[3]};
  const Branches branches(count, weights, sides);
  const int64_t numbers = count * map.channels;
  std::vector<double> means(map.tasks() * numbers), squares(map.tasks() * numbers);
  for_bands(map, threads, [&](int64_t task, int64_t image, int64_t top, int64_t rows) {
    Tile tile(BAND, branches.up, map.width, branches.left);
    std::unique_ptr<Vector[]> taps(new Vector[branches.taps]), row(new Vector[map.width + PIXELS]);
    for (int64_t chunk = 0; chunk < map.chunks(); ++chunk) {
      const int64_t channel = map.first_channel(chunk);
      fill(map, input, image, top, channel, -branches.up, rows + branches.up, &tile);
      for (int64_t branch = 0; branch < count; ++branch) {
        const Kernel& kernel = branches.kernels[branch];
        read_taps(kernel, channel, false, taps.get());
        double all_mean[LANES] = {}, all_squares[LANES] = {};
        for (int64_t y = 0; y < rows; ++y) {
          convolve_row<false>(tile, kernel, taps.get(), y, map.width, row.get());
          Vector sum{}, around{};
          for (int64_t x = 0; x < map.width; ++x) sum += row[x];
          const Vector middle = sum / (float)map.width;
          for (int64_t x = 0; x < map.width; ++x) around += (row[x] - middle) * (row[x] - middle);
          for (int64_t lane = 0; lane < LANES; ++lane) {  // Chan's update, row by row
            const double off = middle[lane] - all_mean[lane];
            all_mean[lane] += off / (y + 1);
            all_squares[lane] += around[lane] + off * off * map.width * y / (y + 1);
          }
        }
        const int64_t at = task * numbers + branch * map.channels + channel;
        std::copy(all_mean, all_mean + LANES, &means[at]);
        std::copy(all_squares, all_squares + LANES, &squares[at]);
      }
    }
  });
  for (int64_t number = 0; number < numbers; ++number) {
    double all = 0, middle = 0, around = 0;
    for (int64_t task = 0; task < map.tasks(); ++task) {
      const int64_t top = task % map.bands() * BAND;
      const double here = (double)std::min(BAND, map.height - top) * map.width;
      const double off = means[task * numbers + number] - middle;
      middle += off * here / (all + here);
      around += squares[task * numbers + number] + off * off * all * here / (all + here);
      all += here;
    }
    mean[number] = middle;
    variance[number] = around / all;
  }
}

// out = one depthwise convolution of the input, plus bias.
void lmnet_depthwise(const float* input, const int64_t* shape, const float* weight, const int64_t* sides,
                     const float* bias, float* out, int64_t threads) {
  const Map map{shape[0], shape[1], shape[2], shape[3]};
  const Kernel kernel{weight, sides[0], sides[1]};
  for_bands(map, threads, [&](int64_t, int64_t image, int64_t top, int64_t rows) {
    Tile tile(BAND, kernel.up(), map.width, kernel.left());
    std::unique_ptr<Vector[]> taps(new Vector[kernel.taps()]), row(new Vector[map.width + PIXELS]);
    for (int64_t chunk = 0; chunk < map.chunks(); ++chunk) {
      const int64_t channel = map.first_channel(chunk);
      fill(map, input, image, top, channel, -kernel.up(), rows + kernel.up(), &tile);
      read_taps(kernel, channel, false, taps.get());
      const Vector constant = load(bias + channel);
      for (int64_t y = 0; y < rows; ++y) {
        convolve_row<false>(tile, kernel, taps.get(), y, map.width, row.get());
        float* to = map.at(out, image, top + y, channel);
        for (int64_t x = 0; x < map.width; ++x) store(to + x * map.channels, row[x] + constant);
      }
    }
  });
}

// See branch_sums and branch_gradients; the sum of activated branches is at the end.
void lmnet_branch_sums(const float* input, const float* grad, const int64_t* shape, int64_t count,
                       const float* const* weights, const int64_t* sides, const float* mean, double* of_grad,
                       double* of_product, int64_t threads) {
  branch_sums<false>(input, grad, shape, count, weights, sides, mean, {}, of_grad, of_product, threads);
}

void lmnet_gated_sums(const float* input, const float* grad, const int64_t* shape, int64_t count,
                      const float* const* weights, const int64_t* sides, const float* mean, const float* factor,
                      const float* plus, double high, double* of_grad, double* of_product, int64_t threads) {
  branch_sums<true>(input, grad, shape, count, weights, sides, mean, {factor, plus, (float)high}, of_grad, of_product,
                    threads);
}

void lmnet_branch_gradients(const float* input, const float* grad, const int64_t* shape, int64_t count,
                            const float* const* weights, const int64_t* sides, const float* by_grad,
                            const float* constant, const float* by_map, float* of_input, float* const* of_weights,
                            int64_t threads) {
  branch_gradients<false>(input, grad, shape, count, weights, sides, by_grad, constant, by_map, {}, of_input,
                          of_weights, threads);
}

// by_grad is the gate's factor.
void lmnet_gated_gradients(const float* input, const float* grad, const int64_t* shape, int64_t count,
                           const float* const* weights, const int64_t* sides, const float* by_grad,
                           const float* constant, const float* by_map, const float* plus, double high,
                           float* of_input, float* const* of_weights, int64_t threads) {
  branch_gradients<true>(input, grad, shape, count, weights, sides, by_grad, constant, by_map,
                         {by_grad, plus, (float)high}, of_input, of_weights, threads);
}

// out = the sum over branches of min(max(factor * branch + plus, 0), high), factor and plus (branches, channels).
void lmnet_gated_sum(const float* input, const int64_t* shape, int64_t count, const float* const* weights,
                     const int64_t* sides, const float* factor, const float* plus, double high, float* out,
                     int64_t threads) {
  const Map map{shape[0], shape[1], shape[2], shape[3]};
  const Branches branches(count, weights, sides);
  for_bands(map, threads, [&](int64_t, int64_t image, int64_t top, int64_t rows) {
    Tile tile(BAND, branches.up, map.width, branches.left), total(BAND, 0, map.width, 0);
    std::unique_ptr<Vector[]> taps(new Vector[branches.taps]), row(new Vector[map.width + PIXELS]);
    for (int64_t chunk = 0; chunk < map.chunks(); ++chunk) {
      const int64_t channel = map.first_channel(chunk);
      fill(map, input, image, top, channel, -branches.up, rows + branches.up, &tile);
      for (int64_t y = 0; y < rows; ++y) std::fill(total.row(y), total.row(y) + map.width, Vector{});
      for (int64_t branch = 0; branch < count; ++branch) {
        const Kernel& kernel = branches.kernels[branch];
        read_taps(kernel, channel, false, taps.get());
        const int64_t number = branch * map.channels + channel;
        const Vector times = load(factor + number), more = load(plus + number);
        for (int64_t y = 0; y < rows; ++y) {
          convolve_row<false>(tile, kernel, taps.get(), y, map.width, row.get());
          for (int64_t x = 0; x < map.width; ++x) total.row(y)[x] += activated(times * row[x] + more, (float)high);
        }
      }
      for (int64_t y = 0; y < rows; ++y) {
        float* to = map.at(out, image, top + y, channel);
        for (int64_t x = 0; x < map.width; ++x) store(to + x * map.channels, total.row(y)[x]);
      }
    }
  });
}

}  // extern "C"

// upfirdn2d on the CPU.
//
// Along an axis, outputs j P + p, for the phases p < P = up / gcd(up, down), read the pixels
// j S + offset, with S = down / gcd(up, down). So what a tile of the result reads is brought into
// S_y S_x images of every S_y-th row and every S_x-th pixel, with zeros around. The outputs of a
// phase of both axes are then one sum of these images at some offsets, weighted, over many rows at
// once; what it gives between the rows is left out when the phases take turns in the result.
#include "../ops/upfirdn2d.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "simd.h"

namespace ganfast::cpu {
namespace {

constexpr int64_t kScratch =
    1 << 16;                        // numbers that a tile may read: they stay in the second cache
constexpr int64_t kWide = 4096;     // outputs of a row and a phase in a tile
constexpr int64_t kSum = 2048;      // numbers of one sum: with what it reads in the first cache
constexpr int64_t kWork = 1 << 15;  // elements of the result that are worth a thread

int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b < 0);
}

template <class T>
GANFAST_SIMD void widen(const T* x, Compute<T>* to, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = load(x[i]);
}

template <class T>
GANFAST_SIMD void narrow(const Compute<T>* from, T* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(y[i], from[i]);
}

// Every second one
template <class T>
GANFAST_SIMD void widen_halves(const T* x, Compute<T>* to, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = load(x[2 * i]);
}

template <class T>
GANFAST_SIMD void narrow_pairs(const Compute<T>* even, const Compute<T>* odd, T* y, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    store(y[2 * i], even[i]);
    store(y[2 * i + 1], odd[i]);
  }
}

// An image at some offset, and its weight
template <class C>
struct Part {
  int64_t offset;
  C weight;
};

// to = sum_k w_k from_k, with kAdd added to what is there
template <int kCount, bool kAdd, class C>
GANFAST_SIMD void combine(C* to, const C* images, const Part<C>* parts, int64_t n) {
  const C* x[kCount];
  C w[kCount];
  for (int k = 0; k < kCount; ++k) {
    x[k] = images + parts[k].offset;
    w[k] = parts[k].weight;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    C sum = kAdd ? to[i] : C(0);
    GANFAST_UNROLL
    for (int k = 0; k < kCount; ++k) sum += w[k] * x[k][i];
    to[i] = sum;
  }
}

template <class C>
void combine_all(C* to, const C* images, const std::vector<Part<C>>& parts, int64_t n) {
  const int64_t count = parts.size();
  if (count == 0) std::fill_n(to, n, C(0));
  int64_t done = 0;
  const auto take = [&]<int kCount>() {
    for (; count - done >= kCount; done += kCount) {
      const auto run = done > 0 ? combine<kCount, true, C> : combine<kCount, false, C>;
      run(to, images, parts.data() + done, n);
    }
  };
  take.template operator()<16>();
  take.template operator()<4>();
  take.template operator()<2>();
  take.template operator()<1>();
}

struct Axis {
  // A tap of a phase: place in the filter, which of S images, and place in it of the phase's first
  // output.
  struct Tap {
    int filter;
    int64_t image, offset;
  };

  int64_t phases, step;  // P and S
  int64_t outputs;       // of a phase, at most
  int64_t low, high;     // least and greatest offset
  std::vector<std::vector<Tap>> taps;

  Axis(int up, int down, int pad, int filter, int out)
      : phases(up / std::gcd(up, down)), step(down / std::gcd(up, down)), taps(phases) {
    outputs = (out + phases - 1) / phases;
    low = INT64_MAX, high = INT64_MIN;
    for (int64_t p = 0; p < phases; ++p) {
      for (int k = 0; k < filter; ++k) {
        const int64_t place = p * down + k - pad;
        if (place % up != 0) continue;
        const int64_t pixel = place / up, offset = floor_div(pixel, step);
        taps[p].push_back({k, pixel - offset * step, offset});
        low = std::min(low, offset);
        high = std::max(high, offset);
      }
    }
    if (low > high) low = high = 0;  // no output of a pixel
  }
};

template <class T>
struct Resampler {
  using C = Compute<T>;

  const UpfirdnShape& s;
  const T* x;
  T* y;
  Axis rows, columns;
  int64_t tall, wide, down, across;  // outputs of each phase in a tile, and tiles of an image
  int64_t pitch, image;              // numbers of a row and of an image that a tile reads
  int64_t together;                  // rows of one sum
  std::vector<std::vector<Part<C>>> parts;  // of each phase of rows and of columns

  Resampler(const UpfirdnShape& shape, const T* x, const float* filter, T* y)
      : s(shape),
        x(x),
        y(y),
        rows(s.up_y, s.down_y, s.pad_y, s.filter_height, s.out_height),
        columns(s.up_x, s.down_x, s.pad_x, s.filter_width, s.out_width) {
    wide = std::clamp<int64_t>(kWide / s.group, 1, columns.outputs);
    pitch = (wide + columns.high - columns.low) * s.group;
    const int64_t more = rows.high - rows.low;
    tall =
        std::clamp<int64_t>(kScratch / (rows.step * columns.step * pitch) - more, 1, rows.outputs);
    image = (tall + more) * pitch;
    together = std::clamp<int64_t>(kSum / pitch, 1, tall);
    down = (rows.outputs + tall - 1) / tall;
    across = (columns.outputs + wide - 1) / wide;
    for (const auto& of_rows : rows.taps) {
      for (const auto& of_columns : columns.taps) {
        auto& of_phase = parts.emplace_back();
        for (const Axis::Tap& v : of_rows)
          for (const Axis::Tap& h : of_columns)
            of_phase.push_back({(v.image * columns.step + h.image) * image +
                                    (v.offset - rows.low) * pitch +
                                    (h.offset - columns.low) * s.group,
                                static_cast<C>(s.gain * filter[s.tap(v.filter, h.filter)])});
      }
    }
  }

  // What one thread works with.
  struct Held {
    std::vector<C> images, result;
  };

  // Row h of a plane, from place `first` on, `n` places of each of its images.
  void bring(const T* plane, int64_t h, C* to, int64_t first, int64_t n) const {
    const int64_t g = s.group, step = columns.step;
    for (int64_t sub = 0; sub < step; ++sub, to += image) {
      // Places with pixels: 0 <= place * step + sub < width
      const bool inside = 0 <= h && h < s.height;
      const int64_t begin = inside ? std::clamp<int64_t>(-first, 0, n) : n;
      const int64_t end = std::clamp(floor_div(s.width - 1 - sub, step) + 1 - first, begin, n);
      std::fill(to, to + begin * g, C(0));
      std::fill(to + end * g, to + n * g, C(0));
      if (begin == end) continue;
      const T* from = plane + (h * s.width + (first + begin) * step + sub) * g;
      C* const live = to + begin * g;
      if (step == 1) {
        widen(from, live, (end - begin) * g);
      } else if (g > 1) {
        for (int64_t i = 0; i < end - begin; ++i) widen(from + i * step * g, live + i * g, g);
      } else if (step == 2) {
        widen_halves(from, live, end - begin);
      } else {
        for (int64_t i = 0; i < end - begin; ++i) live[i] = load(from[i * step]);
      }
    }
  }

  // A row of `outputs`, the phases of which are `apart`.
  void put(const C* result, int64_t apart, T* to, int64_t outputs) const {
    const int64_t g = s.group, phases = columns.phases;
    if (phases == 1) return narrow(result, to, outputs * g);
    if (phases == 2 && g == 1) {
      narrow_pairs(result, result + apart, to, outputs / 2);
      if (outputs % 2) store(to[outputs - 1], result[outputs / 2]);
      return;
    }
    for (int64_t p = 0; p < phases; ++p)
      for (int64_t j = 0; j * phases + p < outputs; ++j)
        narrow(result + p * apart + j * g, to + (j * phases + p) * g, g);
  }

  void run(int64_t tile, Held& held) const {
    const int64_t g = s.group, plane = tile / (down * across);
    const int64_t top = tile / across % down * tall, left = tile % across * wide;
    const int64_t height = std::min(tall, rows.outputs - top);
    const int64_t width = std::min(wide, columns.outputs - left);
    const int64_t outputs = std::min(width * columns.phases, s.out_width - left * columns.phases);
    const T* const from = x + plane * s.height * s.width * g;
    T* const to = y + (plane * s.out_height * s.out_width + left * columns.phases) * g;
    held.images.resize(rows.step * columns.step * image);
    for (int64_t sub = 0; sub < rows.step; ++sub)
      for (int64_t j = 0; j < height + rows.high - rows.low; ++j)
        bring(from, (top + rows.low + j) * rows.step + sub,
              held.images.data() + sub * columns.step * image + j * pitch, left + columns.low,
              width + columns.high - columns.low);
    const int64_t apart = together * pitch;
    held.result.resize(columns.phases * apart);
    for (int64_t j = 0; j < height; j += together) {
      const int64_t count = std::min(together, height - j);
      const int64_t n = (count - 1) * pitch + width * g;
      for (int64_t q = 0; q < rows.phases; ++q) {
        for (int64_t p = 0; p < columns.phases; ++p)
          combine_all(held.result.data() + p * apart, held.images.data() + j * pitch,
                      parts[q * columns.phases + p], n);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t h = (top + j + i) * rows.phases + q;
          if (h >= s.out_height) break;
          put(held.result.data() + i * pitch, apart, to + h * s.out_width * g, outputs);
        }
      }
    }
  }
};

}  // namespace

void upfirdn2d(DType dtype, const UpfirdnShape& shape, const void* x, const float* filter,
               void* y) {
  with_dtype(dtype, [&]<class T>() {
    const Resampler<T> resampler(shape, static_cast<const T*>(x), filter, static_cast<T*>(y));
    const int64_t tiles = shape.planes * resampler.down * resampler.across;
    const int64_t of_tile = resampler.wide * resampler.columns.phases * resampler.tall *
                            resampler.rows.phases * shape.group;
    at::parallel_for(0, tiles, std::max<int64_t>(1, kWork / of_tile),
                     [&](int64_t begin, int64_t end) {
                       typename Resampler<T>::Held held;
                       for (int64_t tile = begin; tile < end; ++tile) resampler.run(tile, held);
                     });
  });
}

}  // namespace ganfast::cpu

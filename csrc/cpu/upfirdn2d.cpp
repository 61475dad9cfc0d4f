// upfirdn2d on the CPU.
//
// Along a row, outputs j P + p, for the phases p < P = up / gcd(up, down), read the pixels
// j S + offset, with S = down / gcd(up, down). So what a tile of the result reads is brought into S
// sub-rows of every S-th pixel each, with zeros around; each phase is then a sum of sub-rows at
// some offset, weighted, and the phases take turns in the result. All loops run along rows.
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
constexpr int64_t kWide = 4096;     // of a row of the result
constexpr int64_t kTall = 64;       // rows of it
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

// to = sum_k w_k from_k, with kAdd added to what is there
template <int kCount, bool kAdd, class C>
GANFAST_SIMD void combine(C* to, const C* const* from, const C* weight, int64_t n) {
  const C* x[kCount];
  C w[kCount];
  for (int k = 0; k < kCount; ++k) {
    x[k] = from[k];
    w[k] = weight[k];
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
void combine_all(C* to, const std::vector<const C*>& from, const std::vector<C>& weight,
                 int64_t n) {
  const int64_t count = from.size();
  if (count == 0) std::fill_n(to, n, C(0));
  int64_t done = 0;
  const auto take = [&]<int kCount>() {
    for (; count - done >= kCount; done += kCount) {
      const auto run = done > 0 ? combine<kCount, true, C> : combine<kCount, false, C>;
      run(to, from.data() + done, weight.data() + done, n);
    }
  };
  take.template operator()<16>();
  take.template operator()<4>();
  take.template operator()<2>();
  take.template operator()<1>();
}

template <class T>
struct Resampler {
  using C = Compute<T>;
  // A tap of a phase: column of the filter, sub-row, and place in it of the phase's first output.
  struct Tap {
    int column;
    int64_t sub, offset;
  };

  const UpfirdnShape& s;
  const T* x;
  T* y;
  std::vector<C> weight;
  int64_t phases, step;  // P and S
  std::vector<std::vector<Tap>> taps;
  int64_t low = 0, high = 0;                  // least and greatest offset
  int64_t wide, tall, sub_row, across, down;  // of a tile, in outputs of each phase and in rows

  Resampler(const UpfirdnShape& shape, const T* x, const float* filter, T* y)
      : s(shape), x(x), y(y) {
    for (int k = 0; k < s.filter_height; ++k)
      for (int l = 0; l < s.filter_width; ++l)
        weight.push_back(static_cast<C>(s.gain * filter[s.tap(k, l)]));
    const int64_t common = std::gcd(s.up_x, s.down_x);
    phases = s.up_x / common;
    step = s.down_x / common;
    taps.resize(phases);
    low = INT64_MAX, high = INT64_MIN;
    for (int64_t p = 0; p < phases; ++p) {
      for (int l = 0; l < s.filter_width; ++l) {
        const int64_t place = p * s.down_x + l - s.pad_x;
        if (place % s.up_x != 0) continue;
        const int64_t pixel = place / s.up_x, offset = floor_div(pixel, step);
        taps[p].push_back({l, pixel - offset * step, offset});
        low = std::min(low, offset);
        high = std::max(high, offset);
      }
    }
    if (low > high) low = high = 0;  // no output of a pixel
    const int64_t outputs = (s.out_width + phases - 1) / phases;
    wide = std::clamp<int64_t>(kWide / (s.group * phases), 1, outputs);
    sub_row = (wide + high - low) * s.group;
    const int64_t rows = std::max<int64_t>(1, kScratch / (step * sub_row) - s.filter_height);
    tall = std::clamp<int64_t>(rows * s.up_y / s.down_y, 1, std::min<int64_t>(kTall, s.out_height));
    across = (outputs + wide - 1) / wide;
    down = (s.out_height + tall - 1) / tall;
  }

  // What one thread works with.
  struct Held {
    std::vector<C> rows, result, weights;
    std::vector<const C*> from;
  };

  // The sub-rows of a row of x from place `first` on, `n` places of each.
  void bring(const T* row, C* to, int64_t first, int64_t n) const {
    const int64_t g = s.group;
    for (int64_t sub = 0; sub < step; ++sub, to += sub_row) {
      // Places with pixels: 0 <= place * step + sub < width
      const int64_t begin = std::clamp<int64_t>(-first, 0, n);
      const int64_t end = std::clamp(floor_div(s.width - 1 - sub, step) + 1 - first, begin, n);
      std::fill(to, to + begin * g, C(0));
      std::fill(to + end * g, to + n * g, C(0));
      const T* from = row + ((first + begin) * step + sub) * g;
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

  // `n` outputs of each phase, but for those beyond the end of the row, to where the first belongs.
  void put(const C* result, T* to, int64_t n, int64_t outputs) const {
    const int64_t g = s.group, stride = wide * g;
    if (phases == 1) return narrow(result, to, n * g);
    if (phases == 2 && g == 1) {
      narrow_pairs(result, result + stride, to, outputs / 2);
      if (outputs % 2) store(to[outputs - 1], result[outputs / 2]);
      return;
    }
    for (int64_t p = 0; p < phases; ++p)
      for (int64_t j = 0; j * phases + p < outputs; ++j)
        narrow(result + p * stride + j * g, to + (j * phases + p) * g, g);
  }

  void run(int64_t tile, Held& held) const {
    const int64_t plane = tile / (down * across);
    const int64_t top = tile / across % down * tall,
                  bottom = std::min<int64_t>(top + tall, s.out_height);
    const int64_t left = tile % across * wide;
    const int64_t outputs = std::min(wide * phases, s.out_width - left * phases);
    const int64_t n = (outputs + phases - 1) / phases;
    const int64_t pixels = int64_t(s.height) * s.width,
                  out_pixels = int64_t(s.out_height) * s.out_width;
    const int64_t first =
        std::max<int64_t>(0, floor_div(top * s.down_y - s.pad_y + s.up_y - 1, s.up_y));
    const int64_t last = std::min<int64_t>(
        s.height - 1, floor_div((bottom - 1) * s.down_y + s.filter_height - 1 - s.pad_y, s.up_y));
    const int64_t row = step * sub_row;
    held.rows.resize(std::max<int64_t>(0, last - first + 1) * row);
    for (int64_t h = first; h <= last; ++h)
      bring(x + (plane * pixels + h * s.width) * s.group, held.rows.data() + (h - first) * row,
            left + low, n + high - low);
    held.result.resize(phases * wide * s.group);
    for (int64_t h = top; h < bottom; ++h) {
      for (int64_t p = 0; p < phases; ++p) {
        held.from.clear();
        held.weights.clear();
        for (int k = 0; k < s.filter_height; ++k) {
          const int64_t place = h * s.down_y + k - s.pad_y, of = floor_div(place, s.up_y);
          if (of * s.up_y != place || of < 0 || of >= s.height) continue;
          for (const Tap& tap : taps[p]) {
            held.from.push_back(held.rows.data() + (of - first) * row + tap.sub * sub_row +
                                (tap.offset - low) * s.group);
            held.weights.push_back(weight[k * s.filter_width + tap.column]);
          }
        }
        combine_all(held.result.data() + p * wide * s.group, held.from, held.weights, n * s.group);
      }
      put(held.result.data(), y + (plane * out_pixels + h * s.out_width + left * phases) * s.group,
          n, outputs);
    }
  }
};

}  // namespace

void upfirdn2d(DType dtype, const UpfirdnShape& shape, const void* x, const float* filter,
               void* y) {
  with_dtype(dtype, [&]<class T>() {
    const Resampler<T> resampler(shape, static_cast<const T*>(x), filter, static_cast<T*>(y));
    const int64_t tiles = shape.planes * resampler.down * resampler.across;
    const int64_t of_tile = resampler.wide * resampler.phases * resampler.tall * shape.group;
    at::parallel_for(0, tiles, std::max<int64_t>(1, kWork / of_tile),
                     [&](int64_t begin, int64_t end) {
                       typename Resampler<T>::Held held;
                       for (int64_t tile = begin; tile < end; ++tile) resampler.run(tile, held);
                     });
  });
}

}  // namespace ganfast::cpu

// Augmentations of samples, their linear parts and the adjoints of these on the CPU.
#include "../ops/augment.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "sum.h"

namespace ganfast::cpu {
namespace {

// Elements of a run of rows, over which a sum is taken in one go.
constexpr int64_t kRun = 4 * kTile;

// n pixels of one row, each channel in a plane of its own
template <class T>
GANFAST_SIMD void mix_planes(const T* x, T* y, int64_t n, int64_t channels, int64_t plane,
                             const Augmentation<Compute<T>>& augmentation, Compute<T> constant) {
  using C = Compute<T>;
  const C a = augmentation.a;
  const double b = augmentation.b / double(channels);
  constexpr int64_t kPart = 256;
  double of_pixel[kPart];
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t count = std::min(kPart, n - begin);
    std::fill_n(of_pixel, count, 0.0);
    for (int64_t c = 0; c < channels; ++c) {
      const T* from = x + c * plane + begin;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) of_pixel[i] += double(load(from[i]));
    }
    for (int64_t c = 0; c < channels; ++c) {
      const T* from = x + c * plane + begin;
      T* to = y + c * plane + begin;
#pragma omp simd
      for (int64_t i = 0; i < count; ++i)
        store(to[i], a * load(from[i]) + (C(b * of_pixel[i]) + constant));
    }
  }
}

// n pixels of one row, the channels of each side by side; kChannels are known, or 0
template <int kChannels, class T>
GANFAST_SIMD void mix_pixels(const T* x, T* y, int64_t n, int64_t any_channels,
                             const Augmentation<Compute<T>>& augmentation, Compute<T> constant) {
  using C = Compute<T>;
  const int64_t channels = kChannels > 0 ? kChannels : any_channels;
  const C a = augmentation.a;
  const double b = augmentation.b / double(channels);
  for (int64_t i = 0; i < n; ++i) {
    const T* from = x + i * channels;
    T* to = y + i * channels;
    double of_pixel = 0;
#pragma omp simd reduction(+ : of_pixel)
    for (int64_t c = 0; c < channels; ++c) of_pixel += double(load(from[c]));
    const C rest = C(b * of_pixel) + constant;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) store(to[c], a * load(from[c]) + rest);
  }
}

// One sample on its way from x to y.
template <class T>
struct Sample {
  using C = Compute<T>;

  AugmentShape shape;
  bool adjoint;
  Augmentation<C> augmentation;
  const T* x;
  T* y;

  // Calls body(begin, end) for the columns of a row of y that have a source and are not cut out.
  template <class Body>
  void for_each_live(int h, Body body) const {
    const Augmentation<C>& s = augmentation;
    if (h + s.shift_h < 0 || h + s.shift_h >= shape.height) return;
    const int begin = std::max(0, -s.shift_w);
    const int end = std::min(shape.width, shape.width - s.shift_w);
    const bool cut = s.top <= h && h < s.bottom;
    const int left = cut ? std::clamp(s.left, begin, end) : end;
    const int right = cut ? std::clamp(s.right, left, end) : end;
    if (begin < left) body(begin, left);
    if (right < end) body(right, end);
  }

  // Calls body(offset, n) for the stretches of memory that hold n pixels of a row.
  template <class Body>
  void for_each_stretch(int h, int w, int64_t n, Body body) const {
    const int64_t pixel = int64_t(h) * shape.width + w;
    if (shape.interleaved) return body(pixel * shape.channels, n * shape.channels);
    for (int c = 0; c < shape.channels; ++c) body(c * shape.pixels() + pixel, n);
  }

  // The sum of what rows of y are mixed from: of x for the map, of what is live for the adjoint.
  double sum_of_rows(int first, int last) const {
    double total = 0;
    const auto add = [&](int64_t offset, int64_t n) { total += sum_of_all(x + offset, n); };
    if (!adjoint) {
      for_each_stretch(first, 0, int64_t(last - first) * shape.width, add);
      return total;
    }
    for (int h = first; h < last; ++h)
      for_each_live(h, [&](int begin, int end) {
        for_each_stretch(h + augmentation.shift_h, begin + augmentation.shift_w, end - begin, add);
      });
    return total;
  }

  void write_rows(int first, int last, double mean) const {
    const C of_sample = augmentation.mixes ? C(augmentation.c * mean) : C(0);
    const C constant = of_sample + augmentation.d;
    T outside;
    store(outside, adjoint ? of_sample : C(0));
    const auto fill = [&](int h, int begin, int end) {
      for_each_stretch(h, begin, end - begin,
                       [&](int64_t offset, int64_t n) { std::fill_n(y + offset, n, outside); });
    };
    for (int h = first; h < last; ++h) {
      int written = 0;
      for_each_live(h, [&](int begin, int end) {
        if (written < begin) fill(h, written, begin);
        write_live(h, begin, end - begin, constant);
        written = end;
      });
      if (written < shape.width) fill(h, written, shape.width);
    }
  }

  void write_live(int h, int w, int64_t n, C constant) const {
    const int64_t to = int64_t(h) * shape.width + w;
    const int64_t shift = int64_t(augmentation.shift_h) * shape.width + augmentation.shift_w;
    const int64_t from = to + shift;
    if (!augmentation.mixes) {
      const int64_t moved = shape.interleaved ? shift * shape.channels : shift;
      for_each_stretch(h, w, n, [&](int64_t offset, int64_t count) {
        std::copy_n(x + offset + moved, count, y + offset);
      });
    } else if (shape.interleaved) {
      const auto mix = shape.channels == 3 ? mix_pixels<3, T> : mix_pixels<0, T>;
      mix(x + from * shape.channels, y + to * shape.channels, n, shape.channels, augmentation,
          constant);
    } else {
      mix_planes(x + from, y + to, n, shape.channels, shape.pixels(), augmentation, constant);
    }
  }
};

}  // namespace

void augment(AugmentMap map, AugmentPieces pieces, DType dtype, AugmentShape shape, const float* u,
             const void* x, void* y) {
  with_dtype(dtype, [&]<class T>() {
    const auto sample = [&](int64_t b) {
      return Sample<T>{shape, map == AugmentMap::adjoint,
                       augmentation_of<Compute<T>>(map, pieces, u + b * shape.draws, shape.draws,
                                                   shape.height, shape.width),
                       static_cast<const T*>(x) + b * shape.elements(),
                       static_cast<T*>(y) + b * shape.elements()};
    };
    // A sample's rows in runs of a fixed length, so that sums do not depend on the threads.
    const int64_t row = int64_t(shape.channels) * shape.width;
    const int rows = static_cast<int>(std::clamp<int64_t>(kRun / row, 1, shape.height));
    const int64_t runs = (shape.height + rows - 1) / rows;
    std::vector<double> sums(shape.samples * runs);
    const auto add_run = [&](int64_t i) {
      const Sample<T> s = sample(i / runs);
      const int first = static_cast<int>(i % runs) * rows;
      if (s.augmentation.mixes)
        sums[i] = s.sum_of_rows(first, std::min(first + rows, shape.height));
    };
    const auto write_run = [&](int64_t i) {
      const int64_t b = i / runs;
      const int first = static_cast<int>(i % runs) * rows;
      const double mean = pairwise_sum(sums.data() + b * runs, runs) / shape.elements();
      sample(b).write_rows(first, std::min(first + rows, shape.height), mean);
    };
    const auto each = [](int64_t begin, int64_t end, auto body) {
      for (int64_t i = begin; i < end; ++i) body(i);
    };
    if (shape.samples >= at::get_num_threads()) {  // a sample at a time, while it is in the cache
      at::parallel_for(0, shape.samples, 1, [&](int64_t first, int64_t last) {
        for (int64_t b = first; b < last; ++b) {
          each(b * runs, (b + 1) * runs, add_run);
          each(b * runs, (b + 1) * runs, write_run);
        }
      });
      return;
    }
    const auto in_parallel = [&](auto body) {
      at::parallel_for(0, shape.samples * runs, 1,
                       [&](int64_t first, int64_t last) { each(first, last, body); });
    };
    if (pieces.color) in_parallel(add_run);
    in_parallel(write_run);
  });
}

}  // namespace ganfast::cpu

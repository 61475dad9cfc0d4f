// bias_act and its derivatives on the CPU: one read of each input, one write of each result.
#include "../ops/bias_act.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "sum.h"

namespace ganfast::cpu {
namespace {

// Least elements of a row whose channels are side by side; shorter rows are taken several at a
// time.
constexpr int64_t kRow = 64;
// Rows that are summed in the type of the computation before their sum is added in double.
constexpr int64_t kRows = 16;

// `count` parts of planes of one channel each: `size` elements from `first` on, then as many a
// plane further on. Their sums go to sums[0], sums[step], ...
template <class Body, class C>
GANFAST_SIMD void run_planes(const Body& body_, int64_t first, int64_t size, int64_t plane,
                             int64_t count, int64_t channel, int64_t channels, const C* b_,
                             const C* c_, double* sums, int64_t step) {
  const Body body = body_;
  for (int64_t k = 0; k < count; ++k) {
    const C b = b_[channel], c = c_[channel];
    double total = 0;
    for (int64_t begin = first; begin < first + size; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, first + size);
      C sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = begin; i < end; ++i) sum += body.at(i, b, c);
      total += double(sum);
    }
    if (Body::kSums) sums[k * step] = total;
    first += plane;
    if (++channel == channels) channel = 0;
  }
}

// Elements from `first` to `last`, a channel each, as rows of `width`; their sums are added to
// sums[0..width), by way of part[0..width).
template <class Body, class C>
GANFAST_SIMD void run_rows(const Body& body_, int64_t first, int64_t last, int64_t width,
                           const C* b, const C* c, C* part, double* sums) {
  const Body body = body_;
  for (int64_t row = 0; first < last; first += width) {
    const int64_t size = std::min(width, last - first);
    if constexpr (Body::kSums) {
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) part[i] += body.at(first + i, b[i], c[i]);
      if (++row % kRows == 0 || first + width >= last) {
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) {
          sums[i] += double(part[i]);
          part[i] = 0;
        }
      }
    } else {
#pragma omp simd
      for (int64_t i = 0; i < size; ++i) body.at(first + i, b[i], c[i]);
    }
  }
}

// Numbers of the channels, `count` in all, one period after the other; zeros where there are none.
template <class T>
std::vector<Compute<T>> repeated(const void* numbers, int64_t channels, int64_t count) {
  std::vector<Compute<T>> all(count, 0);
  if (numbers == nullptr) return all;
  for (int64_t i = 0; i < count; ++i) all[i] = load(static_cast<const T*>(numbers)[i % channels]);
  return all;
}

template <class T>
void write(void* of_channels, const std::vector<double>& sums) {
  if (of_channels == nullptr) return;
  for (size_t c = 0; c < sums.size(); ++c)
    store(static_cast<T*>(of_channels)[c], static_cast<Compute<T>>(sums[c]));
}

template <class T, class Body>
void run_in_planes(const Body& body, BiasActShape shape, const void* b_, const void* c_,
                   void* of_channels) {
  const auto b = repeated<T>(b_, shape.channels, shape.channels);
  const auto c = repeated<T>(c_, shape.channels, shape.channels);
  const int64_t planes = shape.outer * shape.channels;
  const int64_t parts = (shape.inner + kTile - 1) / kTile;  // of a plane
  const int64_t together = std::clamp<int64_t>(kTile / shape.inner, 1, planes);
  const int64_t groups = (planes + together - 1) / together;
  std::vector<double> sums(Body::kSums ? planes * parts : 0);
  at::parallel_for(0, groups * parts, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t job = begin; job < end; ++job) {
      const int64_t plane = job / parts * together, part = job % parts, from = part * kTile;
      run_planes(body, plane * shape.inner + from, std::min(kTile, shape.inner - from), shape.inner,
                 std::min(together, planes - plane), plane % shape.channels, shape.channels,
                 b.data(), c.data(), sums.data() + (Body::kSums ? plane * parts + part : 0), parts);
    }
  });
  if (!Body::kSums || of_channels == nullptr) return;
  std::vector<double> totals(shape.channels);
  for (int64_t plane = 0; plane < planes; ++plane)
    totals[plane % shape.channels] += pairwise_sum(sums.data() + plane * parts, parts);
  write<T>(of_channels, totals);
}

template <class T, class Body>
void run_in_rows(const Body& body, BiasActShape shape, const void* b_, const void* c_,
                 void* of_channels) {
  using C = Compute<T>;
  const int64_t width = (kRow + shape.channels - 1) / shape.channels * shape.channels;
  const auto b = repeated<T>(b_, shape.channels, width), c = repeated<T>(c_, shape.channels, width);
  const int64_t n = shape.elements(), size = std::max<int64_t>(1, 4 * kTile / width) * width;
  const int64_t jobs = (n + size - 1) / size;
  std::vector<double> sums(Body::kSums ? jobs * width : 0);
  at::parallel_for(
      0, jobs, std::max<int64_t>(1, kGrain * kTile / size), [&](int64_t begin, int64_t end) {
        std::vector<C> part(Body::kSums ? width : 0);
        for (int64_t job = begin; job < end; ++job)
          run_rows(body, job * size, std::min(n, (job + 1) * size), width, b.data(), c.data(),
                   part.data(), sums.data() + (Body::kSums ? job * width : 0));
      });
  if (!Body::kSums || of_channels == nullptr) return;
  std::vector<double> totals(shape.channels);
  for (int64_t job = 0; job < jobs; ++job)
    for (int64_t i = 0; i < width; ++i) totals[i % shape.channels] += sums[job * width + i];
  write<T>(of_channels, totals);
}

template <class T, class Body>
void run(const Body& body, BiasActShape shape, const void* b, const void* c, void* of_channels) {
  if (shape.inner == 1 && shape.channels > 1) {
    run_in_rows<T>(body, shape, b, c, of_channels);
  } else {
    run_in_planes<T>(body, shape, b, c, of_channels);
  }
}

}  // namespace

void bias_act(const BiasActParameters& parameters, DType dtype, BiasActShape shape,
              const BiasActPass& pass) {
  with_pass(parameters, dtype, pass,
            [&]<class T>(const auto& body) { run<T>(body, shape, pass.b, pass.c, pass.sums); });
}

}  // namespace ganfast::cpu

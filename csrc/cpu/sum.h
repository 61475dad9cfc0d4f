// Sums in double, nearly as quick as to read what they are of.
#pragma once

#include <algorithm>
#include <type_traits>

#include "simd.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define GANFAST_AVX __attribute__((target("avx")))
#include <immintrin.h>
#endif

namespace ganfast::cpu {

// Elements whose terms are there before they are added up: they stay in the first cache.
constexpr int64_t kBlock = 512;

// Asks for what is read some blocks later: memory's own guess is too late and stops at the end
// of a page.
template <class T>
GANFAST_HD void ask_ahead(const T* x, int64_t n) {
  constexpr int64_t kAhead = 8192, kLine = 64;  // bytes
  for (int64_t byte = 0; byte < n * int64_t(sizeof(T)); byte += kLine)
    __builtin_prefetch(reinterpret_cast<const char*>(x) + kAhead + byte);
}

// The sum of `count` numbers by halves: rounding errors grow with its logarithm.
inline double pairwise_sum(const double* numbers, int64_t count) {
  if (count <= 2) return (count > 0 ? numbers[0] : 0) + (count > 1 ? numbers[1] : 0);
  const int64_t half = count / 2;
  return pairwise_sum(numbers, half) + pairwise_sum(numbers + half, count - half);
}

// sum over the blocks of n elements, for n up to kTile, of body(begin, size)
template <class Body>
GANFAST_HD double sum_of_blocks(int64_t n, Body body) {
  double sums[kTile / kBlock];
  int64_t count = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock)
    sums[count++] = body(begin, std::min(kBlock, n - begin));
  return pairwise_sum(sums, count);
}

namespace {  // each file's own: the linker does not choose among clones

#ifdef GANFAST_AVX
// sum_i x_i of a multiple of 16 floats. The compiler converts what it has loaded, which takes half
// as long again as to convert while loading.
GANFAST_AVX inline double sum_of_lines(const float* x, int64_t n) {
  __m256d sums[4]{};
  for (int64_t i = 0; i < n; i += 16) {
    for (int k = 0; k < 4; ++k)
      sums[k] = _mm256_add_pd(sums[k], _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * k)));
  }
  double lanes[4];
  _mm256_storeu_pd(lanes,
                   _mm256_add_pd(_mm256_add_pd(sums[0], sums[1]), _mm256_add_pd(sums[2], sums[3])));
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}
#endif

// sum_i x_i, in four runs: additions that wait for one another would take longer
template <class T>
GANFAST_SIMD double sum_of_runs(const T* x, int64_t n) {
  const int64_t run = n / 4;
  const auto at = [&](int64_t i) GANFAST_INLINE { return double(load(x[i])); };
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < run; ++i)
    sum += (at(i) + at(i + run)) + (at(i + 2 * run) + at(i + 3 * run));
  for (int64_t i = 4 * run; i < n; ++i) sum += at(i);
  return sum;
}

// sum_i x_i of a block
template <class T>
double sum_of_block(const T* x, int64_t n) {
#ifdef GANFAST_AVX
  if constexpr (std::is_same_v<T, float>) {
    if (__builtin_cpu_supports("avx")) {
      const int64_t lines = n / 16 * 16;
      double sum = sum_of_lines(x, lines);
      for (int64_t i = lines; i < n; ++i) sum += x[i];
      return sum;
    }
  }
#endif
  return sum_of_runs(x, n);
}

// sum_i x_i of a tile
template <class T>
double sum_of(const T* x, int64_t n) {
  return sum_of_blocks(n, [&](int64_t begin, int64_t size) {
    ask_ahead(x + begin, size);
    return sum_of_block(x + begin, size);
  });
}

// sum_i x_i of any number of elements
template <class T>
double sum_of_all(const T* x, int64_t n) {
  double sum = 0;
  for (int64_t begin = 0; begin < n; begin += kTile)
    sum += sum_of(x + begin, std::min(kTile, n - begin));
  return sum;
}

}  // namespace
}  // namespace ganfast::cpu

// Compiles a function for several x86 instruction sets; the loader picks the one that the machine
// has.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../math/scalar.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define GANFAST_SIMD \
  __attribute__((noinline, target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define GANFAST_SIMD __attribute__((noinline))
#endif

// Makes a lambda part of the loop that calls it, so that it is vectorized there.
#define GANFAST_INLINE __attribute__((always_inline))

namespace ganfast::cpu {

// Elements that one call of a kernel's loop takes: small enough to stay in the first cache, large
// enough to hide the call.
constexpr int64_t kTile = 4096;
// Elements added up one after the other in the lanes of a vector.
constexpr int64_t kBlock = 128;

// The sum of `count` numbers by halves: rounding errors grow with its logarithm.
inline double pairwise_sum(const double* numbers, int64_t count) {
  if (count <= 2) return (count > 0 ? numbers[0] : 0) + (count > 1 ? numbers[1] : 0);
  const int64_t half = count / 2;
  return pairwise_sum(numbers, half) + pairwise_sum(numbers + half, count - half);
}

// sum of term(i) over i < n, for n up to kTile
template <class Term>
GANFAST_HD double tile_sum(int64_t n, Term term) {
  double sums[kTile / kBlock];
  int64_t count = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, n);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += term(i);
    sums[count++] = sum;
  }
  return pairwise_sum(sums, count);
}

}  // namespace ganfast::cpu

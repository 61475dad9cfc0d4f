// Sums in double, nearly as quick as to read what they are of.
#pragma once

#include <algorithm>

#include "simd.h"

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

// sum_i x_i of a block, in four runs: additions that wait for one another would take longer
template <class T>
GANFAST_SIMD double sum_of_block(const T* x, int64_t n) {
  const int64_t run = n / 4;
  const auto at = [&](int64_t i) GANFAST_INLINE { return double(load(x[i])); };
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < run; ++i)
    sum += (at(i) + at(i + run)) + (at(i + 2 * run) + at(i + 3 * run));
  for (int64_t i = 4 * run; i < n; ++i) sum += at(i);
  return sum;
}

// sum_i x_i of a tile
template <class T>
double sum_of(const T* x, int64_t n) {
  return sum_of_blocks(n, [&](int64_t begin, int64_t size) {
    ask_ahead(x + begin, size);
    return sum_of_block(x + begin, size);
  });
}

}  // namespace
}  // namespace ganfast::cpu

// What the statistics of both families take of logits: their sum, and how many lie above and below
// a threshold.
#pragma once

#include "tiles.h"

namespace ganfast::cpu {
namespace {  // each file's own: the linker does not choose among clones

struct Logits {
  double sum;
  int64_t above, below;
};

template <class T>
GANFAST_SIMD Logits logits_of(const T* x, int64_t n, Compute<T> threshold) {
  int32_t above = 0, below = 0;
#pragma omp simd reduction(+ : above, below)
  for (int64_t i = 0; i < n; ++i) {
    above += load(x[i]) > threshold;
    below += load(x[i]) < threshold;
  }
  return {sum_of(x, n), above, below};
}

// The sum over the `count` tiles of a tensor, in a fixed order.
inline Logits total_of(const Logits* tiles, int64_t count) {
  if (count <= 1) return count > 0 ? tiles[0] : Logits{};
  const int64_t half = count / 2;
  const Logits first = total_of(tiles, half), second = total_of(tiles + half, count - half);
  return {first.sum + second.sum, first.above + second.above, first.below + second.below};
}

// row = (value, mean logit, shares above and below the threshold), of n logits
template <class C>
void write_stats(double value, const Logits& logits, int64_t n, C* row) {
  row[0] = value;
  row[1] = logits.sum / n;
  row[2] = logits.above / double(n);
  row[3] = logits.below / double(n);
}

}  // namespace
}  // namespace ganfast::cpu

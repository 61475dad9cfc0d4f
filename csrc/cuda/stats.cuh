// Statistics of logits, from the same pass as a sum of f: partial sums of each row, which one block
// adds up.
#pragma once

#include "table.cuh"

namespace ganfast::cuda {

// What is summed over a row, or over what one block has of it.
struct Sums {
  double f, x, above, below;
};

__device__ inline Sums warp_sums(const Sums& sums) {
  return {warp_sum(sums.f), warp_sum(sums.x), warp_sum(sums.above), warp_sum(sums.below)};
}

__device__ inline void add(Sums& to, const Sums& sums) {
  to.f += sums.f;
  to.x += sums.x;
  to.above += sums.above;
  to.below += sums.below;
}

// Where the partial sums of a row are, and what its numbers are made of.
struct StatsRow {
  int64_t first, count;
  double weight;
  double n;  // elements of the row
};

struct StatsRows {
  StatsRow rows[kMaxRows];
  int count;
};

template <class C>
struct StatsOut {
  C threshold;
  Sums* partial;
  C* stats;               // (rows, 4): weight sum f, mean logit, shares above and below
  C* values;              // (rows), the first of these numbers, or null
  double* partial_total;  // their sum, for another launch to add up, or null
  C* total;               // their sum, or null
};

// Writes what `out` asks for, where row_of(k) is a StatsRow. For one block, whose warps take turns
// with the rows.
template <class C, class RowOf>
__device__ void finish_stats(int count, RowOf row_of, const StatsOut<C>& out) {
  const int lane = threadIdx.x % kWarp;
  double total = 0;
  for (int k = threadIdx.x / kWarp; k < count; k += kThreads / kWarp) {
    const StatsRow row = row_of(k);
    Sums sums{};
    for (int64_t i = lane; i < row.count; i += kWarp) add(sums, out.partial[row.first + i]);
    sums = warp_sums(sums);
    if (lane > 0) continue;
    const double value = row.weight * sums.f;
    total += value;
    C* const to = out.stats + 4 * k;
    to[0] = static_cast<C>(value);
    to[1] = static_cast<C>(sums.x / row.n);
    to[2] = static_cast<C>(sums.above / row.n);
    to[3] = static_cast<C>(sums.below / row.n);
    if (out.values != nullptr) out.values[k] = to[0];
  }
  if (out.partial_total != nullptr) finish_sum(total, out.partial_total, out.total);
}

template <class C>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    finish_stats_kernel(const __grid_constant__ StatsRows rows, StatsOut<C> out) {
  finish_stats(rows.count, [&](int k) { return rows.rows[k]; }, out);
}

}  // namespace ganfast::cuda

// Sums over the threads of a block, in a fixed order.
#pragma once

#include "launch.h"

namespace ganfast::cuda {

constexpr int kWarp = 32;
// Threads of every block. Tests on the CPU take fewer: there, each is a thread of the system.
#ifndef GANFAST_THREADS
#define GANFAST_THREADS 256
#endif
constexpr int kThreads = GANFAST_THREADS;
// Asked for where the compiler would save registers for more blocks and spill some.
constexpr int kBlocksOfProcessor = 2;
// Blocks that fill the largest GPUs, where several share a sample and what each leaves is added up
// again; fixed, so that sums do not depend on the GPU.
constexpr int64_t kSharingBlocks = 1024;

// Sum of `value` over `lanes` threads, a power of two, valid in the first of them. All threads of
// the warp must call it.
__device__ inline double warp_sum(double value, int lanes = kWarp) {
  for (int delta = lanes / 2; delta > 0; delta /= 2)
    value += __shfl_down_sync(0xffffffffu, value, delta);
  return value;
}

// Sum of `value` over the block, valid in thread 0. All threads must call it; again only after a
// __syncthreads.
__device__ inline double block_sum(double value) {
  GANFAST_SHARED(double, warp_sums, kThreads / kWarp);
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) warp_sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  if (threadIdx.x > 0) return 0;
  double sum = 0;
  for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += warp_sums[warp];
  return sum;
}

// Sum of n numbers, valid in all threads of the block. All threads must call it; again only after a
// __syncthreads.
__device__ inline double sum_for_all(const double* numbers, int n) {
  GANFAST_SHARED(double, shared, 1);
  double sum = 0;
  for (int i = threadIdx.x; i < n; i += kThreads) sum += numbers[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *shared = sum;
  __syncthreads();
  return *shared;
}

// result = sum of n partial sums: the second stage of a reduction over many blocks. One block.
template <class Result>
__global__ void sum_partials(const double* partial, int64_t n, Result* result) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += partial[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *result = static_cast<Result>(sum);
}

}  // namespace ganfast::cuda

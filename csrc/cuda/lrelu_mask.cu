// lrelu_mask on CUDA: a thread has four elements at a time, and their byte.
#include "../ops/lrelu_mask.h"

#include <algorithm>
#include <limits>

#include "reduce.cuh"
#include "table.cuh"

namespace ganfast::cuda {
namespace {

template <class T>
struct alignas(std::min<size_t>(16, 4 * sizeof(T))) Four {
  T values[4];
};

template <class T>
__device__ Four<T> load_four(const T* from, int64_t left, bool whole) {
  if (whole && left >= 4) return *reinterpret_cast<const Four<T>*>(from);
  Four<T> four;
  GANFAST_UNROLL
  for (int k = 0; k < 4; ++k) {
    if (k < left) {
      four.values[k] = from[k];
    } else {
      store(four.values[k], Compute<T>(0));
    }
  }
  return four;
}

template <class T>
__device__ void store_four(const Four<T>& four, T* to, int64_t left, bool whole) {
  if (whole && left >= 4) {
    *reinterpret_cast<Four<T>*>(to) = four;
    return;
  }
  GANFAST_UNROLL
  for (int k = 0; k < 4; ++k)
    if (k < left) to[k] = four.values[k];
}

// With kMasked reads the mask, else writes it. `whole` says that the pointers are aligned.
template <class T, bool kMasked>
__global__ void __launch_bounds__(kThreads, kBlocksOfProcessor)
    lrelu_mask_kernel(LeakyReluMask<T> act, const T* x, T* y,
                      std::conditional_t<kMasked, const uint8_t*, uint8_t*> mask, int64_t n,
                      bool whole) {
  const int64_t step = int64_t(gridDim.x) * kThreads;
  for (int64_t j = int64_t(blockIdx.x) * kThreads + threadIdx.x; 4 * j < n; j += step) {
    Four<T> four = load_four(x + 4 * j, n - 4 * j, whole);
    uint8_t byte = 0;
    if constexpr (kMasked) byte = mask[j];
    GANFAST_UNROLL
    for (int k = 0; k < 4; ++k) {
      if constexpr (kMasked) {
        act.times_slope(four.values[k], byte >> 2 * k & 3, four.values[k]);
      } else if (k < n - 4 * j) {
        byte |= act.value(four.values[k], four.values[k]) << 2 * k;
      }
    }
    if constexpr (!kMasked) mask[j] = byte;
    store_four(four, y + 4 * j, n - 4 * j, whole);
  }
}

template <class T, bool kMasked, class Mask>
void run(const LeakyReluMask<T>& act, const void* x, void* y, Mask* mask, int64_t n,
         const Workspace& workspace) {
  const int64_t blocks = std::min<int64_t>((n + 4 * kThreads - 1) / (4 * kThreads), 1 << 20);
  const auto* from = static_cast<const T*>(x);
  auto* const to = static_cast<T*>(y);
  launch("lrelu_mask", lrelu_mask_kernel<T, kMasked>, static_cast<int>(blocks), kThreads,
         static_cast<cudaStream_t>(workspace.stream), act, from, to, mask, n,
         aligned(from) && aligned(to));
}

}  // namespace

void lrelu_mask(DType dtype, double alpha, double gain, double clamp, int64_t n, const void* x,
                void* y, uint8_t* mask, const Workspace& workspace) {
  with_dtype(dtype, [&]<class T>() {
    run<T, false>(LeakyReluMask<T>::of(alpha, gain, clamp), x, y, mask, n, workspace);
  });
}

void lrelu_masked(DType dtype, double alpha, double gain, int64_t n, const void* v,
                  const uint8_t* mask, void* y, const Workspace& workspace) {
  with_dtype(dtype, [&]<class T>() {
    const auto act = LeakyReluMask<T>::of(alpha, gain, std::numeric_limits<double>::quiet_NaN());
    run<T, true>(act, v, y, mask, n, workspace);
  });
}

}  // namespace ganfast::cuda

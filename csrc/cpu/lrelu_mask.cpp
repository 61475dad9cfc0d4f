// lrelu_mask on the CPU. A byte of its own for each element's bits comes between the loop over
// numbers and that over bytes, so that both are vectorized.
#include "../ops/lrelu_mask.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "simd.h"

namespace ganfast::cpu {
namespace {

template <class T>
GANFAST_SIMD void mask_tile(const LeakyReluMask<T>& act_, const T* x, T* y, uint8_t* mask,
                            int64_t n) {
  const LeakyReluMask<T> act = act_;
  uint8_t bits[kTile + 3];
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) bits[i] = act.value(x[i], y[i]);
  for (int64_t i = n; i % 4 != 0; ++i) bits[i] = 0;
#pragma omp simd
  for (int64_t j = 0; j < (n + 3) / 4; ++j) {
    uint32_t four;
    std::memcpy(&four, bits + 4 * j, 4);
    four |= four >> 6;
    mask[j] = static_cast<uint8_t>(four | four >> 12);
  }
}

template <class T>
GANFAST_SIMD void masked_tile(const LeakyReluMask<T>& act_, const T* v, const uint8_t* mask, T* y,
                              int64_t n) {
  const LeakyReluMask<T> act = act_;
  uint8_t bits[kTile + 3];
#pragma omp simd
  for (int64_t j = 0; j < (n + 3) / 4; ++j) {
    uint32_t four = mask[j];
    four = (four | four << 12) & 0x000f000f;
    four = (four | four << 6) & 0x03030303;
    std::memcpy(bits + 4 * j, &four, 4);
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) act.times_slope(v[i], bits[i], y[i]);
}

// Calls body(begin, size) for each tile of n elements.
template <class Body>
void for_each_tile(int64_t n, Body body) {
  at::parallel_for(0, (n + kTile - 1) / kTile, kGrain, [&](int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile)
      body(tile * kTile, std::min(kTile, n - tile * kTile));
  });
}

}  // namespace

void lrelu_mask(DType dtype, double alpha, double gain, double clamp, int64_t n, const void* x,
                void* y, uint8_t* mask) {
  with_dtype(dtype, [&]<class T>() {
    const auto act = LeakyReluMask<T>::of(alpha, gain, clamp);
    for_each_tile(n, [&](int64_t begin, int64_t size) {
      mask_tile(act, static_cast<const T*>(x) + begin, static_cast<T*>(y) + begin, mask + begin / 4,
                size);
    });
  });
}

void lrelu_masked(DType dtype, double alpha, double gain, int64_t n, const void* v,
                  const uint8_t* mask, void* y) {
  with_dtype(dtype, [&]<class T>() {
    const auto act = LeakyReluMask<T>::of(alpha, gain, std::numeric_limits<double>::quiet_NaN());
    for_each_tile(n, [&](int64_t begin, int64_t size) {
      masked_tile(act, static_cast<const T*>(v) + begin, mask + begin / 4,
                  static_cast<T*>(y) + begin, size);
    });
  });
}

}  // namespace ganfast::cpu

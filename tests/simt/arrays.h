// Memory for the kernel tests, and how exact their results must be.
#pragma once

#include <cmath>
#include <memory>
#include <type_traits>

#include "../../csrc/math/scalar.h"

namespace ganfast::test {

template <class T>
constexpr DType kDType = std::is_same_v<T, double>    ? DType::float64
                         : std::is_same_v<T, float>   ? DType::float32
                         : std::is_same_v<T, Float16> ? DType::float16
                                                      : DType::bfloat16;

template <class T>
constexpr double kArithmetic = sizeof(T) == 8 ? 4e-15 : 4e-7;  // relative error of what is computed
// Relative and absolute error of what is stored: half a unit in the last place of the two-byte
// formats.
template <class T>
constexpr double kStored = kArithmetic<T>;
template <>
constexpr double kStored<Float16> = 0x1p-11 + 4e-7;
template <>
constexpr double kStored<BFloat16> = 0x1p-8 + 4e-7;
template <class T>
constexpr double kSmallest = std::is_same_v<T, Float16> ? 0x1p-25 : 1e-30;

// A sum, and how large its parts are.
struct Total {
  long double value = 0, scale = 1e-30;  // more exact than the kernels' own sums
  void add(double part) {
    value += part;
    scale += std::abs(part);
  }
};

// A tensor that starts `offset` elements into its memory, allocated exactly, so that a sanitizer
// sees every overrun.
template <class T>
struct Array {
  Array(int64_t n, int offset) : memory(new T[n + offset]), data(memory.get() + offset), n(n) {}
  std::unique_ptr<T[]> memory;
  T* data;
  int64_t n;
};

}  // namespace ganfast::test

// exp, expm1, log and log1p on the ranges that the losses need.
//
// On the host they are branch-free polynomials, so that loops over them vectorise for whatever
// instruction set the loop is compiled for; on the device they are CUDA's own, but where that one
// would keep a kernel from the speed of memory. Errors are within about 2 units in the last place.
#pragma once

#include <limits>

#include "scalar.h"

namespace ganfast {

// Layout of a binary floating-point format, and how many terms its series need.
template <class T>
struct Binary;
template <>
struct Binary<float> {
  using Int = int32_t;
  static constexpr int mantissa_bits = 23, bias = 127, exp_terms = 8, atanh_terms = 8;
  static constexpr float exp_zero = -104.0f;  // e^t rounds to 0 from here on
  // ln 2 in two parts, the first with trailing zeros, so that k * ln2_high is exact
  static constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;
};
template <>
struct Binary<double> {
  using Int = int64_t;
  static constexpr int mantissa_bits = 52, bias = 1023, exp_terms = 14, atanh_terms = 17;
  static constexpr double exp_zero = -746.0;
  static constexpr double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
};

// 2^k for a normal result
template <class T>
GANFAST_HD T power_of_two(typename Binary<T>::Int k) {
  return bit_cast<T>((k + Binary<T>::bias) << Binary<T>::mantissa_bits);
}

// t = k ln 2 + r with the nearest whole number k, so that |r| <= ln(2) / 2
template <class T>
struct Reduced {
  typename Binary<T>::Int k;
  T r;
};
template <class T>
GANFAST_HD Reduced<T> reduced(T t) {
  using B = Binary<T>;
  using Int = typename B::Int;
  // Adding 1.5 * 2^mantissa_bits rounds to an integer and leaves it in the low bits.
  constexpr T shift = T(3) * T(Int(1) << (B::mantissa_bits - 1));
  const T shifted = t * T(1.4426950408889634) + shift;
  const T k = shifted - shift;
  return {bit_cast<Int>(shifted) - bit_cast<Int>(shift), (t - k * B::ln2_high) - k * B::ln2_low};
}

// e^t = 2^k e^r, with e^r = sum_n r^n / n!, for t <= 0
template <class T>
GANFAST_HD T exp_nonpositive(T t) {
#if defined(__CUDA_ARCH__)
  return exp(t);
#else
  using B = Binary<T>;
  const auto [k, r] = reduced(t < B::exp_zero ? B::exp_zero : t);
  T sum = T(1);
  GANFAST_UNROLL
  for (int n = B::exp_terms - 1; n > 0; --n) sum = T(1) + sum * (r * (T(1) / T(n)));
  // In two steps, so that a subnormal result is rounded once and never lost.
  return sum * power_of_two<T>(k >> 1) * power_of_two<T>(k - (k >> 1));
#endif
}

// e^t - 1 for t <= 0, exact relative to its own size: 2^k (e^r - 1) + (2^k - 1), where k = 0 leaves
// the first term alone
template <class T>
GANFAST_HD T expm1_nonpositive(T t) {
#if defined(__CUDA_ARCH__)
  return expm1(t);
#else
  using B = Binary<T>;
  // Below, the result is -1; and 2^k remains a normal number.
  const auto [k, r] = reduced(t < T(-B::mantissa_bits - 1) ? T(-B::mantissa_bits - 1) : t);
  T sum = T(1);
  GANFAST_UNROLL
  for (int n = B::exp_terms; n > 1; --n) sum = T(1) + sum * (r * (T(1) / T(n)));
  const T power = power_of_two<T>(k);
  return power * (sum * r) + (power - T(1));
#endif
}

// 2 artanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...) for |s| <= 1/3
template <class T>
GANFAST_HD T twice_atanh(T s) {
  const T square = s * s;
  T sum = T(0);
  GANFAST_UNROLL
  for (int n = Binary<T>::atanh_terms - 1; n > 0; --n) sum = (sum + T(1) / T(2 * n + 1)) * square;
  return T(2) * s + T(2) * s * sum;
}

// log(1 + y) = 2 artanh(y / (2 + y)) for 0 <= y <= 1
template <class T>
GANFAST_HD T log1p_unit(T y) {
#if defined(__CUDA_ARCH__)
  return log1p(y);
#else
  return twice_atanh(y / (T(2) + y));
#endif
}

// The same as y + y^2 q(y): of all q of degree 8 the one with the least largest relative error, but
// for the rounding of its coefficients; 3e-8 with it
template <>
GANFAST_HD float log1p_unit(float y) {
  float q = -0.00331847439520061f;
  q = q * y + 0.020204594358801842f;
  q = q * y - 0.05766446143388748f;
  q = q * y + 0.10680557787418365f;
  q = q * y - 0.15355397760868073f;
  q = q * y + 0.19695401191711426f;
  q = q * y - 0.24958588182926178f;
  q = q * y + 0.33330512046813965f;
  q = q * y - 0.4999993145465851f;
  return y * y * q + y;
}

#if defined(__CUDA_ARCH__)
// 1 / b within one unit in the last place, for a normal b and result
__device__ __forceinline__ float reciprocal(float b) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(b));
  return r;
}
#endif

// a / b for 1 <= b <= 4: on the device without the branch that other divisors need
template <class T>
GANFAST_HD T quotient(T a, T b) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == 4) {
    const float r = reciprocal(b);
    const float q = a * r;
    return q + (a - q * b) * r;
  }
#endif
  return a / b;
}

// log(p) for p >= 0: e ln 2 + 2 artanh((m - 1) / (m + 1)), p = 2^e m, m in [sqrt(1/2), sqrt(2))
template <class T>
GANFAST_HD T log_nonnegative(T p) {
#if defined(__CUDA_ARCH__)
  return log(p);
#else
  using B = Binary<T>;
  using Int = typename B::Int;
  const bool subnormal = p < std::numeric_limits<T>::min();
  const T scaled = subnormal ? p * power_of_two<T>(B::mantissa_bits + 1) : p;
  const Int bits = bit_cast<Int>(scaled);
  const Int exponent = (bits - bit_cast<Int>(T(0.70710678118654752))) >> B::mantissa_bits;
  const T m = bit_cast<T>(bits - (exponent << B::mantissa_bits));
  const T e = T(exponent - (subnormal ? B::mantissa_bits + 1 : 0));
  const T finite = e * B::ln2_high + (twice_atanh((m - T(1)) / (m + T(1))) + e * B::ln2_low);
  const T nan = std::numeric_limits<T>::quiet_NaN(), infinity = std::numeric_limits<T>::infinity();
  return p > T(0) ? (p < infinity ? finite : p) : (p == T(0) ? -infinity : nan);
#endif
}

// log(1 - p) for p <= 1: by -2 artanh(p / (2 - p)) below 1/2; above, 1 - p is exact
template <class T>
GANFAST_HD T log1m(T p) {
#if defined(__CUDA_ARCH__)
  return log1p(-p);
#else
  const T low = -twice_atanh(p / (T(2) - p));
  const T high = log_nonnegative(T(1) - p);
  return p < T(0.5) ? low : high;
#endif
}

}  // namespace ganfast

// Scalar types of the kernels: how they are stored and in what they are computed. Host and device,
// no headers of torch or CUDA.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GANFAST_HD __host__ __device__ __forceinline__
#define GANFAST_UNROLL _Pragma("unroll")
#else
#define GANFAST_HD inline __attribute__((always_inline))
#define GANFAST_UNROLL _Pragma("GCC unroll 32")
#endif

namespace ganfast {

// std::bit_cast, which CUDA does not let device code call
template <class To, class From>
GANFAST_HD To bit_cast(From from) {
  return __builtin_bit_cast(To, from);
}

enum class DType { float64, float32, float16, bfloat16 };

// Two-byte storage formats. Branch-free on the host, so that loops over them vectorise.

struct BFloat16 {
  uint16_t bits;

  GANFAST_HD static BFloat16 from(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    BFloat16 h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h.bits) : "f"(x));
    return h;
#else
    const uint32_t u = bit_cast<uint32_t>(x);
    const uint32_t rounded = u + 0x7fffu + ((u >> 16) & 1u);  // to nearest, ties to even
    return {static_cast<uint16_t>((x != x ? u | 0x400000u : rounded) >> 16)};
#endif
  }

  GANFAST_HD explicit operator float() const {
    return bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  }
};

struct Float16 {
  uint16_t bits;

#if defined(__CUDA_ARCH__)
  GANFAST_HD static Float16 from(float x) {
    Float16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h.bits) : "f"(x));
    return h;
  }

  GANFAST_HD explicit operator float() const {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
  }
#else
  GANFAST_HD static Float16 from(float x) {
    const uint32_t u = bit_cast<uint32_t>(x);
    const uint32_t sign = (u >> 16) & 0x8000u;
    const uint32_t magnitude = u & 0x7fffffffu;
    // Normal result: move the exponent bias from 127 to 15 and round to nearest, ties to even.
    const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    // Below 2^-14 the sum with 0.5 puts the result, rounded by the addition, into the low mantissa
    // bits.
    const uint32_t subnormal = bit_cast<uint32_t>(bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
    const uint32_t overflow = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;  // NaN or infinity
    return {static_cast<uint16_t>(sign | (magnitude < 0x477ff000u ? finite : overflow))};
  }

  GANFAST_HD explicit operator float() const {
    const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffu) << 13;
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const float finite = bit_cast<float>(magnitude) * 0x1p112f;  // exponent bias from 15 to 127
    const uint32_t special = magnitude | 0x7f800000u;
    return bit_cast<float>(sign | (magnitude < 0x0f800000u ? bit_cast<uint32_t>(finite) : special));
  }
#endif
};

// The type in which a stored T is computed; also the type of a loss over T.
template <class T>
struct ComputeOf {
  using type = float;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <class T>
using Compute = typename ComputeOf<T>::type;

template <class T>
GANFAST_HD Compute<T> load(const T& x) {
  return static_cast<Compute<T>>(x);
}

template <class T>
GANFAST_HD void store(T& to, Compute<T> x) {
  if constexpr (sizeof(T) == 2) {
    to = T::from(x);
  } else {
    to = x;
  }
}

// Calls body.operator()<T>() with the storage type of a dtype.
template <class Body>
auto with_dtype(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float64:
      return body.template operator()<double>();
    case DType::float32:
      return body.template operator()<float>();
    case DType::float16:
      return body.template operator()<Float16>();
    case DType::bfloat16:
      return body.template operator()<BFloat16>();
  }
  __builtin_unreachable();
}

}  // namespace ganfast

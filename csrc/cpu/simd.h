// Compiles a function for several x86 instruction sets; the loader picks the one that the machine
// has.
#pragma once

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
// Tiles that are worth a thread.
constexpr int64_t kGrain = 8;

}  // namespace ganfast::cpu

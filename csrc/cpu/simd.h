// Compiles a function for several x86 instruction sets; the loader picks the one that the machine
// has.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define GANFAST_SIMD \
  __attribute__((noinline, target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define GANFAST_SIMD __attribute__((noinline))
#endif

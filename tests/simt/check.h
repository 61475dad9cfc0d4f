// Counting checks, and drawn numbers, for the kernel tests.
#pragma once

#include <cmath>
#include <cstdio>
#include <random>
#include <string>

namespace ganfast::test {

inline int passed = 0, failed = 0;

// |got - want| <= tolerance * scale, NaN never
inline void check_close(const std::string& what, double got, double want, double tolerance,
                        double scale) {
  if (std::abs(got - want) <= tolerance * scale) {
    ++passed;
    return;
  }
  if (++failed <= 20) std::printf("%s: got %.17g, want %.17g\n", what.c_str(), got, want);
}

inline void check(const std::string& what, bool holds) {
  check_close(what, holds, true, 0, 0);
}

inline int report() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}

inline std::mt19937 random_engine{20260101};

inline double uniform(double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random_engine);
}

}  // namespace ganfast::test

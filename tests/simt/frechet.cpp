// The kernels of cuda/frechet.cu against plain loops in extended precision.
#include "../../csrc/cuda/frechet.cu"

#include <memory>

#include "check.h"
#include "scratch.h"

namespace ganfast::test {
namespace {

template <class T>
constexpr DType kDType = sizeof(T) == 8 ? DType::float64 : DType::float32;
template <class T>
constexpr double kEpsilon = sizeof(T) == 8 ? 0x1p-52 : 0x1p-23;

// Allocated exactly, so that a sanitizer sees every overrun; with an offset of one element, where
// 16-byte accesses are not allowed.
template <class T>
struct Array {
  Array(int64_t n, int offset) : memory(new T[n + offset]), data(memory.get() + offset), n(n) {
    for (int64_t i = 0; i < n; ++i) data[i] = static_cast<T>(uniform(-3, 3));
  }
  std::unique_ptr<T[]> memory;
  T* data;
  int64_t n;
};

template <class T>
void compare_sums(int64_t matrices, int64_t size, int offset, const std::string& what) {
  Array<T> x(matrices * size, offset), y(matrices * size, offset);
  std::vector<double> sums(matrices);
  Scratch scratch;
  for (PairSum sum : {PairSum::inner, PairSum::squared_distance}) {
    cuda::frechet_pair_sums(sum, kDType<T>, x.data, y.data, matrices, size, sums.data(), scratch);
    for (int64_t m = 0; m < matrices; ++m) {
      long double want = 0, scale = 0;
      for (int64_t i = m * size; i < (m + 1) * size; ++i) {
        const long double a = x.data[i], b = y.data[i];
        const long double term = sum == PairSum::inner ? a * b : (a - b) * (a - b);
        want += term;
        scale += std::abs(term);
      }
      check_close(what + " sum", sums[m], want, 1e-14, scale);
    }
  }
}

template <class T>
void compare_cast(int64_t matrices, int64_t size, int offset, const std::string& what) {
  Array<double> a(matrices * size, offset);
  Array<T> x(matrices * size, offset);
  std::vector<double> squares(matrices);
  for (int64_t m = 0; m < matrices; ++m) squares[m] = m == 1 ? 0 : uniform(0.1, 9);
  cuda::frechet_scaled_cast(kDType<T>, a.data, squares.data(), x.data, matrices, size, Scratch());
  for (int64_t i = 0; i < a.n; ++i) {
    const double norm = i / size == 1 ? 1 : std::sqrt(squares[i / size]);
    check_close(what + " cast", x.data[i], a.data[i] / norm, 2 * kEpsilon<T>,
                std::abs(a.data[i] / norm));
  }
}

template <class T>
void compare_quintic(int64_t matrices, int64_t n, int offset, bool scaled,
                     const std::string& what) {
  const int64_t size = n * n;
  Array<T> g(matrices * size, offset), p(matrices * size, offset);
  const std::vector<T> before(p.data, p.data + p.n);
  std::vector<double> squares(matrices);
  for (double& square : squares) square = uniform(0.5, 2);
  const Quintic quintic{3.5, -4.75, 2.25};
  cuda::frechet_quintic(kDType<T>, quintic, g.data, scaled ? squares.data() : nullptr, p.data,
                        matrices, n, Scratch());
  for (int64_t i = 0; i < p.n; ++i) {
    const double f = scaled ? std::pow(squares[i / size], 0.25) : 1;
    const bool diagonal = i % size / n == i % size % n;
    const double a = diagonal ? quintic.a / f : 0, b = quintic.b / std::pow(f, 3) * g.data[i],
                 c = quintic.c / std::pow(f, 5) * before[i];
    check_close(what + " quintic", p.data[i], a + b + c, 4 * kEpsilon<T>,
                std::abs(a) + std::abs(b) + std::abs(c));
  }
}

template <class T>
void compare(const std::string& what) {
  // One element, tails of every length, one block, several blocks for a matrix.
  for (int64_t n : {1, 2, 3, 4, 7, 16, 67}) {
    for (int offset : {0, 1}) {
      const std::string which = what + " " + std::to_string(n);
      compare_sums<T>(3, n * n, offset, which);
      compare_cast<T>(3, n * n, offset, which);
      compare_quintic<T>(3, n, offset, false, which);
      compare_quintic<T>(2, n, offset, true, which);
    }
  }
}

}  // namespace
}  // namespace ganfast::test

int main() {
  ganfast::test::compare<double>("float64");
  ganfast::test::compare<float>("float32");
  return ganfast::test::report();
}

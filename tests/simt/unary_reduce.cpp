// The kernels of cuda/unary_reduce.cu against plain loops over their functors in float64.
#include "../../csrc/cuda/unary_reduce.cu"

#include <memory>

#include "check.h"

namespace ganfast::test {
namespace {

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

// A tensor that starts `offset` elements into its memory, allocated exactly, so that a sanitizer
// sees every overrun.
template <class T>
struct Array {
  Array(int64_t n, int offset) : memory(new T[n + offset]), data(memory.get() + offset), n(n) {}
  std::unique_ptr<T[]> memory;
  T* data;
  int64_t n;
};

template <class T>
struct List {
  std::vector<Array<T>> x, v, dx;
  std::vector<UnaryTerm> terms;
  double grad = -1.75;

  // Every other tensor starts where 16-byte accesses are not allowed.
  List(const std::vector<int64_t>& sizes, bool probabilities) {
    for (int64_t n : sizes) {
      for (auto* arrays : {&x, &v, &dx}) arrays->emplace_back(n, arrays->size() % 2);
      for (int64_t i = 0; i < n; ++i) {
        store(x.back().data[i],
              static_cast<Compute<T>>(probabilities ? uniform(0.01, 0.99) : uniform(-6, 6)));
        store(v.back().data[i], static_cast<Compute<T>>(uniform(-1, 1)));
      }
      const double a = probabilities ? 0.9 : x.size() % 2 ? -1 : 1;
      terms.push_back({x.back().data, v.back().data, dx.back().data, n, uniform(-2, 2) / n, a, 1});
    }
  }
};

template <template <class> class F, class T>
void compare(UnaryFunctor functor, DType dtype, const std::vector<int64_t>& sizes,
             const std::string& what) {
  List<T> list(sizes, functor == UnaryFunctor::bce);
  std::vector<double> scratch(cuda::unary_reduce_scratch(list.terms));
  const Compute<T> grad = list.grad;
  Compute<T> loss, dgrad;

  cuda::unary_reduce_forward(functor, dtype, list.terms, &loss, scratch.data(), nullptr);
  cuda::unary_reduce_backward(functor, dtype, list.terms, &grad, nullptr);
  long double want = 0, scale = 0;  // more exact than the kernels' own sums
  for (size_t k = 0; k < sizes.size(); ++k) {
    const UnaryTerm& term = list.terms[k];
    const F<double> f{static_cast<Compute<T>>(term.a), term.b};
    for (int64_t i = 0; i < term.n; ++i) {
      const double x = load(list.x[k].data[i]), value = term.weight * f.f(x);
      want += value;
      scale += std::abs(value);
      const double dx = grad * term.weight * f.df(x);
      check_close(what + " dx", load(list.dx[k].data[i]), dx, kStored<T>,
                  std::abs(dx) + kSmallest<T> / kStored<T>);
    }
  }
  check_close(what + " loss", loss, want, kArithmetic<T>, scale + 1e-30);

  cuda::unary_reduce_double_backward(functor, dtype, list.terms, &grad, &dgrad, scratch.data(),
                                     nullptr);
  want = scale = 0;
  for (size_t k = 0; k < sizes.size(); ++k) {
    const UnaryTerm& term = list.terms[k];
    const F<double> f{static_cast<Compute<T>>(term.a), term.b};
    for (int64_t i = 0; i < term.n; ++i) {
      const double x = load(list.x[k].data[i]), v = load(list.v[k].data[i]);
      want += term.weight * v * f.df(x);
      scale += std::abs(term.weight * v * f.df(x));
      const double dx = grad * term.weight * v * f.d2f(x);
      check_close(what + " second dx", load(list.dx[k].data[i]), dx, kStored<T>,
                  std::abs(dx) + kSmallest<T> / kStored<T>);
    }
  }
  check_close(what + " dgrad", dgrad, want, kArithmetic<T>, scale + 1e-30);
}

template <template <class> class F>
void compare_all_dtypes(UnaryFunctor functor, const std::string& name) {
  // One block; tails of every length.
  const std::vector<int64_t> sizes{1, 1, 2, 3, 4, 5, 8, 8, 31, 64, 1000, 1003};
  compare<F, double>(functor, DType::float64, sizes, name + " float64");
  compare<F, float>(functor, DType::float32, sizes, name + " float32");
  compare<F, Float16>(functor, DType::float16, sizes, name + " float16");
  compare<F, BFloat16>(functor, DType::bfloat16, sizes, name + " bfloat16");
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
#define GANFAST_ROW(name, type) test::compare_all_dtypes<type>(UnaryFunctor::name, #name);
  GANFAST_UNARY_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  // Many blocks and the second stage; a tensor of several tiles between small ones.
  test::compare<Softplus, float>(UnaryFunctor::softplus, DType::float32,
                                 {3, 20 * cuda::kTile, 1, cuda::kTile, cuda::kTile + 1},
                                 "many blocks");
  // More tensors than one launch takes.
  test::compare<Hinge, float>(UnaryFunctor::hinge, DType::float32, std::vector<int64_t>(207, 3),
                              "many tensors");
  return test::report();
}

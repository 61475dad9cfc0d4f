// The kernels of cuda/norm_reduce.cu against plain loops over their functors in float64.
#include "../../csrc/cuda/norm_reduce.cu"

#include "arrays.h"
#include "check.h"

namespace ganfast::test {
namespace {

template <class T>
struct List {
  NormShape shape;
  std::vector<Array<T>> g, v, dg;
  std::vector<NormTerm> terms;

  // Every other tensor starts where 16-byte accesses are not allowed; the second position is zero.
  List(NormShape shape, const std::vector<int64_t>& sizes) : shape(shape) {
    int64_t total = 0;
    for (int64_t size : sizes) total += size;
    const double spread = 1.7 / std::sqrt(total);
    for (int64_t size : sizes) {
      const int64_t n = shape.outer * size * shape.inner;
      for (auto* arrays : {&g, &v, &dg}) arrays->emplace_back(n, arrays->size() % 2);
      for (int64_t i = 0; i < n; ++i) {
        store(g.back().data[i], static_cast<Compute<T>>(uniform(-2, 2) * spread));
        store(v.back().data[i], static_cast<Compute<T>>(uniform(-1, 1)));
      }
      terms.push_back({g.back().data, v.back().data, dg.back().data, size});
    }
    if (shape.positions() < 2) return;
    for (size_t k = 0; k < sizes.size(); ++k) {
      for (int64_t j = 0; j < sizes[k]; ++j) store(g[k].data[index(k, 1, j)], Compute<T>(0));
    }
  }

  int64_t index(size_t k, int64_t position, int64_t j) const {
    const int64_t outer = position / shape.inner, inner = position % shape.inner;
    return (outer * terms[k].size + j) * shape.inner + inner;
  }

  double dot(int64_t position, const std::vector<Array<T>>& x) const {
    long double sum = 0;
    for (size_t k = 0; k < terms.size(); ++k) {
      for (int64_t j = 0; j < terms[k].size; ++j) {
        const int64_t i = index(k, position, j);
        sum += double(load(g[k].data[i])) * load(x[k].data[i]);
      }
    }
    return sum;
  }
};

template <template <class> class F, class T>
void compare(NormPhi phi, DType dtype, NormShape shape, const std::vector<int64_t>& sizes,
             const std::string& what, bool with_backwards = true) {
  List<T> list(shape, sizes);
  const int64_t n = shape.positions();
  std::vector<double> scratch(cuda::norm_reduce_scratch(shape, list.terms));
  std::vector<Compute<T>> derivatives(2 * n);
  const Compute<T> grad = -1.75;
  Compute<T> loss, dgrad;
  cuda::norm_reduce_forward(phi, dtype, shape, list.terms, &loss, derivatives.data(),
                            scratch.data(), nullptr);

  std::vector<double> s(n), first(n), second(n);
  for (int64_t p = 0; p < n; ++p) s[p] = list.dot(p, list.g);
  double want = 0;
  if (phi.functor == NormFunctor::maximum) {
    const int64_t largest = std::max_element(s.begin(), s.end()) - s.begin();
    want = phi.weight * s[largest];
    first[largest] = phi.weight;
  } else {
    const F<double> f{phi.a, phi.b};
    for (int64_t p = 0; p < n; ++p) {
      const Orders<double> orders = f(s[p]);
      want += phi.weight / n * orders.f;
      first[p] = phi.weight / n * orders.df;
      second[p] = phi.weight / n * orders.d2f;
    }
  }
  check_close(what + " loss", loss, want, kArithmetic<T>, std::abs(phi.weight) * (1 + want));
  for (int64_t p = 0; p < n; ++p) {
    check_close(what + " first", derivatives[p], first[p], 4 * kArithmetic<T>,
                std::abs(phi.weight) / n + std::abs(first[p]));
    check_close(what + " second", derivatives[n + p], second[p], 4 * kArithmetic<T>,
                std::abs(phi.weight) / n + std::abs(second[p]));
  }

  if (!with_backwards) return;

  const auto check_gradients = [&](const std::string& name, auto expected) {
    for (int64_t p = 0; p < n; ++p) {
      for (size_t k = 0; k < sizes.size(); ++k) {
        for (int64_t j = 0; j < sizes[k]; ++j) {
          const int64_t i = list.index(k, p, j);
          const auto [value, size] =
              expected(p, double(load(list.g[k].data[i])), double(load(list.v[k].data[i])));
          check_close(what + name, load(list.dg[k].data[i]), value, 4 * kStored<T>,
                      size + kSmallest<T> / kStored<T>);
        }
      }
    }
  };
  cuda::norm_reduce_backward(dtype, shape, list.terms, &grad, derivatives.data(), nullptr);
  check_gradients(" dg", [&](int64_t p, double g, double) {
    const double value = 2 * grad * derivatives[p] * g;
    return std::pair(value, std::abs(value));
  });

  cuda::norm_reduce_double_backward(dtype, shape, list.terms, &grad, derivatives.data(), &dgrad,
                                    scratch.data(), nullptr);
  std::vector<double> t(n);
  double want_dgrad = 0, scale = 0;
  for (int64_t p = 0; p < n; ++p) {
    t[p] = list.dot(p, list.v);
    want_dgrad += 2.0 * derivatives[p] * t[p];
    scale += std::abs(derivatives[p]);
  }
  check_close(what + " dgrad", dgrad, want_dgrad, 4 * kArithmetic<T>, scale + 1e-30);
  check_gradients(" second dg", [&](int64_t p, double g, double v) {
    const double a = 2 * grad * derivatives[p] * v;
    const double b = 4 * grad * derivatives[n + p] * t[p] * g;
    return std::pair(a + b, std::abs(a) + std::abs(4 * grad * derivatives[n + p] * g));
  });
}

// The derivatives of phi are all that the backwards see of it, so one functor speaks for them.
template <template <class> class F>
void compare_functor(NormFunctor functor, const std::string& name) {
  const NormPhi phi{functor, 2.5, functor == NormFunctor::power ? 3.0 : 1.0, 1e-4};
  compare<F, double>(phi, DType::float64, {3, 1, false}, {64}, name, false);
  compare<F, float>(phi, DType::float32, {3, 1, false}, {64}, name, false);
  if (functor == NormFunctor::maximum) return;
  compare<F, double>(phi, DType::float64, {2, 5, true}, {3}, name + " pixel", false);
  compare<F, float>(phi, DType::float32, {2, 5, true}, {3}, name + " pixel", false);
}

template <class T>
void compare_dtype(DType dtype, const std::string& name) {
  const NormPhi phi{NormFunctor::centred, 2.5, 1, 0};
  compare<CentredNorm, T>(phi, dtype, {3, 1, false}, {7, 64, 1003}, name);
  compare<CentredNorm, T>(phi, dtype, {2, 35, true}, {3, 1}, name + " pixel");
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
#define GANFAST_ROW(name, type) test::compare_functor<type>(NormFunctor::name, #name);
  GANFAST_NORM_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  test::compare_dtype<double>(DType::float64, "float64");
  test::compare_dtype<float>(DType::float32, "float32");
  test::compare_dtype<Float16>(DType::float16, "float16");
  test::compare_dtype<BFloat16>(DType::bfloat16, "bfloat16");
  const NormPhi phi{NormFunctor::centred, 10, 1, 0};
  // Several blocks for each sample, two tensors, tails.
  test::compare<CentredNorm, float>(phi, DType::float32, {3, 1, false}, {9001, 4096}, "splits");
  // More blocks of a sample than a warp has threads.
  test::compare<CentredNorm, float>(phi, DType::float32, {1, 1, false}, {40 * cuda::kTile},
                                    "many splits");
  // More samples than the second launch has threads.
  test::compare<CentredNorm, float>(phi, DType::float32, {260, 1, false}, {5}, "many samples",
                                    false);
  // Several blocks of pixels.
  test::compare<CentredNorm, float>(phi, DType::float32, {2, 300, true}, {3}, "many pixels");
  return test::report();
}

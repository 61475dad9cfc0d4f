// The kernels of cuda/unary_reduce.cu against plain loops over their functors in float64.
#include "../../csrc/cuda/unary_reduce.cu"

#include "arrays.h"
#include "check.h"

namespace ganfast::test {
namespace {

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

template <template <class> class F, class T>
void compare_stats(UnaryFunctor functor, DType dtype, const std::vector<int64_t>& sizes,
                   const std::string& what) {
  List<T> list(sizes, functor == UnaryFunctor::bce);
  std::vector<double> scratch(cuda::unary_reduce_stats_scratch(list.terms));
  std::vector<Compute<T>> stats(4 * sizes.size());
  Compute<T> loss;
  // A value that occurs, so that strict comparisons matter.
  const double threshold = load(list.x[0].data[0]);
  cuda::unary_reduce_forward_stats(functor, dtype, list.terms, threshold, &loss, stats.data(),
                                   scratch.data(), nullptr);
  long double total = 0, total_scale = 0;
  for (size_t k = 0; k < sizes.size(); ++k) {
    const UnaryTerm& term = list.terms[k];
    const F<double> f{static_cast<Compute<T>>(term.a), term.b};
    long double value = 0, scale = 0, sum = 0, size = 0;
    int64_t above = 0, below = 0;
    for (int64_t i = 0; i < term.n; ++i) {
      const double x = load(list.x[k].data[i]), y = term.weight * f.f(x);
      value += y;
      scale += std::abs(y);
      sum += x;
      size += std::abs(x);
      above += x > threshold;
      below += x < threshold;
    }
    total += value;
    total_scale += scale;
    const Compute<T>* row = &stats[4 * k];
    const std::string of = what + " of tensor " + std::to_string(k);
    check_close(of + ": term", row[0], value, kArithmetic<T>, scale + 1e-30);
    check_close(of + ": mean", row[1], sum / term.n, kArithmetic<T>, size / term.n);
    const double n = term.n;
    check_close(of + ": above", row[2], static_cast<Compute<T>>(above / n), 0, 1);
    check_close(of + ": below", row[3], static_cast<Compute<T>>(below / n), 0, 1);
  }
  check_close(what + " loss", loss, total, kArithmetic<T>, total_scale + 1e-30);
}

template <template <class> class F>
void compare_all_dtypes(UnaryFunctor functor, const std::string& name) {
  // One block each; tails of every length, and a whole tile.
  const std::vector<std::vector<int64_t>> lists{{1, 1, 2, 3, 4, 5, 8},
                                                {cuda::kTile + 1003, 8, 31, 64, 1000}};
  for (const auto& sizes : lists) {
    compare<F, double>(functor, DType::float64, sizes, name + " float64");
    compare_stats<F, double>(functor, DType::float64, sizes, name + " stats float64");
    compare<F, float>(functor, DType::float32, sizes, name + " float32");
    compare_stats<F, float>(functor, DType::float32, sizes, name + " stats float32");
    compare<F, Float16>(functor, DType::float16, sizes, name + " float16");
    compare_stats<F, Float16>(functor, DType::float16, sizes, name + " stats float16");
    compare<F, BFloat16>(functor, DType::bfloat16, sizes, name + " bfloat16");
    compare_stats<F, BFloat16>(functor, DType::bfloat16, sizes, name + " stats bfloat16");
  }
}

// A block takes several tiles of a tensor, and several tensors: a GPU's many blocks are too many
// here.
void same_stats_for_any_blocks(const std::vector<int64_t>& sizes) {
  List<float> list(sizes, false);
  std::vector<double> scratch(cuda::unary_reduce_stats_scratch(list.terms));
  std::vector<float> want(4 * sizes.size()), got(want);
  float want_loss, loss;
  cuda::unary_reduce_forward_stats(UnaryFunctor::square, DType::float32, list.terms, 0, &want_loss,
                                   want.data(), scratch.data(), nullptr);
  const std::span<const UnaryTerm> terms = list.terms;
  for (const int blocks : {2, 3, 4, 5}) {
    const auto partial = reinterpret_cast<cuda::Sums*>(scratch.data());
    cuda::for_each_table(terms, cuda::make_row<Square<float>, float>, [&](auto& table, int) {
      launch("stats", cuda::unary_reduce_stats_kernel<Square<float>, float>, blocks, cuda::kThreads,
             nullptr, table, 0.0f, partial, nullptr, &loss, got.data());
      launch("finish", cuda::finish_stats_kernel<Square<float>, float>, 1, cuda::kThreads, nullptr,
             table, blocks, partial, nullptr, &loss, got.data());
    });
    const std::string what = "stats in " + std::to_string(blocks) + " blocks";
    check_close(what, loss, want_loss, 1e-6, 100);
    for (size_t i = 0; i < want.size(); ++i) check_close(what, got[i], want[i], 1e-6, 6);
  }
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
  // The same for statistics; parts of a tensor in many blocks, several tensors in a block of many.
  test::compare_stats<Softplus, float>(UnaryFunctor::softplus, DType::float32,
                                       {3, 20 * cuda::kTile, 1, cuda::kTile, cuda::kTile + 1},
                                       "stats, many blocks");
  test::compare_stats<Hinge, float>(UnaryFunctor::hinge, DType::float32,
                                    std::vector<int64_t>(207, 3), "stats, many tensors");
  test::same_stats_for_any_blocks({5, 2 * cuda::kTile, 7, cuda::kTile + 1, 2, 2});
  return test::report();
}

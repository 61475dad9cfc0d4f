// The kernels of cuda/pair_reduce.cu against plain loops over their functors in float64.
#include "../../csrc/cuda/pair_reduce.cu"

#include "arrays.h"
#include "check.h"

namespace ganfast::test {
namespace {

template <class T>
struct List {
  std::vector<Array<T>> x, y, vx, vy, dx, dy;
  std::vector<PairTerm> terms;
  std::vector<Compute<T>> grad;

  // Every other array starts where 16-byte accesses are not allowed. Both gradients are wanted of
  // two pairs in three, then dx alone, then dy alone.
  List(const std::vector<int64_t>& sizes, bool per_pair) {
    for (int64_t n : sizes) {
      const int64_t k = terms.size();
      for (auto* arrays : {&x, &y, &vx, &vy, &dx, &dy}) arrays->emplace_back(n, k % 2);
      for (int64_t i = 0; i < n; ++i) {
        store(x[k].data[i], static_cast<Compute<T>>(uniform(-4, 4)));
        store(y[k].data[i],
              i % 16 == 15 ? load(x[k].data[i]) : static_cast<Compute<T>>(uniform(-4, 4)));
        store(vx[k].data[i], static_cast<Compute<T>>(uniform(-1, 1)));
        store(vy[k].data[i], static_cast<Compute<T>>(uniform(-1, 1)));
      }
      T* wanted_dx = k % 6 == 5 ? nullptr : dx[k].data;
      T* wanted_dy = k % 6 == 2 ? nullptr : dy[k].data;
      T* given_vx = k % 8 == 3 ? nullptr : vx[k].data;
      T* given_vy = k % 8 == 6 ? nullptr : vy[k].data;
      terms.push_back({x[k].data, y[k].data, given_vx, given_vy, wanted_dx, wanted_dy, n,
                       per_pair ? k : 0, uniform(-2, 2) / n, k % 2 ? -1.0 : 1.0, 1});
    }
    for (size_t k = 0; k < (per_pair ? sizes.size() : 1); ++k) grad.push_back(uniform(-2, 2));
  }
};

// The result of one pair, or of all: a sum, and how large its parts are.
struct Sum {
  double value = 0, scale = 1e-30;
  void add(double part) {
    value += part;
    scale += std::abs(part);
  }
};

template <template <class> class F, class T>
void compare(PairFunctor functor, DType dtype, const std::vector<int64_t>& sizes, bool per_pair,
             std::string what) {
  if (per_pair) what += " per pair";
  List<T> list(sizes, per_pair);
  const size_t results = list.grad.size();
  std::vector<double> scratch(cuda::pair_reduce_scratch(list.terms, per_pair));
  std::vector<Compute<T>> loss(results), dgrad(results);
  const auto gradient = [&](const std::string& name, size_t k, int64_t i, double dx) {
    const double tolerance = kStored<T>, scale = std::abs(dx) + kSmallest<T> / kStored<T>;
    const PairTerm& term = list.terms[k];
    if (term.dx) check_close(what + name + "dx", load(list.dx[k].data[i]), dx, tolerance, scale);
    if (term.dy) check_close(what + name + "dy", load(list.dy[k].data[i]), -dx, tolerance, scale);
  };

  cuda::pair_reduce_forward(functor, dtype, list.terms, per_pair, loss.data(), scratch.data(),
                            nullptr);
  cuda::pair_reduce_backward(functor, dtype, list.terms, list.grad.data(), nullptr);
  std::vector<Sum> want(results);
  for (size_t k = 0; k < sizes.size(); ++k) {
    const PairTerm& term = list.terms[k];
    const F<double> f{term.a, term.b};
    for (int64_t i = 0; i < term.n; ++i) {
      // kernels take the difference in their own precision
      const double d = load(list.x[k].data[i]) - load(list.y[k].data[i]);
      want[term.result].add(term.weight * f.f(d));
      gradient(" ", k, i, list.grad[term.result] * term.weight * f.df(d));
    }
  }
  for (size_t k = 0; k < results; ++k) {
    check_close(what + " loss", loss[k], want[k].value, kArithmetic<T>, want[k].scale);
  }

  cuda::pair_reduce_double_backward(functor, dtype, list.terms, per_pair, list.grad.data(),
                                    dgrad.data(), scratch.data(), nullptr);
  want.assign(results, {});
  for (size_t k = 0; k < sizes.size(); ++k) {
    const PairTerm& term = list.terms[k];
    const F<double> f{term.a, term.b};
    for (int64_t i = 0; i < term.n; ++i) {
      const double d = load(list.x[k].data[i]) - load(list.y[k].data[i]);
      const double u =
          (term.vx ? load(list.vx[k].data[i]) : 0.0) - (term.vy ? load(list.vy[k].data[i]) : 0.0);
      want[term.result].add(term.weight * u * f.df(d));
      gradient(" second ", k, i, list.grad[term.result] * term.weight * u * f.d2f(d));
    }
  }
  for (size_t k = 0; k < results; ++k) {
    check_close(what + " dgrad", dgrad[k], want[k].value, kArithmetic<T>, want[k].scale);
  }
}

template <template <class> class F>
void compare_all_dtypes(PairFunctor functor, const std::string& name) {
  // One block each; tails of every length, and a whole tile.
  const std::vector<std::vector<int64_t>> lists{{1, 1, 2, 3, 4, 5, 8},
                                                {cuda::kTile + 1003, 8, 31, 64, 1000}};
  for (const auto& sizes : lists) {
    for (const bool per_pair : {false, true}) {
      compare<F, double>(functor, DType::float64, sizes, per_pair, name + " float64");
      compare<F, float>(functor, DType::float32, sizes, per_pair, name + " float32");
      compare<F, Float16>(functor, DType::float16, sizes, per_pair, name + " float16");
      compare<F, BFloat16>(functor, DType::bfloat16, sizes, per_pair, name + " bfloat16");
    }
  }
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
#define GANFAST_ROW(name, type) test::compare_all_dtypes<type>(PairFunctor::name, #name);
  GANFAST_PAIR_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  for (const bool per_pair : {false, true}) {
    // Many blocks and the second stage; a pair of several tiles between small ones.
    test::compare<Abs, float>(PairFunctor::l1, DType::float32,
                              {3, 20 * cuda::kTile, 1, cuda::kTile, cuda::kTile + 1}, per_pair,
                              "many blocks");
    // More pairs than one launch takes.
    test::compare<Hinge, float>(PairFunctor::hinge, DType::float32, std::vector<int64_t>(207, 3),
                                per_pair, "many pairs");
  }
  return test::report();
}

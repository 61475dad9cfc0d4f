// The kernels of cuda/flat.cu against plain loops over their functors in float64.
#include "../../csrc/cuda/flat.cu"

#include "arrays.h"
#include "check.h"
#include "scratch.h"

namespace ganfast::test {
namespace {

using cuda::kTile;
using enum Subtrahend;

// Terms of a list. Every other tensor starts where 16-byte accesses are not allowed. Of some terms
// one of the gradients is not wanted, of some one of the cotangents is null.
template <class T, Subtrahend kind>
struct List {
  using C = Compute<T>;
  using Y = std::conditional_t<kind == number, C, T>;

  std::vector<Array<T>> x, vx, dx;
  std::vector<Array<Y>> y, vy, dy;
  std::vector<Term> terms;
  std::vector<C> grad;
  FlatList of;

  List(Functor functor, const std::vector<int64_t>& sizes, bool per_term)
      : of{{functor, kDType<T>, kind, {}}, per_term} {
    const bool probabilities = functor == Functor::bce;
    for (int64_t n : sizes) {
      const int64_t k = terms.size(), places = kind == same ? n : 1;
      for (auto* arrays : {&x, &vx, &dx}) arrays->emplace_back(n, k % 2);
      for (auto* arrays : {&y, &vy, &dy}) arrays->emplace_back(places, k % 2);
      for (int64_t i = 0; i < places; ++i) {
        store(y[k].data[i], static_cast<C>(uniform(-4, 4)));
        store(vy[k].data[i], static_cast<C>(uniform(-1, 1)));
      }
      for (int64_t i = 0; i < n; ++i) {
        store(x[k].data[i], static_cast<C>(probabilities ? uniform(0.01, 0.99) : uniform(-5, 5)));
        store(vx[k].data[i], static_cast<C>(uniform(-1, 1)));
        if (kind == same && i % 16 == 15) store(y[k].data[i], load(x[k].data[i]));
      }
      terms.push_back(
          {x[k].data, kind == none ? nullptr : y[k].data, k % 8 == 3 ? nullptr : vx[k].data,
           kind == none || k % 8 == 6 ? nullptr : vy[k].data, k % 6 == 5 ? nullptr : dx[k].data,
           kind == none || k % 6 == 2 ? nullptr : dy[k].data, n, uniform(-2, 2) / n,
           probabilities ? 0.9
           : k % 2       ? -1.0
                         : 1.0,
           1});
      if (per_term || k == 0) grad.push_back(static_cast<C>(uniform(-2, 2)));
    }
    of.terms = terms;
  }

  size_t result(size_t k) const { return of.per_term ? k : 0; }
  // Kernels take differences in their own precision.
  C d(size_t k, int64_t i) const {
    const C xi = load(x[k].data[i]);
    return kind == none ? xi : xi - load(y[k].data[kind == same ? i : 0]);
  }
  C u(size_t k, int64_t i) const {
    const C vxi = terms[k].vx == nullptr ? C(0) : load(vx[k].data[i]);
    return terms[k].vy == nullptr ? vxi : vxi - load(vy[k].data[kind == same ? i : 0]);
  }

  void check_results(const std::string& what, const std::vector<C>& got,
                     const std::vector<Total>& want) const {
    for (size_t k = 0; k < got.size(); ++k)
      check_close(what, got[k], want[k].value, kArithmetic<T>, want[k].scale);
  }

  // The results that are sums of value(f, d, u), and the gradients that are grad weight slope(...).
  template <template <class> class F, class Value, class Slope>
  void compare(const std::string& what, const std::vector<C>& got, Value value, Slope slope) const {
    std::vector<Total> want(grad.size());
    for (size_t k = 0; k < terms.size(); ++k) {
      const Term& term = terms[k];
      const F<double> f{static_cast<C>(term.a), term.b};
      Total dy_of_number;
      const auto check_stored = [&](const std::string& name, double stored, double wanted) {
        check_close(what + name, stored, wanted, kStored<T>,
                    std::abs(wanted) + kSmallest<T> / kStored<T>);
      };
      for (int64_t i = 0; i < term.n; ++i) {
        want[result(k)].add(term.weight * value(f, d(k, i), u(k, i)));
        const double dxi = grad[result(k)] * term.weight * slope(f, d(k, i), u(k, i));
        if (term.dx != nullptr) check_stored(" dx", load(dx[k].data[i]), dxi);
        dy_of_number.add(-dxi);
        if (term.dy != nullptr && kind == same) check_stored(" dy", load(dy[k].data[i]), -dxi);
      }
      if (term.dy != nullptr && kind == number)
        check_close(what + " dy", load(dy[k].data[0]), dy_of_number.value, kArithmetic<T>,
                    dy_of_number.scale);
    }
    check_results(what, got, want);
  }
};

template <template <class> class F, class T, Subtrahend kind>
void compare(Functor functor, const std::vector<int64_t>& sizes, bool per_term, std::string what) {
  if (per_term) what += " per term";
  const List<T, kind> list(functor, sizes, per_term);
  std::vector<Compute<T>> results(list.grad.size());
  Scratch scratch;
  using R = const F<double>&;
  cuda::flat_forward(list.of, results.data(), nullptr, 0, scratch);
  cuda::flat_backward(list.of, list.grad.data(), scratch);
  list.template compare<F>(
      what, results, [](R f, double d, double) { return f.f(d); },
      [](R f, double d, double) { return f.df(d); });
  cuda::flat_double_backward(list.of, list.grad.data(), results.data(), scratch);
  list.template compare<F>(
      what + " second", results, [](R f, double d, double u) { return u * f.df(d); },
      [](R f, double d, double u) { return u * f.d2f(d); });
}

// What statistics of term k are to be, and what they were in `row`.
template <template <class> class F, class T>
Total compare_row(const List<T, none>& list, size_t k, double threshold, const Compute<T>* row,
                  const std::string& what) {
  const Term& term = list.terms[k];
  const F<double> f{static_cast<Compute<T>>(term.a), term.b};
  Total value, logits;
  int64_t above = 0, below = 0;
  for (int64_t i = 0; i < term.n; ++i) {
    const double x = list.d(k, i);
    value.add(term.weight * f.f(x));
    logits.add(x);
    above += x > threshold;
    below += x < threshold;
  }
  const double n = term.n;
  check_close(what + " term", row[0], value.value, kArithmetic<T>, value.scale);
  check_close(what + " mean", row[1], logits.value / n, kArithmetic<T>, logits.scale / n);
  check_close(what + " above", row[2], static_cast<Compute<T>>(above / n), 0, 1);
  check_close(what + " below", row[3], static_cast<Compute<T>>(below / n), 0, 1);
  return value;
}

template <template <class> class F, class T>
void compare_stats(Functor functor, const std::vector<int64_t>& sizes, const std::string& what) {
  const List<T, none> list(functor, sizes, false);
  std::vector<Compute<T>> stats(4 * sizes.size()), loss(list.grad.size());
  // A value that occurs, so that strict comparisons matter.
  const double threshold = load(list.x[0].data[0]);
  Scratch scratch;
  cuda::flat_forward(list.of, loss.data(), stats.data(), threshold, scratch);
  std::vector<Total> want(loss.size());
  for (size_t k = 0; k < sizes.size(); ++k) {
    const Total value = compare_row<F>(list, k, threshold, &stats[4 * k], what + " statistics");
    want[list.result(k)].value += value.value;
    want[list.result(k)].scale += value.scale;
  }
  list.check_results(what + " with statistics", loss, want);
}

// A block takes several tiles of a tensor, and several tensors: a GPU's many blocks are too many
// here.
void compare_stats_of_blocks(const std::vector<int64_t>& sizes) {
  const List<float, none> list(Functor::square, sizes, false);
  Scratch scratch;
  const Workspace workspace = scratch;
  const cuda::Call<Square<float>, float, cuda::Single<float>> call{list.of, workspace};
  for (const int blocks : {2, 3, 4, 5}) {
    std::vector<float> stats(4 * sizes.size());
    std::vector<cuda::Sums> partial;
    call.for_each_table([&](const auto& table, int) {
      partial.resize(table.tiles);
      double total;
      call.sum_stats(table, blocks, {0, partial.data(), stats.data(), &total, nullptr});
    });
    for (size_t k = 0; k < sizes.size(); ++k)
      compare_row<Square>(list, k, 0, &stats[4 * k], std::to_string(blocks) + " blocks");
  }
}

// All that a list may be.
template <template <class> class F, class T>
void compare_all(Functor functor, const std::vector<int64_t>& sizes, bool per_term,
                 const std::string& what) {
  compare<F, T, none>(functor, sizes, per_term, what);
  compare_stats<F, T>(functor, sizes, what);
  if (!kFunctors[static_cast<int>(functor)].differences) return;
  compare<F, T, same>(functor, sizes, per_term, what + " difference");
  compare<F, T, number>(functor, sizes, per_term, what + " number");
}

// One block, with tails of every length; a whole tile.
template <template <class> class F, class T>
void compare_types(Functor functor, const std::string& what) {
  compare_all<F, T>(functor, {1, 1, 2, 3, 4, 5, 8}, false, what);
  compare_all<F, T>(functor, {kTile + 1003, 8, 31, 64, 1000}, true, what);
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
  using namespace ganfast::test;
#define GANFAST_ROW(name, type, differences) compare_types<type, float>(Functor::name, #name);
  GANFAST_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  compare_types<Softplus, double>(Functor::softplus, "float64");
  compare_types<Softplus, Float16>(Functor::softplus, "float16");
  compare_types<Softplus, BFloat16>(Functor::softplus, "bfloat16");
  // Many blocks and the second stage; a tensor of several tiles between small ones.
  const std::vector<int64_t> sizes{3, 12 * kTile, 1, kTile, kTile + 1};
  compare_all<Softplus, float>(Functor::softplus, sizes, false, "many blocks");
  compare<Abs, float, same>(Functor::l1, sizes, true, "many blocks");
  // More tensors than one launch takes.
  const std::vector<int64_t> many(203, 3);
  compare<Hinge, float, none>(Functor::hinge, many, false, "many tensors");
  compare<Hinge, float, number>(Functor::hinge, many, true, "many tensors");
  compare_stats<Hinge, float>(Functor::hinge, many, "many tensors");
  compare<SquaredHinge, BFloat16, number>(Functor::squared_hinge, {70, 350}, true, "bfloat16");
  compare_stats_of_blocks({5, 2 * kTile, 7, kTile + 1, 2, 2});
  return report();
}

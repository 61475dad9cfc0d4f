// The kernels of cuda/rows.cu against plain loops over their functors in float64.
#include "../../csrc/cuda/rows.cu"

#include "arrays.h"
#include "check.h"
#include "scratch.h"

namespace ganfast::test {
namespace {

using cuda::kTile;

// What a list is like besides its types and sizes.
struct Kind {
  int64_t outer = 3, inner = 1;
  bool differences = false, normalize = false;
  bool numbers = false;  // sample weights and a of each sample
  int64_t step = 1;      // of the gradient of identity
};

// Every other tensor starts where 16-byte accesses are not allowed. Of some terms one of the
// gradients is not wanted, of some one of the cotangents is null. With numbers of samples, every
// second term has weights, every third a parameter for each; the third's weights add up to 0.
template <class T>
struct List {
  using C = Compute<T>;

  std::vector<Array<T>> x, y, vx, vy, dx, dy;
  std::vector<Array<C>> numbers;
  std::vector<Term> terms;
  RowsList of;

  List(Functor functor, const std::vector<int64_t>& sizes, const Kind& kind)
      : of{{functor, kDType<T>, kind.differences ? Subtrahend::same : Subtrahend::none, {}},
           kind.normalize,
           kind.outer,
           kind.inner} {
    const bool probabilities = functor == Functor::bce;
    for (int64_t size : sizes) {
      const int64_t k = terms.size(), n = of.positions() * size;
      for (auto* arrays : {&x, &y, &vx, &vy, &dx, &dy}) arrays->emplace_back(n, k % 2);
      for (int64_t i = 0; i < n; ++i) {
        store(x[k].data[i], static_cast<C>(probabilities ? uniform(0.01, 0.99) : uniform(-5, 5)));
        for (auto* arrays : {&vx, &vy}) store((*arrays)[k].data[i], static_cast<C>(uniform(-1, 1)));
        store(y[k].data[i], kind.differences ? static_cast<C>(uniform(-4, 4)) : C(0));
      }
      const C* weight = !kind.numbers || k % 2 == 1 ? nullptr : k == 2 ? draw(0, 0) : draw(0.1, 2);
      const C* a = !kind.numbers || k % 3 != 1 ? nullptr : probabilities ? draw(0.1, 0.9) : signs();
      terms.push_back({x[k].data, kind.differences ? y[k].data : nullptr,
                       k % 8 == 3 ? nullptr : vx[k].data,
                       !kind.differences || k % 8 == 6 ? nullptr : vy[k].data,
                       k % 6 == 5 ? nullptr : dx[k].data,
                       !kind.differences || k % 6 == 2 ? nullptr : dy[k].data, size,
                       uniform(-2, 2) / size, probabilities ? 0.75 : -1, 1, weight, a});
    }
    of.terms = terms;
  }

  const C* draw(double low, double high) {
    numbers.emplace_back(of.positions(), 0);
    for (int64_t p = 0; p < of.positions(); ++p) numbers.back().data[p] = uniform(low, high);
    return numbers.back().data;
  }

  // Nothing cancels where a is a sign.
  const C* signs() {
    draw(-1, 1);
    C* const drawn = numbers.back().data;
    for (int64_t p = 0; p < of.positions(); ++p) drawn[p] = drawn[p] < 0 ? -1 : 1;
    return drawn;
  }

  double weight(size_t k, int64_t p) const {
    const auto s = static_cast<const C*>(terms[k].sample_weight);
    if (s == nullptr) return terms[k].weight;
    long double total = 0;
    for (int64_t i = 0; i < of.positions(); ++i) total += s[i];
    const double mean = total == 0 ? 1.0 / of.positions() : double(total / of.positions());
    return terms[k].weight * s[p] / (of.normalize ? mean : 1);
  }

  double a(size_t k, int64_t p) const {
    const auto own = static_cast<const C*>(terms[k].sample_a);
    return own == nullptr ? static_cast<C>(terms[k].a) : own[p];
  }

  // Calls body(k, p, i, f, weight, d, u) for each element, with its place i in the tensors.
  template <template <class> class F, class Body>
  void for_each(Body body) const {
    for (size_t k = 0; k < terms.size(); ++k) {
      const Term& term = terms[k];
      for (int64_t p = 0; p < of.positions(); ++p) {
        const F<double> f{a(k, p), term.b};
        const double w = weight(k, p);
        for (int64_t j = 0; j < term.n; ++j) {
          const int64_t i = (p / of.inner * term.n + j) * of.inner + p % of.inner;
          const C d = term.y ? load(x[k].data[i]) - load(y[k].data[i]) : load(x[k].data[i]);
          const C u =
              (term.vx ? load(vx[k].data[i]) : C(0)) - (term.vy ? load(vy[k].data[i]) : C(0));
          body(k, p, i, f, w, d, u);
        }
      }
    }
  }

  // The sums of the positions, of value(f, d, u).
  template <template <class> class F, class Value>
  std::vector<Total> sums(Value value) const {
    std::vector<Total> want(of.positions());
    for_each<F>([&](size_t, int64_t p, int64_t, const F<double>& f, double w, double d, double u) {
      want[p].add(w * value(f, d, u));
    });
    return want;
  }

  // The gradients that are to be weight slope(p, f, d, u), or to be as exact as `size` of it.
  template <template <class> class F, class Slope>
  void check_gradients(const std::string& what, Slope slope) const {
    for_each<F>(
        [&](size_t k, int64_t p, int64_t i, const F<double>& f, double w, double d, double u) {
          const auto [value, size] = slope(p, f, d, u);
          const double scale = std::abs(w * size) + kSmallest<T> / kStored<T>;
          const double tolerance = kStored<T> + 4 * kArithmetic<T>;
          if (terms[k].dx)
            check_close(what + " dx", load(dx[k].data[i]), w * value, tolerance, scale);
          if (terms[k].dy)
            check_close(what + " dy", load(dy[k].data[i]), -w * value, tolerance, scale);
        });
  }
};

template <class C>
void check_sums(const std::string& what, const std::vector<C>& got,
                const std::vector<Total>& want) {
  for (size_t p = 0; p < got.size(); ++p)
    check_close(what, got[p], want[p].value, 2 * (sizeof(C) == 8 ? 4e-15 : 4e-7), want[p].scale);
}

template <template <class> class F, class T>
void compare(Functor functor, const std::vector<int64_t>& sizes, const Kind& kind,
             const std::string& what) {
  const List<T> list(functor, sizes, kind);
  const int64_t positions = list.of.positions();
  std::vector<Compute<T>> result(positions), grad(positions);
  for (auto& number : grad) number = uniform(-2, 2);
  const RowsGrad from{grad.data(), kind.step, nullptr};
  Scratch scratch;
  using R = const F<double>&;
  const auto of = [&](int64_t p, double slope) {
    const double value = grad[p * kind.step] * slope;
    return std::pair(value, std::abs(value));
  };

  cuda::rows_forward(list.of, {Phi::identity, 1, 0, 0}, result.data(), nullptr, scratch);
  check_sums(what, result, list.template sums<F>([](R f, double d, double) { return f.f(d); }));
  cuda::rows_backward(list.of, from, scratch);
  list.template check_gradients<F>(
      what, [&](int64_t p, R f, double d, double) { return of(p, f.df(d)); });

  cuda::rows_double_backward(list.of, from, result.data(), scratch);
  check_sums(what + " dgrad", result,
             list.template sums<F>([](R f, double d, double u) { return u * f.df(d); }));
  list.template check_gradients<F>(
      what + " second", [&](int64_t p, R f, double d, double u) { return of(p, u * f.d2f(d)); });
}

template <template <class> class P, class T>
void compare_phi(const RowsPhi& phi, const std::vector<int64_t>& sizes, const Kind& kind,
                 const std::string& what) {
  List<T> list(Functor::square, sizes, kind);
  const int64_t positions = list.of.positions();
  for (Term& term : list.terms) {  // norms of about 1, of which the second is zero
    term.a = 0;
    term.weight = std::abs(term.weight) / 8;
  }
  list.template for_each<Square>([&](size_t k, int64_t p, int64_t i, auto...) {
    if (p == 1) list.x[k].data[i] = list.y[k].data[i];
  });
  std::vector<Compute<T>> derivatives(2 * positions);
  const Compute<T> grad = -1.75;
  const RowsGrad from{&grad, 0, derivatives.data()};
  Compute<T> result, dgrad;
  Scratch scratch;
  using R = const Square<double>&;

  cuda::rows_forward(list.of, phi, &result, derivatives.data(), scratch);
  const auto sums = list.template sums<Square>([](R f, double d, double) { return f.f(d); });
  const P<double> f{phi.a, phi.b};
  const double weight = phi.weight / positions;
  Total want;
  for (int64_t p = 0; p < positions; ++p) {
    const Orders<double> orders = f(sums[p].value);
    want.add(weight * orders.f);
    const double most = 8 * kArithmetic<T>;
    check_close(what + " first", derivatives[p], weight * orders.df, most,
                weight * (1 + std::abs(orders.df)));
    check_close(what + " second", derivatives[positions + p], weight * orders.d2f, most,
                weight * (1 + std::abs(orders.d2f)));
  }
  check_close(what, result, want.value, 4 * kArithmetic<T>, phi.weight + want.scale);

  cuda::rows_backward(list.of, from, scratch);
  list.template check_gradients<Square>(what, [&](int64_t p, R f, double d, double) {
    const double value = grad * derivatives[p] * f.df(d);
    return std::pair(value, std::abs(value));
  });

  cuda::rows_double_backward(list.of, from, &dgrad, scratch);
  const auto t = list.template sums<Square>([](R f, double d, double u) { return u * f.df(d); });
  Total want_dgrad;
  for (int64_t p = 0; p < positions; ++p) {
    want_dgrad.value += derivatives[p] * t[p].value;
    want_dgrad.scale += std::abs(derivatives[p]) * t[p].scale;
  }
  check_close(what + " dgrad", dgrad, want_dgrad.value, 4 * kArithmetic<T>, want_dgrad.scale);
  list.template check_gradients<Square>(what + " second", [&](int64_t p, R f, double d, double u) {
    const double a = grad * derivatives[p] * u * f.d2f(d),
                 b = grad * derivatives[positions + p] * f.df(d);
    return std::pair(a + b * double(t[p].value), std::abs(a) + std::abs(b) * double(t[p].scale));
  });
}

// Lanes of a warp, blocks, and pixels, with tails of every length and a whole tile.
template <template <class> class F, class T>
void compare_shapes(Functor functor, const std::string& what) {
  for (const auto& sizes : {std::vector<int64_t>{1, 1, 2, 5, 33, 8, 4}, {kTile + 1027, 1, 9, 64}}) {
    compare<F, T>(functor, sizes, {.normalize = true, .numbers = true}, what);
    if (kFunctors[static_cast<int>(functor)].differences)
      compare<F, T>(functor, sizes, {.differences = true, .numbers = true}, what + " difference");
  }
}

template <class T>
void compare_norms(const std::string& what) {
  const RowsPhi phi{Phi::centred, 2.5, 1, 0};
  compare_phi<CentredNorm, T>(phi, {7, 64, 3}, {.outer = 5}, what + " of lanes");
  compare_phi<CentredNorm, T>(phi, {7, 64, kTile + 1003}, {}, what);
  compare_phi<CentredNorm, T>(phi, {5, kTile}, {.differences = true}, what + " of differences");
  compare_phi<CentredNorm, T>(phi, {3, 1}, {.outer = 2, .inner = 35}, what + " of pixels");
  compare<Square, T>(Functor::square, {3, 1}, {.outer = 2, .inner = 35}, what + " pixels alone");
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
  using namespace ganfast::test;
#define GANFAST_ROW(name, type, differences) compare_shapes<type, float>(Functor::name, #name);
  GANFAST_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  compare_shapes<Softplus, double>(Functor::softplus, "float64");
  compare_shapes<Softplus, Float16>(Functor::softplus, "float16");
  compare_shapes<Softplus, BFloat16>(Functor::softplus, "bfloat16");
  // A thread has a position to itself; the last block has some without one.
  compare<Softplus, float>(Functor::softplus, {1},
                           {.outer = 333, .normalize = true, .numbers = true, .step = 0},
                           "elements");
  // Several blocks add up the sample weights.
  compare<Softplus, float>(Functor::softplus, {1, 1},
                           {.outer = 3 * kTile + 5, .normalize = true, .numbers = true}, "parts");
  // Several blocks share a sample.
  compare<Softplus, float>(Functor::softplus, {3 * kTile + 1, 7, 1000, 2 * kTile},
                           {.outer = 2, .normalize = true, .numbers = true}, "splits");
  // More tensors than one launch takes, small and large.
  compare<Hinge, float>(Functor::hinge, std::vector<int64_t>(203, 1),
                        {.normalize = true, .numbers = true}, "many tensors");
  std::vector<int64_t> sizes(203, 2);
  sizes[5] = 5 * kTile;
  sizes[202] = 3 * kTile;
  compare<Hinge, float>(Functor::hinge, sizes, {.outer = 2}, "many tensors, splits");

  // The derivatives of phi are all that the backwards see of it.
#define GANFAST_ROW(name, type)                                                                 \
  if (Phi::name != Phi::identity) {                                                             \
    compare_phi<type, float>({Phi::name, 2.5, Phi::name == Phi::power ? 3.0 : 1.0, 1e-4}, {64}, \
                             {}, #name);                                                        \
  }
  GANFAST_PHIS(GANFAST_ROW)
#undef GANFAST_ROW
  compare_norms<double>("float64 norms");
  compare_norms<float>("float32 norms");
  compare_norms<Float16>("float16 norms");
  compare_norms<BFloat16>("bfloat16 norms");
  const RowsPhi phi{Phi::centred, 10, 1, 0};
  // More blocks of a sample than a warp has threads; more positions than a block has; several
  // launches.
  compare_phi<CentredNorm, float>(phi, {40 * kTile}, {.outer = 1}, "many splits");
  compare_phi<CentredNorm, float>(phi, {5}, {.outer = 1300}, "many samples");
  compare_phi<CentredNorm, float>(phi, {3}, {.outer = 2, .inner = 300}, "many pixels");
  compare_phi<CentredNorm, float>(phi, sizes, {.outer = 2}, "many tensors");
  return report();
}

// The kernels of cuda/unary_rows.cu against plain loops over their functors in float64.
#include "../../csrc/cuda/unary_rows.cu"

#include "arrays.h"
#include "check.h"

namespace ganfast::test {
namespace {

template <class T>
struct List {
  std::vector<Array<T>> x, v, dx;
  std::vector<Array<Compute<T>>> numbers;
  std::vector<RowsTerm> terms;
  std::vector<Compute<T>> grad;
  int64_t samples;
  bool normalize;

  // Every other tensor starts where 16-byte accesses are not allowed. Every second has sample
  // weights, every third a parameter for each sample; the third's weights add up to 0.
  List(int64_t samples, const std::vector<int64_t>& sizes, bool probabilities, bool normalize)
      : samples(samples), normalize(normalize) {
    for (int64_t b = 0; b < samples; ++b) grad.push_back(uniform(-2, 2));
    for (size_t k = 0; k < sizes.size(); ++k) {
      const int64_t n = samples * sizes[k];
      for (auto* arrays : {&x, &v, &dx}) arrays->emplace_back(n, k % 2);
      for (int64_t i = 0; i < n; ++i) {
        const double value = probabilities ? uniform(0.01, 0.99) : uniform(-6, 6);
        store(x[k].data[i], static_cast<Compute<T>>(value));
        store(v[k].data[i], static_cast<Compute<T>>(uniform(-1, 1)));
      }
      const Compute<T>* weight = k % 2 == 1 ? nullptr : k == 2 ? draw(0, 0) : draw(0.1, 2);
      const Compute<T>* a = k % 3 == 1 ? draw(0.1, 0.9) : nullptr;
      // Targets for probabilities; signs for the others, where nothing cancels.
      for (int64_t b = 0; a != nullptr && !probabilities && b < samples; ++b)
        numbers.back().data[b] = uniform(-1, 1) < 0 ? -1 : 1;
      terms.push_back({x[k].data, v[k].data, dx[k].data, weight, a, sizes[k],
                       uniform(-2, 2) / sizes[k], probabilities ? 0.75 : -1, 1});
    }
  }

  const Compute<T>* draw(double low, double high) {
    numbers.emplace_back(samples, 0);
    for (int64_t b = 0; b < samples; ++b) numbers.back().data[b] = uniform(low, high);
    return numbers.back().data;
  }

  RowsList of() const { return {terms, samples, normalize}; }

  double weight(size_t k, int64_t b) const {
    const auto s = static_cast<const Compute<T>*>(terms[k].sample_weight);
    if (s == nullptr) return terms[k].weight;
    long double total = 0;
    for (int64_t i = 0; i < samples; ++i) total += s[i];
    return terms[k].weight * s[b] * (normalize ? double(samples / (total == 0 ? 1 : total)) : 1);
  }

  double a(size_t k, int64_t b) const {
    const auto own = static_cast<const Compute<T>*>(terms[k].sample_a);
    return own == nullptr ? terms[k].a : own[b];
  }
};

template <template <class> class F, class T>
void compare(UnaryFunctor functor, DType dtype, int64_t samples, const std::vector<int64_t>& sizes,
             bool normalize, const std::string& what, bool one_gradient = false) {
  const List<T> list(samples, sizes, functor == UnaryFunctor::bce, normalize);
  const RowsList of = list.of();
  std::vector<double> scratch(cuda::unary_rows_scratch(of));
  std::vector<Compute<T>> rows(samples), dgrad(samples);
  const RowsGrad grad{list.grad.data(), one_gradient ? 0 : 1};
  std::vector<long double> want(samples), scale(samples);

  const auto check_rows = [&](const std::string& name, const std::vector<Compute<T>>& got) {
    for (int64_t b = 0; b < samples; ++b) {
      check_close(what + name, got[b], want[b], 2 * kArithmetic<T>, scale[b] + 1e-30);
      want[b] = scale[b] = 0;
    }
  };
  // Sums what `term` gives for each element, and checks dx by the gradient that it gives.
  const auto compare_elements = [&](const std::string& name, auto term) {
    for (size_t k = 0; k < sizes.size(); ++k) {
      for (int64_t i = 0; i < samples * sizes[k]; ++i) {
        const int64_t b = i / sizes[k];
        const F<double> f{list.a(k, b), list.terms[k].b};
        const double weight = list.weight(k, b), outer = list.grad[one_gradient ? 0 : b];
        const auto [value, derivative] =
            term(f, double(load(list.x[k].data[i])), double(load(list.v[k].data[i])));
        want[b] += weight * value;
        scale[b] += std::abs(weight * value);
        const double dx = outer * weight * derivative;
        check_close(what + name, load(list.dx[k].data[i]), dx, kStored<T> + 2 * kArithmetic<T>,
                    std::abs(dx) + kSmallest<T> / kStored<T>);
      }
    }
  };

  cuda::unary_rows_forward(functor, dtype, of, rows.data(), scratch.data(), nullptr);
  cuda::unary_rows_backward(functor, dtype, of, grad, scratch.data(), nullptr);
  compare_elements(" dx",
                   [](const F<double>& f, double x, double) { return std::pair(f.f(x), f.df(x)); });
  check_rows(" rows", rows);
  cuda::unary_rows_double_backward(functor, dtype, of, grad, dgrad.data(), scratch.data(), nullptr);
  compare_elements(" second dx", [](const F<double>& f, double x, double v) {
    return std::pair(v * f.df(x), v * f.d2f(x));
  });
  check_rows(" dgrad", dgrad);
}

template <template <class> class F, class T>
void compare_stats(UnaryFunctor functor, DType dtype, int64_t samples,
                   const std::vector<int64_t>& sizes, bool normalize, const std::string& what) {
  const List<T> list(samples, sizes, functor == UnaryFunctor::bce, normalize);
  const RowsList of = list.of();
  std::vector<double> scratch(cuda::unary_rows_stats_scratch(of));
  std::vector<Compute<T>> want_rows(samples), rows(samples), stats(4 * sizes.size());
  // A value that occurs, so that strict comparisons matter.
  const double threshold = load(list.x[0].data[0]);
  cuda::unary_rows_forward(functor, dtype, of, want_rows.data(), scratch.data(), nullptr);
  cuda::unary_rows_forward_stats(functor, dtype, of, threshold, rows.data(), stats.data(),
                                 scratch.data(), nullptr);
  for (int64_t b = 0; b < samples; ++b)  // a launch takes other tensors, so sums go otherwise
    check_close(what + " rows", rows[b], want_rows[b], 4 * kArithmetic<T>,
                std::abs(want_rows[b]) + sizes.size());
  for (size_t k = 0; k < sizes.size(); ++k) {
    long double value = 0, scale = 0, sum = 0, size = 0;
    int64_t above = 0, below = 0;
    const int64_t n = samples * sizes[k];
    for (int64_t i = 0; i < n; ++i) {
      const int64_t b = i / sizes[k];
      const double x = load(list.x[k].data[i]);
      const double y = list.weight(k, b) * F<double>{list.a(k, b), list.terms[k].b}.f(x);
      value += y;
      scale += std::abs(y);
      sum += x;
      size += std::abs(x);
      above += x > threshold;
      below += x < threshold;
    }
    const Compute<T>* row = &stats[4 * k];
    const std::string of_tensor = what + " of tensor " + std::to_string(k);
    check_close(of_tensor + ": term", row[0], value, 2 * kArithmetic<T>, scale + 1e-30);
    check_close(of_tensor + ": mean", row[1], sum / n, kArithmetic<T>, size / n);
    check_close(of_tensor + ": above", row[2], static_cast<Compute<T>>(above / double(n)), 0, 1);
    check_close(of_tensor + ": below", row[3], static_cast<Compute<T>>(below / double(n)), 0, 1);
  }
}

// A block takes several samples, or several blocks the samples of lanes: a GPU's many blocks are
// too many here.
void same_stats_for_any_blocks(int64_t samples, const std::vector<int64_t>& sizes) {
  const List<float> list(samples, sizes, false, false);
  const RowsList of = list.of();
  std::vector<double> scratch(cuda::unary_rows_stats_scratch(of));
  std::vector<float> want_rows(samples), rows(samples), want(4 * sizes.size()), got(want);
  cuda::unary_rows_forward_stats(UnaryFunctor::square, DType::float32, of, 0, want_rows.data(),
                                 want.data(), scratch.data(), nullptr);
  auto given = cuda::make_rows<Square<float>, float>(of);
  given.splits = 1;
  const auto partial = reinterpret_cast<cuda::Sums*>(scratch.data());
  for (const int blocks : {1, 2, 3}) {
    launch("stats", cuda::unary_rows_forward_kernel<Square<float>, float, true>, blocks,
           cuda::kThreads, nullptr, given, nullptr, false, rows.data(),
           cuda::StatsOut<float>{0, partial, got.data()});
    if (blocks > 1)
      launch("finish", cuda::unary_rows_finish_stats_kernel<Square<float>, float>, 1,
             cuda::kThreads, nullptr, given, blocks, partial, got.data());
    const std::string what = "stats in " + std::to_string(blocks) + " blocks";
    for (int64_t b = 0; b < samples; ++b) check_close(what, rows[b], want_rows[b], 1e-6, 100);
    for (size_t i = 0; i < want.size(); ++i) check_close(what, got[i], want[i], 1e-6, 100);
  }
}

// Samples that lanes of a warp share, and samples that a block has, with tails of every length.
template <template <class> class F>
void compare_all_dtypes(UnaryFunctor functor, const std::string& name) {
  for (const auto& sizes : {std::vector<int64_t>{1, 1, 2, 5, 33}, {1030, 1, 9}}) {
    compare<F, double>(functor, DType::float64, 5, sizes, false, name + " float64");
    compare<F, float>(functor, DType::float32, 5, sizes, true, name + " float32");
    compare<F, Float16>(functor, DType::float16, 5, sizes, false, name + " float16");
    compare<F, BFloat16>(functor, DType::bfloat16, 5, sizes, true, name + " bfloat16");
    compare_stats<F, double>(functor, DType::float64, 5, sizes, true, name + " stats float64");
    compare_stats<F, float>(functor, DType::float32, 5, sizes, false, name + " stats float32");
    compare_stats<F, Float16>(functor, DType::float16, 5, sizes, true, name + " stats float16");
    compare_stats<F, BFloat16>(functor, DType::bfloat16, 5, sizes, false, name + " stats bfloat16");
  }
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
#define GANFAST_ROW(name, type) test::compare_all_dtypes<type>(UnaryFunctor::name, #name);
  GANFAST_UNARY_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
  using test::compare;
  const auto softplus = UnaryFunctor::softplus;
  // A thread has a sample to itself; the last block has some without a sample.
  compare<Softplus, float>(softplus, DType::float32, 333, {1}, true, "elements", true);
  // Several blocks add up the sample weights.
  compare<Softplus, float>(softplus, DType::float32, 3 * cuda::kTile + 5, {1, 1}, true, "parts");
  // Several blocks share a sample.
  compare<Softplus, float>(softplus, DType::float32, 2, {3 * cuda::kTile + 1, 7, 1000}, true,
                           "splits");
  // More tensors than one launch takes, small and large.
  compare<Hinge, float>(UnaryFunctor::hinge, DType::float32, 3, std::vector<int64_t>(207, 1), true,
                        "many tensors");
  std::vector<int64_t> sizes(207, 2);
  sizes[5] = 5 * cuda::kTile;
  sizes[203] = 3 * cuda::kTile;
  compare<Hinge, float>(UnaryFunctor::hinge, DType::float32, 2, sizes, false,
                        "many tensors, splits");
  using test::compare_stats;
  compare_stats<Softplus, float>(softplus, DType::float32, 333, {1}, true, "stats of elements");
  compare_stats<Softplus, float>(softplus, DType::float32, 2, {3 * cuda::kTile + 1, 7, 1000}, true,
                                 "stats of splits");
  compare_stats<Hinge, float>(UnaryFunctor::hinge, DType::float32, 3, std::vector<int64_t>(70, 1),
                              true, "stats of many tensors");
  test::same_stats_for_any_blocks(150, {3, 1});
  test::same_stats_for_any_blocks(7, {1500, 40});
  return test::report();
}

// The kernels of cuda/bias_act.cu against the equations of the activations in float64, with the
// derivatives written in v = x + b.
#include "../../csrc/cuda/bias_act.cu"

#include <vector>

#include "arrays.h"
#include "check.h"
#include "scratch.h"

namespace ganfast::test {
namespace {

struct Plain {
  double f, df, d2f;
};

Plain plainly(Activation activation, double alpha, double v) {
  const double s = 1 / (1 + std::exp(-v)), t = std::tanh(v), e = std::exp(v);
  const double scale = 1.0507009873554804934, a = 1.6732632423543772848;
  switch (activation) {
    case Activation::linear:
      return {v, 1, 0};
    case Activation::relu:
      return v > 0 ? Plain{v, 1, 0} : Plain{0, 0, 0};
    case Activation::lrelu:
      return v > 0 ? Plain{v, 1, 0} : Plain{alpha * v, alpha, 0};
    case Activation::tanh:
      return {t, 1 - t * t, -2 * t * (1 - t * t)};
    case Activation::sigmoid:
      return {s, s * (1 - s), s * (1 - s) * (1 - 2 * s)};
    case Activation::elu:
      return v >= 0 ? Plain{v, 1, 0} : Plain{e - 1, e, e};
    case Activation::selu:
      return v >= 0 ? Plain{scale * v, scale, 0}
                    : Plain{scale * a * (e - 1), scale * a * e, scale * a * e};
    case Activation::softplus:
      return {std::log1p(e), s, s * (1 - s)};
    case Activation::swish:
      return {v * s, s * (1 + v * (1 - s)), s * (1 - s) * (2 + v * (1 - 2 * s))};
  }
  return {};
}

// Numbers that each dtype holds, or none: null.
template <class T>
struct Drawn : Array<T> {
  const bool given;
  Drawn(int64_t n, bool given) : Array<T>(given ? n : 0, given), given(given) {
    for (int64_t i = 0; i < this->n; ++i)
      store(this->data[i], static_cast<Compute<T>>(uniform(-2, 2)));
  }
  const T* pointer() const { return given ? this->data : nullptr; }
  double at(int64_t i) const { return given ? load(this->data[i]) : 0; }
};

// With `biased` also the sums, in both backward passes.
template <class T>
void compare(BiasActParameters p, BiasActShape shape, bool biased, const std::string& what) {
  const DType dtype = kDType<T>;
  const int64_t n = shape.elements();
  const Drawn<T> x(n, true), grad(n, true), v(n, true);
  const Drawn<T> b(shape.channels, biased), c(shape.channels, biased);
  Array<T> y(n, 1), dx(n, 0), db(shape.channels, 1), d_grad(n, 0), d_saved(n, 1),
      d_b(shape.channels, 0);
  Scratch scratch;
  const auto run = [&](const BiasActPass& pass) { cuda::bias_act(p, dtype, shape, pass, scratch); };
  run({.order = BiasActPass::forward, .saved = x.pointer(), .b = b.pointer(), .out = y.data});
  const bool input = from_input(p), curved = is_curved(p.activation);
  const T *saved = input ? x.pointer() : y.data, *bias = input ? b.pointer() : nullptr;
  run({.order = BiasActPass::backward,
       .grad = grad.pointer(),
       .saved = saved,
       .b = bias,
       .out = dx.data,
       .sums = biased ? db.data : nullptr});
  run({.order = BiasActPass::double_backward,
       .grad = curved ? grad.pointer() : nullptr,
       .saved = saved,
       .v = v.pointer(),
       .b = bias,
       .c = c.pointer(),
       .out = d_grad.data,
       .d_saved = curved ? d_saved.data : nullptr,
       .sums = curved && bias != nullptr ? d_b.data : nullptr});

  T stored;
  store(stored, static_cast<Compute<T>>(p.clamp));
  const double bound = load(stored);
  std::vector<Total> sums(shape.channels), second_sums(shape.channels);
  // What is recovered from y has y's rounding.
  const double tolerance = curved && !input ? 8 * kStored<T> : 2 * kStored<T>;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t channel = i / shape.inner % shape.channels;
    const Plain f = plainly(p.activation, p.alpha, x.at(i) + b.at(channel));
    const double value = p.gain * f.f, w = v.at(i) + c.at(channel);
    check_close(what + " y", load(y.data[i]),
                value < -bound  ? -bound
                : value > bound ? bound
                                : value,
                2 * kStored<T>, std::abs(value) + 4);
    const bool clipped = std::abs(double(load(y.data[i]))) >= bound;
    const double slope = clipped ? 0 : p.gain * f.df, bend = clipped ? 0 : p.gain * f.d2f;
    check_close(what + " dx", load(dx.data[i]), slope * grad.at(i), tolerance, 4);
    check_close(what + " d_grad", load(d_grad.data[i]), slope * w, tolerance, 8);
    sums[channel].add(slope * grad.at(i));
    if (!curved) continue;
    // In y, its gradient is one in x once it is multiplied by dy/dv.
    const double d = double(load(d_saved.data[i])) * (input ? 1 : slope);
    check_close(what + " d_saved", d, bend * grad.at(i) * w, tolerance, 16);
    second_sums[channel].add(d);
  }
  for (int64_t channel = 0; biased && channel < shape.channels; ++channel) {
    const double size = double(sums[channel].scale) + shape.outer * shape.inner;
    check_close(what + " db", load(db.data[channel]), double(sums[channel].value), tolerance, size);
    if (curved && input)
      check_close(what + " d_b", load(d_b.data[channel]), double(second_sums[channel].value),
                  tolerance, 4 * size);
  }
}

template <class T>
void compare_dtype(const std::string& name) {
  const double none = std::nan("");
  for (int k = 0; k < 9; ++k) {
    const auto activation = static_cast<Activation>(k);
    const std::string what = name + " " + std::to_string(k);
    compare<T>({activation, 0.2, 1.5, 1.25}, {2, 3, 5}, true, what);
    compare<T>({activation, 0.2, -0.5, none}, {3, 35, 1}, true, what + " rows");
  }
  compare<T>({Activation::lrelu, -0.3, 1, 1.25}, {2, 3, 5}, true, name + " negative slope");
  compare<T>({Activation::lrelu, 0.2, 1, 0.7071}, {1, 1, 300}, false, name + " no bias");
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
  test::compare_dtype<double>("float64");
  test::compare_dtype<float>("float32");
  test::compare_dtype<Float16>("float16");
  test::compare_dtype<BFloat16>("bfloat16");
  // Several blocks share a channel, and planes are shorter and longer than a block.
  for (const BiasActShape shape : {BiasActShape{70, 2, 9}, {3, 2, 700}, {600, 33, 1}})
    test::compare<float>({Activation::lrelu, 0.2, 1, 1}, shape, true, "splits");
  return test::report();
}

// The kernels of cuda/lrelu_mask.cu against the definition, and lrelu_masked against bias_act.
#include "../../csrc/cuda/lrelu_mask.cu"

#include <limits>

#include "arrays.h"
#include "check.h"
#include "scratch.h"

namespace ganfast::test {
namespace {

template <class T>
void compare(const std::string& what, int64_t n, int offset, double clamp) {
  const double alpha = 0.2, gain = 1.5;
  const auto f = BiasAct<LeakyRelu<Compute<T>>, T>::of({Compute<T>(alpha)}, gain, clamp);
  Array<T> x(n, offset), y(n, offset), v(n, 0), dx(n, offset);
  Array<uint8_t> mask((n + 3) / 4, 0);
  for (int64_t i = 0; i < n; ++i) {
    store(x.data[i], static_cast<Compute<T>>(i % 7 == 0 ? 0 : uniform(-2, 2)));
    store(v.data[i], static_cast<Compute<T>>(uniform(-2, 2)));
  }
  if (n > 2) store(x.data[2], std::numeric_limits<Compute<T>>::quiet_NaN());
  Scratch scratch;
  cuda::lrelu_mask(kDType<T>, alpha, gain, clamp, n, x.data, y.data, mask.data, scratch);
  cuda::lrelu_masked(kDType<T>, alpha, gain, n, v.data, mask.data, dx.data, scratch);
  for (int64_t i = 0; i < n; ++i) {
    const auto held = load(x.data[i]);
    if (held != held) {
      check(what + ": NaN stays", load(y.data[i]) != load(y.data[i]));
    } else {
      check_close(what, load(y.data[i]), f.value(held), kStored<T>,
                  std::abs(f.value(held)) + kSmallest<T> / kStored<T>);
    }
    const double want = f.slope(load(y.data[i])) * load(v.data[i]);
    check_close(what + ", slope", load(dx.data[i]), want, kStored<T>,
                std::abs(want) + kSmallest<T> / kStored<T>);
  }
  if (n % 4 != 0) check(what + ": no bits beyond the end", mask.data[n / 4] >> 2 * (n % 4) == 0);
}

template <class T>
void compare_dtype(const std::string& name) {
  for (const double clamp : {std::numeric_limits<double>::quiet_NaN(), 1.0}) {
    for (const int64_t n : {1, 3, 4, 1021, 4096}) {
      compare<T>(name, n, 0, clamp);
      compare<T>(name + " unaligned", n, 1, clamp);
    }
  }
}

}  // namespace
}  // namespace ganfast::test

int main() {
  using namespace ganfast;
  test::compare_dtype<double>("float64");
  test::compare_dtype<float>("float32");
  test::compare_dtype<Float16>("float16");
  test::compare_dtype<BFloat16>("bfloat16");
  return test::report();
}

// What the kernels of both list families read: raw pointers, no torch.
#pragma once

#include <span>

#include "../math/functors.h"
#include "workspace.h"

namespace ganfast {

// What is subtracted from x: nothing; y_k like x_k; or, in flat, a y_k of type Compute<dtype> that
// repeats along x_k, one number or one sample.
enum class Subtrahend { none, same, repeated };

// One term of a list. Derivatives write those of `dx` and `dy` that are not null; cotangents that
// are null are zeros.
struct Term {
  const void* x;   // of the list's dtype
  const void* y;   // see Subtrahend
  const void* vx;  // like x: cotangent of the first-order dx
  const void* vy;  // like y: cotangent of the first-order dy
  void* dx;        // like x: gradient with respect to x
  void* dy;        // like y: gradient with respect to y
  int64_t n;       // of flat, elements of x; of rows, elements that are summed for each position
  int64_t period;  // of flat, elements of y: n, or with `repeated` a divisor of it
  double weight;   // w_k / n
  double a, b;     // the functor's parameters
  const void* sample_weight;  // of rows, s_kp (positions) of type Compute<dtype>, or null for ones
  const void* sample_a;       // of rows, (positions) in place of a, of the same type, or null
};

struct List {
  Functor functor;
  DType dtype;
  Subtrahend subtrahend;
  std::span<const Term> terms;
};

// Calls body.operator()<F, T, kind>() with the types of a list. Without `may_repeat`, kernels for a
// y that repeats are not compiled.
template <bool may_repeat, class Body>
void with_list(const List& list, Body body) {
  const auto with_kind = [&]<Subtrahend kind>() {
    with_types<kind != Subtrahend::none>(list.functor, list.dtype, [&]<class F, class T>() {
      body.template operator()<F, T, kind>();
    });
  };
  switch (list.subtrahend) {
    case Subtrahend::none:
      return with_kind.template operator()<Subtrahend::none>();
    case Subtrahend::same:
      return with_kind.template operator()<Subtrahend::same>();
    case Subtrahend::repeated:
      if constexpr (may_repeat) with_kind.template operator()<Subtrahend::repeated>();
  }
}

}  // namespace ganfast

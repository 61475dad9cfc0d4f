// The parameters of a list's terms, on their way through autograd; and how its orders call each
// other.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include "checks.h"

namespace ganfast {

using Floats = c10::ArrayRef<double>;

// The name of a functor, and for each term its weight and the functor's parameters.
struct Parameters {
  std::string f;
  std::vector<double> weight, a, b;

  Parameters(std::string_view f, Floats weight, Floats a, Floats b)
      : f(f), weight(weight.vec()), a(a.vec()), b(b.vec()) {}

  // The parameters of the terms that `keep` names.
  Parameters select(const std::vector<size_t>& keep) const {
    Parameters some(f, {}, {}, {});
    for (size_t k : keep) {
      some.weight.push_back(weight[k]);
      some.a.push_back(a[k]);
      some.b.push_back(b[k]);
    }
    return some;
  }

  void save(torch::autograd::AutogradContext* ctx) const {
    ctx->saved_data["f"] = f;
    ctx->saved_data["weight"] = weight;
    ctx->saved_data["a"] = a;
    ctx->saved_data["b"] = b;
  }

  static Parameters saved(torch::autograd::AutogradContext* ctx) {
    return {ctx->saved_data["f"].toStringView(), ctx->saved_data["weight"].toDoubleVector(),
            ctx->saved_data["a"].toDoubleVector(), ctx->saved_data["b"].toDoubleVector()};
  }
};

inline void check_parameters(const char* op, size_t terms, Floats weight, Floats a, Floats b) {
  TORCH_CHECK_VALUE(weight.size() == terms && a.size() == terms && b.size() == terms, op,
                    ": weight, a and b must have one number for each of the ", terms,
                    " tensors, got ", weight.size(), ", ", a.size(), " and ", b.size());
}

// The op of a name: each order of a family calls the next as an op.
template <class Signature>
auto op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace ganfast

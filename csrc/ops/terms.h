// The parameters of a list's terms, on their way through autograd; and how its orders call each
// other.
#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "checks.h"

namespace ganfast {

using Floats = c10::ArrayRef<double>;

// The name of a functor, and for each term its weight and the functor's parameters. A node of the
// graph holds them as one value: by name and list they would cost more than a small kernel.
struct Parameters : torch::CustomClassHolder {
  std::string f;
  std::vector<double> weight, a, b;

  Parameters(std::string_view f, Floats weight, Floats a, Floats b)
      : f(f), weight(weight.vec()), a(a.vec()), b(b.vec()) {}

  // Tensors among them, which autograd keeps.
  static std::vector<at::Tensor> numbers() { return {}; }

  // The parameters of the terms that `keep` names.
  c10::intrusive_ptr<Parameters> select(const std::vector<size_t>& keep) const {
    auto some = c10::make_intrusive<Parameters>(f, Floats(), Floats(), Floats());
    for (size_t k : keep) {
      some->weight.push_back(weight[k]);
      some->a.push_back(a[k]);
      some->b.push_back(b[k]);
    }
    return some;
  }
};

using SharedParameters = c10::intrusive_ptr<Parameters>;

inline void save(torch::autograd::AutogradContext* ctx, const SharedParameters& parameters) {
  ctx->saved_data["parameters"] = c10::IValue::make_capsule(parameters);
}

inline SharedParameters saved_parameters(torch::autograd::AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<Parameters>(ctx->saved_data["parameters"].toCapsule());
}

inline void check_parameters(const char* op, size_t terms, Floats weight, Floats a, Floats b) {
  TORCH_CHECK_VALUE(weight.size() == terms && a.size() == terms && b.size() == terms, op,
                    ": weight, a and b must have one number for each of the ", terms,
                    " tensors, got ", weight.size(), ", ", a.size(), " and ", b.size());
}

// The gradient that comes to an op's backward: one number, of the dtype and on the device of its
// result.
inline void check_gradient(const char* op, const at::Tensor& grad, const at::Tensor& x) {
  TORCH_CHECK_TYPE(grad.scalar_type() == loss_dtype(x), op, ": grad must have dtype ",
                   toString(loss_dtype(x)), ", got ", toString(grad.scalar_type()));
  TORCH_CHECK_VALUE(grad.device() == x.device(), op, ": grad must be on ", x.device(), ", got ",
                    grad.device());
}

// Cotangents, each like its tensor.
inline void check_cotangents(const char* op, at::TensorList v, at::TensorList x) {
  TORCH_CHECK_VALUE(v.size() == x.size(), op, ": v must have as many tensors as x, ", x.size(),
                    ", got ", v.size());
  for (size_t k = 0; k < x.size(); ++k) {
    TORCH_CHECK_TYPE(v[k].scalar_type() == x[k].scalar_type(), op, ": v[", k,
                     "] must have the dtype of x[", k, "], ", toString(x[k].scalar_type()),
                     ", got ", toString(v[k].scalar_type()));
    TORCH_CHECK_VALUE(v[k].device() == x[k].device() && v[k].sym_sizes() == x[k].sym_sizes(), op,
                      ": v[", k, "] must have the device and shape of x[", k, "], ", x[k].device(),
                      " and ", x[k].sym_sizes(), ", got ", v[k].device(), " and ",
                      v[k].sym_sizes());
  }
}

// Is a graph recorded of what is made from these tensors? Where none is, as in most backward
// passes, a node would only cost time.
inline bool records(at::TensorList x) {
  return at::GradMode::is_enabled() &&
         std::any_of(x.begin(), x.end(), [](const at::Tensor& t) { return t.requires_grad(); });
}

// The op of a name: each order of a family calls the next as an op.
template <class Signature>
auto op(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace ganfast

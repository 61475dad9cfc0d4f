// Autograd of an op that is linear in its first tensor, or affine: its gradient is another such op.
#pragma once

#include <c10/util/FunctionRef.h>
#include <torch/csrc/autograd/custom_function.h>

#include "tensors.h"

namespace ganfast {

struct WithAdjoint : torch::autograd::Function<WithAdjoint> {
  using Context = torch::autograd::AutogradContext;
  // Takes a gradient back, given the constant tensor of the op, with a graph of its own.
  using Adjoint = std::function<Tensor(const Tensor& grad, const Tensor& constant)>;

  struct Held : torch::CustomClassHolder {
    const Adjoint adjoint;
    explicit Held(const Adjoint& adjoint) : adjoint(adjoint) {}
  };

  // What make() returns for x, with a graph.
  static Tensor forward(Context* ctx, const Tensor&, const Tensor& constant, const Adjoint& adjoint,
                        c10::function_ref<Tensor()> make) {
    ctx->save_for_backward({constant});
    ctx->saved_data["adjoint"] = c10::IValue::make_capsule(c10::make_intrusive<Held>(adjoint));
    at::AutoDispatchBelowADInplaceOrView guard;
    return make();
  }

  static variable_list backward(Context* ctx, const variable_list& grad) {
    variable_list grads(4);  // x, constant, adjoint, make
    if (!grad[0].defined()) return grads;
    const auto held =
        c10::static_intrusive_pointer_cast<Held>(ctx->saved_data["adjoint"].toCapsule());
    grads[0] = held->adjoint(grad[0], ctx->get_saved_variables()[0]);
    return grads;
  }
};

// What make() returns for x, with a graph where autograd records what is done with x.
inline Tensor with_adjoint(const Tensor& x, const Tensor& constant,
                           const WithAdjoint::Adjoint& adjoint, c10::function_ref<Tensor()> make) {
  if (at::GradMode::is_enabled() && x.requires_grad())
    return WithAdjoint::apply(x, constant, adjoint, make);
  at::AutoDispatchBelowADInplaceOrView guard;
  return make();
}

}  // namespace ganfast

// Autograd of the families over one list of tensors, whose orders are ops: each calls the next.
#pragma once

#include "terms.h"

namespace ganfast {

// A family has
//   name                         of its first op
//   Of                           what its terms have besides x: Parameters, or what derives from
//   it,
//                                with select(keep) and numbers(), tensors that are constants
//   first(grad, x, of)           the gradients in x
//   second(grad, x, v, of)       the gradient in grad, and those in x, of <first(grad, x, of), v>
template <class Family>
struct ListAutograd {
  using Tensor = at::Tensor;
  using TensorList = at::TensorList;
  using Context = torch::autograd::AutogradContext;
  using variable_list = torch::autograd::variable_list;
  using Shared = c10::intrusive_ptr<typename Family::Of>;

  // Keeps `of` for the backward, and x with `more` in a way that notices later changes.
  static void save(Context* ctx, const Shared& of, TensorList x,
                   std::initializer_list<Tensor> more = {}) {
    ctx->saved_data["of"] = c10::IValue::make_capsule(of);
    variable_list saved = x.vec();
    saved.insert(saved.end(), more);
    for (const Tensor& numbers : of->numbers()) saved.push_back(numbers);
    ctx->save_for_backward(std::move(saved));
  }

  static Shared saved(Context* ctx) {
    return c10::static_intrusive_pointer_cast<typename Family::Of>(
        ctx->saved_data["of"].toCapsule());
  }

  struct Second : torch::autograd::Function<Second> {
    static variable_list forward(Context*, const Tensor& grad, TensorList x, TensorList v,
                                 const Shared& of) {
      at::AutoDispatchBelowADInplaceOrView guard;
      auto [dgrad, dx] = Family::second(grad, x, v, *of);
      dx.insert(dx.begin(), dgrad);
      return dx;
    }

    static variable_list backward(Context*, const variable_list&) {
      TORCH_CHECK_NOT_IMPLEMENTED(false, Family::name,
                                  ": derivatives of the third order are not implemented; use "
                                  "ganfast.reference.",
                                  Family::name);
    }
  };

  struct First : torch::autograd::Function<First> {
    static variable_list forward(Context* ctx, const Tensor& grad, TensorList x, const Shared& of) {
      save(ctx, of, x, {grad});
      ctx->set_materialize_grads(false);
      at::AutoDispatchBelowADInplaceOrView guard;
      return Family::first(grad, x, *of);
    }

    static variable_list backward(Context* ctx, const variable_list& v) {
      const variable_list inputs = ctx->get_saved_variables();
      std::vector<size_t> keep;
      variable_list x, cotangents;
      for (size_t k = 0; k < v.size(); ++k) {
        if (!v[k].defined()) continue;
        keep.push_back(k);
        x.push_back(inputs[k]);
        cotangents.push_back(v[k]);
      }
      variable_list grads(v.size() + 2);  // grad, x..., of
      if (keep.empty()) return grads;
      auto [dgrad, dx] = Family::second(inputs[v.size()], x, cotangents, *saved(ctx)->select(keep));
      grads[0] = dgrad;
      for (size_t i = 0; i < keep.size(); ++i) grads[1 + keep[i]] = dx[i];
      return grads;
    }
  };

  // Of what `make` returns, the first is differentiable.
  template <class Make>
  struct Forward : torch::autograd::Function<Forward<Make>> {
    static variable_list forward(Context* ctx, TensorList x, const Shared& of, const Make& make) {
      save(ctx, of, x);
      ctx->set_materialize_grads(false);  // no zeros for what is not differentiable
      at::AutoDispatchBelowADInplaceOrView guard;
      variable_list made = make();
      ctx->mark_non_differentiable({made.begin() + 1, made.end()});
      return made;
    }

    static variable_list backward(Context* ctx, const variable_list& grad) {
      const variable_list inputs = ctx->get_saved_variables();
      Shared of = saved(ctx);
      const size_t count = of->weight.size();
      std::vector<size_t> keep;
      variable_list x;
      for (size_t k = 0; k < count; ++k) {
        if (!ctx->needs_input_grad(k)) continue;
        keep.push_back(k);
        x.push_back(inputs[k]);
      }
      variable_list grads(count + 2);  // x..., of, make
      if (keep.empty() || !grad[0].defined()) return grads;
      if (keep.size() < count) of = of->select(keep);
      const std::vector<Tensor> dx = Family::first(grad[0], x, *of);
      for (size_t i = 0; i < keep.size(); ++i) grads[keep[i]] = dx[i];
      return grads;
    }
  };

  // What make() returns, with the graph of its first.
  template <class Make>
  static variable_list forward(TensorList x, const Shared& of, const Make& make) {
    return Forward<Make>::apply(x, of, make);
  }

  static variable_list first(const Tensor& grad, TensorList x, const Shared& of) {
    return First::apply(grad, x, of);
  }

  static std::tuple<Tensor, variable_list> second(const Tensor& grad, TensorList x, TensorList v,
                                                  const Shared& of) {
    variable_list made = Second::apply(grad, x, v, of);
    const Tensor dgrad = made.front();
    made.erase(made.begin());
    return {dgrad, std::move(made)};
  }
};

}  // namespace ganfast

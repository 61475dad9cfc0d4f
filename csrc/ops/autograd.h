// Autograd of the list families: an op, its gradients and its second gradients are ops of their
// own, and each calls the next through the dispatcher.
#pragma once

#include <c10/util/FunctionRef.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "dispatch.h"

namespace ganfast {

using torch::autograd::AutogradContext;

// What make() returns, without a graph.
inline variable_list below_autograd(c10::function_ref<variable_list()> make) {
  at::AutoDispatchBelowADInplaceOrView guard;
  return make();
}

// Does autograd record what is done with these tensors? Below it, as in the recomputations of its
// passes, a node would only cost time.
inline bool records(TensorList x) {
  return at::GradMode::is_enabled() &&
         std::any_of(x.begin(), x.end(), [](const Tensor& t) { return t.requires_grad(); });
}

// The inputs x... y... of an op.
inline variable_list joined(TensorList x, TensorList y) {
  variable_list inputs = x.vec();
  inputs.insert(inputs.end(), y.begin(), y.end());
  return inputs;
}

// What owns the memory of an op's argument.
inline std::string owned(std::string_view argument) {
  return std::string(argument);
}
inline std::vector<double> owned(Floats argument) {
  return argument.vec();
}
template <class T>
T owned(const T& argument) {
  return argument;
}

// The part in autograd of a family, whose derivatives take the `Arguments` between their tensors
// and the places. Inputs are the tensors x... y... that have gradients.
template <class Family, class... Arguments>
struct Autograd {
  using FirstOp = variable_list(const Tensor&, TensorList, TensorList, Arguments..., Places);
  using SecondOp = variable_list(const Tensor&, TensorList, TensorList, TensorList, Arguments...,
                                 Places, Places);

  // What a call has besides its inputs. A node of the graph holds it as one value: argument by
  // argument it would cost more than a small kernel.
  struct Call : torch::CustomClassHolder {
    const size_t terms, inputs;  // x..., and with y...
    std::tuple<decltype(owned(std::declval<Arguments>()))...> arguments;

    Call(TensorList x, TensorList y, Arguments... arguments)
        : terms(x.size()), inputs(x.size() + y.size()), arguments(owned(arguments)...) {}

    // The gradients in the inputs at the places `wanted`.
    variable_list first(const Tensor& grad, TensorList x, Places wanted) const {
      static const auto handle = op<FirstOp>(Family::kFirst);
      const auto call = [&](const auto&... argument) {
        return handle.call(grad, x.slice(0, terms), x.slice(terms), argument..., wanted);
      };
      return std::apply(call, arguments);
    }

    // Given cotangents v of the gradients at the places `given`: the gradient of <first, v> in
    // grad, then those in the inputs at the places `wanted`.
    variable_list second(const Tensor& grad, TensorList x, TensorList v, Places given,
                         Places wanted) const {
      static const auto handle = op<SecondOp>(Family::kSecond);
      const auto call = [&](const auto&... argument) {
        return handle.call(grad, x.slice(0, terms), x.slice(terms), v, argument..., given, wanted);
      };
      return std::apply(call, arguments);
    }
  };
  using SharedCall = c10::intrusive_ptr<Call>;

  struct Second : torch::autograd::Function<Second> {
    static variable_list forward(AutogradContext* ctx, const Tensor& grad, TensorList inputs,
                                 TensorList v, const SharedCall& call, Places given,
                                 Places wanted) {
      ctx->saved_data["call"] = c10::IValue::make_capsule(call);
      return below_autograd([&] { return call->second(grad, inputs, v, given, wanted); });
    }

    static variable_list backward(AutogradContext* ctx, const variable_list&) {
      const char* name = std::apply(Family::name, saved_call(ctx)->arguments);
      TORCH_CHECK_NOT_IMPLEMENTED(false, name,
                                  ": derivatives of the third order are not implemented; use "
                                  "ganfast.reference.",
                                  name);
    }
  };

  struct First : torch::autograd::Function<First> {
    static variable_list forward(AutogradContext* ctx, const Tensor& grad, TensorList inputs,
                                 const SharedCall& call, Places wanted) {
      save(ctx, call, inputs, {grad});
      ctx->saved_data["wanted"] = wanted;
      return below_autograd([&] { return call->first(grad, inputs, wanted); });
    }

    static variable_list backward(AutogradContext* ctx, const variable_list& cotangents) {
      const variable_list saved = ctx->get_saved_variables();
      const SharedCall call = saved_call(ctx);
      const size_t count = call->inputs;
      const std::vector<int64_t> places = ctx->saved_data["wanted"].toIntVector();
      std::vector<int64_t> given;
      variable_list v;
      for (size_t i = 0; i < cotangents.size(); ++i) {
        if (!cotangents[i].defined()) continue;
        given.push_back(places[i]);
        v.push_back(cotangents[i]);
      }
      variable_list grads(count + 3);  // grad, inputs..., call, wanted
      if (given.empty()) return grads;
      const std::vector<int64_t> wanted = wanted_places(ctx, 1, count);
      const TensorList inputs(saved.data(), count);
      const variable_list made = call->second(saved[count], inputs, v, given, wanted);
      grads[0] = made[0];
      for (size_t i = 0; i < wanted.size(); ++i) grads[1 + wanted[i]] = made[1 + i];
      return grads;
    }
  };

  struct Forward : torch::autograd::Function<Forward> {
    static variable_list forward(AutogradContext* ctx, TensorList inputs, const SharedCall& call,
                                 c10::function_ref<variable_list()> make) {
      save(ctx, call, inputs);
      variable_list made = below_autograd(make);
      ctx->mark_non_differentiable({made.begin() + 1, made.end()});
      return made;
    }

    static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
      const variable_list saved = ctx->get_saved_variables();
      const SharedCall call = saved_call(ctx);
      const size_t count = call->inputs;
      const std::vector<int64_t> wanted = wanted_places(ctx, 0, count);
      variable_list grads(count + 2);  // inputs..., call, make
      if (wanted.empty() || !grad[0].defined()) return grads;
      const variable_list made = call->first(grad[0], TensorList(saved.data(), count), wanted);
      for (size_t i = 0; i < wanted.size(); ++i) grads[wanted[i]] = made[i];
      return grads;
    }
  };

  static void save(AutogradContext* ctx, const SharedCall& call, TensorList inputs,
                   std::initializer_list<Tensor> more = {}) {
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    ctx->set_materialize_grads(false);  // no zeros for what has no gradient
    variable_list saved = inputs.vec();
    saved.insert(saved.end(), more);
    // Saved with them, so that a change in place is noticed.
    for (const Tensor& constant : std::apply(Family::constants, call->arguments))
      saved.push_back(constant);
    // Autograd saves no tensors that were made in inference mode.
    for (Tensor& x : saved)
      if (x.defined() && x.is_inference()) x = x.clone();
    ctx->save_for_backward(std::move(saved));
  }

  static SharedCall saved_call(AutogradContext* ctx) {
    return c10::static_intrusive_pointer_cast<Call>(ctx->saved_data["call"].toCapsule());
  }

  // The places of the inputs that want a gradient; they start at `first` among a function's inputs.
  static std::vector<int64_t> wanted_places(AutogradContext* ctx, size_t first, size_t count) {
    std::vector<int64_t> wanted;
    for (size_t k = 0; k < count; ++k)
      if (ctx->needs_input_grad(first + k)) wanted.push_back(k);
    return wanted;
  }

  static variable_list backward(const Tensor& grad, TensorList x, TensorList y,
                                Arguments... arguments, Places wanted) {
    const variable_list inputs = joined(x, y);
    const auto call = c10::make_intrusive<Call>(x, y, arguments...);
    if (records(grad) || records(inputs))
      return First::apply(grad, TensorList(inputs), call, wanted);
    return below_autograd([&] { return call->first(grad, inputs, wanted); });
  }

  static variable_list double_backward(const Tensor& grad, TensorList x, TensorList y, TensorList v,
                                       Arguments... arguments, Places given, Places wanted) {
    const auto call = c10::make_intrusive<Call>(x, y, arguments...);
    return Second::apply(grad, TensorList(joined(x, y)), v, call, given, wanted);
  }
};

}  // namespace ganfast

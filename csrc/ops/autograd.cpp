#include "autograd.h"

#include <algorithm>

namespace ganfast {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using Make = c10::function_ref<variable_list()>;

void save(AutogradContext* ctx, const SharedCall& call, TensorList inputs,
          std::initializer_list<Tensor> more = {}) {
  ctx->saved_data["call"] = c10::IValue::make_capsule(call);
  ctx->set_materialize_grads(false);  // no zeros for what has no gradient
  variable_list saved = inputs.vec();
  saved.insert(saved.end(), more);
  for (const Tensor& constant : call->constants()) saved.push_back(constant);
  // Autograd saves no tensors that were made in inference mode.
  for (Tensor& x : saved)
    if (x.defined() && x.is_inference()) x = x.clone();
  ctx->save_for_backward(std::move(saved));
}

SharedCall saved_call(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<ListCall>(ctx->saved_data["call"].toCapsule());
}

// The places of the inputs that want a gradient; they start at `first` among a function's inputs.
std::vector<int64_t> wanted_places(AutogradContext* ctx, size_t first, size_t count) {
  std::vector<int64_t> wanted;
  for (size_t k = 0; k < count; ++k)
    if (ctx->needs_input_grad(first + k)) wanted.push_back(k);
  return wanted;
}

struct Second : Function<Second> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, TensorList inputs,
                               TensorList v, const SharedCall& call, Places given, Places wanted) {
    ctx->saved_data["call"] = c10::IValue::make_capsule(call);
    return below_autograd([&] { return call->second(grad, inputs, v, given, wanted); });
  }

  static variable_list backward(AutogradContext* ctx, const variable_list&) {
    const char* name = saved_call(ctx)->name;
    TORCH_CHECK_NOT_IMPLEMENTED(false, name,
                                ": derivatives of the third order are not implemented; use "
                                "ganfast.reference.",
                                name);
  }
};

struct First : Function<First> {
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

struct Forward : Function<Forward> {
  static variable_list forward(AutogradContext* ctx, TensorList inputs, const SharedCall& call,
                               Make make) {
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
    const TensorList inputs(saved.data(), count);
    const variable_list made = call->first(grad[0], inputs, wanted);
    for (size_t i = 0; i < wanted.size(); ++i) grads[wanted[i]] = made[i];
    return grads;
  }
};

}  // namespace

bool records(TensorList x) {
  return at::GradMode::is_enabled() &&
         std::any_of(x.begin(), x.end(), [](const Tensor& t) { return t.requires_grad(); });
}

variable_list with_graph(TensorList inputs, const SharedCall& call, Make make) {
  return Forward::apply(inputs, call, make);
}

variable_list first_with_graph(const Tensor& grad, TensorList inputs, const SharedCall& call,
                               Places wanted) {
  if (records(grad) || records(inputs)) return First::apply(grad, inputs, call, wanted);
  return below_autograd([&] { return call->first(grad, inputs, wanted); });
}

variable_list second_with_graph(const Tensor& grad, TensorList inputs, TensorList v,
                                const SharedCall& call, Places given, Places wanted) {
  return Second::apply(grad, inputs, v, call, given, wanted);
}

}  // namespace ganfast

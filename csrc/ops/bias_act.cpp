// bias_act: y = clip(gain f(x + b), -clamp, clamp), see math/bias_act.h.
//
// With M the diagonal of dy/dv, the backward maps grad to (M grad, its sums over all but the
// channels), and the double backward maps the cotangents (v, c) of these to M (v + c): each is the
// adjoint of the other. So where f is piecewise linear and M a constant, there are derivatives of
// any order. Else M depends on what is saved, y or x, and the gradient in y goes on by way of the
// backward of the forward.
#include "bias_act.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>

#include "dispatch.h"

namespace ganfast {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using Maybe = std::optional<Tensor>;
using Name = std::string_view;

constexpr Name kNames[] = {"linear", "relu", "lrelu",    "tanh", "sigmoid",
                           "elu",    "selu", "softplus", "swish"};

BiasActParameters parameters_of(Name act, double alpha, double gain, std::optional<double> clamp) {
  const auto* const found = std::find(std::begin(kNames), std::end(kNames), act);
  GANFAST_CHECK("bias_act", found != std::end(kNames) && (!clamp || *clamp >= 0));
  return {static_cast<Activation>(found - kNames), alpha, gain,
          clamp.value_or(std::numeric_limits<double>::quiet_NaN())};
}

void check(const Tensor& x, const Maybe& b, int64_t dim) {
  GANFAST_CHECK("bias_act", is_floating(x));
  if (!b) return;
  GANFAST_CHECK("bias_act", 0 <= dim && dim < x.dim() && is_like(*b, x, x.scalar_type()));
  GANFAST_CHECK("bias_act", b->dim() == 1 && b->sym_size(0) == x.sym_size(dim));
}

BiasActShape shape_of(const Tensor& x, int64_t dim, bool by_channel) {
  const int64_t n = x.numel();
  if (!by_channel || x.size(dim) == 1) return {1, 1, n};
  const int64_t inner = x.stride(dim), channels = x.size(dim);
  return {n / (inner * channels), channels, inner};
}

const void* data(const Maybe& t) {
  return t ? t->const_data_ptr() : nullptr;
}

Maybe contiguous(const Maybe& t) {
  return t ? Maybe(t->contiguous()) : Maybe();
}

Tensor forward(const Tensor& x_, const Maybe& b_, int64_t dim, Name act, double alpha, double gain,
               std::optional<double> clamp) {
  const BiasActParameters parameters = parameters_of(act, alpha, gain, clamp);
  check(x_, b_, dim);
  const Tensor x = dense(x_);
  const Maybe b = contiguous(b_);
  Tensor y = at::empty_like(x);
  if (x.is_meta() || x.numel() == 0) return y;
  const BiasActPass pass{.order = BiasActPass::forward,
                         .saved = x.const_data_ptr(),
                         .b = data(b),
                         .out = y.mutable_data_ptr()};
  GANFAST_RUN(x, bias_act, parameters, dtype_of(x), shape_of(x, dim, b.has_value()), pass);
  return y;
}

variable_list backward(const Tensor& grad_, const Tensor& saved_, const Maybe& b_, int64_t dim,
                       Name act, double alpha, double gain, std::optional<double> clamp,
                       bool bias) {
  const BiasActParameters parameters = parameters_of(act, alpha, gain, clamp);
  check(saved_, b_, dim);
  GANFAST_CHECK("bias_act", are_alike(grad_, saved_));
  const Tensor saved = dense(saved_), grad = dense_like(grad_, saved);
  const Maybe b = contiguous(b_);
  variable_list made{at::empty_like(saved)};
  if (bias) made.push_back(at::empty_symint({saved.sym_size(dim)}, saved.options()));
  if (saved.is_meta()) return made;
  if (saved.numel() == 0) {
    if (bias) made[1].zero_();
    return made;
  }
  const BiasActPass pass{.order = BiasActPass::backward,
                         .grad = grad.const_data_ptr(),
                         .saved = saved.const_data_ptr(),
                         .b = data(b),
                         .out = made[0].mutable_data_ptr(),
                         .sums = bias ? made[1].mutable_data_ptr() : nullptr};
  GANFAST_RUN(saved, bias_act, parameters, dtype_of(saved), shape_of(saved, dim, bias || b), pass);
  return made;
}

variable_list double_backward(const Maybe& grad_, const Tensor& saved_, const Maybe& b_,
                              const Maybe& v_, const Maybe& c_, int64_t dim, Name act, double alpha,
                              double gain, std::optional<double> clamp) {
  const BiasActParameters parameters = parameters_of(act, alpha, gain, clamp);
  check(saved_, b_, dim);
  check(saved_, c_, dim);
  GANFAST_CHECK("bias_act", are_alike(v_.value_or(saved_), saved_));
  GANFAST_CHECK("bias_act", are_alike(grad_.value_or(saved_), saved_));
  const Tensor saved = dense(saved_);
  const Tensor v = v_ ? dense_like(*v_, saved) : at::zeros_like(saved);
  const Maybe b = contiguous(b_), c = contiguous(c_);
  const bool curved = is_curved(parameters.activation) && grad_;
  const Tensor grad = curved ? dense_like(*grad_, saved) : Tensor();
  variable_list made{at::empty_like(saved)};
  if (curved) made.push_back(at::empty_like(saved));
  if (curved && b) made.push_back(at::empty_like(*b));
  if (saved.is_meta()) return made;
  if (saved.numel() == 0) {
    if (curved && b) made[2].zero_();
    return made;
  }
  const BiasActPass pass{.order = BiasActPass::double_backward,
                         .grad = curved ? grad.const_data_ptr() : nullptr,
                         .saved = saved.const_data_ptr(),
                         .v = v.const_data_ptr(),
                         .b = data(b),
                         .c = data(c),
                         .out = made[0].mutable_data_ptr(),
                         .d_saved = curved ? made[1].mutable_data_ptr() : nullptr,
                         .sums = made.size() > 2 ? made[2].mutable_data_ptr() : nullptr};
  GANFAST_RUN(saved, bias_act, parameters, dtype_of(saved), shape_of(saved, dim, b || c), pass);
  return made;
}

// Autograd.

bool records(std::initializer_list<const Maybe*> tensors) {
  if (!at::GradMode::is_enabled()) return false;
  for (const Maybe* t : tensors)
    if (*t && (*t)->requires_grad()) return true;
  return false;
}

// What a call has besides its tensors.
struct Call : torch::CustomClassHolder {
  const int64_t dim;
  const std::string act;
  const double alpha, gain;
  const std::optional<double> clamp;

  Call(int64_t dim, Name act, double alpha, double gain, std::optional<double> clamp)
      : dim(dim), act(act), alpha(alpha), gain(gain), clamp(clamp) {}

  BiasActParameters parameters() const { return parameters_of(act, alpha, gain, clamp); }

  Tensor value(const Tensor& x, const Maybe& b) const {
    static const auto call = op<decltype(ganfast::forward)>("ganfast::bias_act");
    return call.call(x, b, dim, act, alpha, gain, clamp);
  }
  variable_list first(const Tensor& grad, const Tensor& saved, const Maybe& b, bool bias) const {
    static const auto call = op<decltype(backward)>("ganfast::bias_act_backward");
    return call.call(grad, saved, b, dim, act, alpha, gain, clamp, bias);
  }
  variable_list second(const Maybe& grad, const Tensor& saved, const Maybe& b, const Maybe& v,
                       const Maybe& c) const {
    static const auto call = op<decltype(double_backward)>("ganfast::bias_act_double_backward");
    return call.call(grad, saved, b, v, c, dim, act, alpha, gain, clamp);
  }
};
using SharedCall = c10::intrusive_ptr<Call>;

void save(AutogradContext* ctx, const SharedCall& call, variable_list saved) {
  ctx->saved_data["call"] = c10::IValue::make_capsule(call);
  ctx->set_materialize_grads(false);  // no zeros for what has no gradient
  ctx->save_for_backward(std::move(saved));
}

SharedCall saved_call(AutogradContext* ctx) {
  return c10::static_intrusive_pointer_cast<Call>(ctx->saved_data["call"].toCapsule());
}

Maybe maybe(const Tensor& t) {
  return t.defined() ? Maybe(t) : Maybe();
}

struct Second : Function<Second> {
  static variable_list forward(AutogradContext* ctx, const Maybe& grad, const Tensor& saved,
                               const Maybe& b, const Maybe& v, const Maybe& c,
                               const SharedCall& call) {
    save(ctx, call, {saved, b.value_or(Tensor())});
    ctx->saved_data["given"] = int64_t(v.has_value() | c.has_value() << 1);
    at::AutoDispatchBelowADInplaceOrView guard;
    return call->second(grad, saved, b, v, c);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& cotangents) {
    const SharedCall call = saved_call(ctx);
    TORCH_CHECK_NOT_IMPLEMENTED(!is_curved(call->parameters().activation),
                                "bias_act: derivatives of the third order are not implemented for ",
                                call->act, "; use ganfast.reference.bias_act.");
    const variable_list saved = ctx->get_saved_variables();
    variable_list grads(6);  // grad, saved, b, v, c, call
    if (!cotangents[0].defined()) return grads;
    const int64_t given = ctx->saved_data["given"].toInt();
    const variable_list made = call->first(cotangents[0], saved[0], maybe(saved[1]), given & 2);
    if (given & 1) grads[3] = made[0];
    if (given & 2) grads[4] = made[1];
    return grads;
  }
};

struct First : Function<First> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, const Tensor& saved,
                               const Maybe& b, const SharedCall& call, bool bias) {
    const bool curved = is_curved(call->parameters().activation);
    save(ctx, call, {saved, b.value_or(Tensor()), curved ? grad : Tensor()});
    at::AutoDispatchBelowADInplaceOrView guard;
    return call->first(grad, saved, b, bias);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& cotangents) {
    const Tensor v = cotangents[0], c = cotangents.size() > 1 ? cotangents[1] : Tensor();
    variable_list grads(5);  // grad, saved, b, call, bias
    if (!v.defined() && !c.defined()) return grads;
    const variable_list saved = ctx->get_saved_variables();
    const variable_list made =
        saved_call(ctx)->second(maybe(saved[2]), saved[0], maybe(saved[1]), maybe(v), maybe(c));
    std::copy(made.begin(), made.end(), grads.begin());
    return grads;
  }
};

struct Forward : Function<Forward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Maybe& b,
                        const SharedCall& call) {
    Tensor y;
    {
      at::AutoDispatchBelowADInplaceOrView guard;
      y = call->value(x, b);
    }
    const BiasActParameters parameters = call->parameters();
    const bool of_input = from_input(parameters);
    ctx->saved_data["bias"] = b.has_value();
    // A slope of gain everywhere needs nothing: any tensor of the shape will do.
    const bool constant = parameters.activation == Activation::linear && !call->clamp;
    save(ctx, call,
         {constant   ? Tensor()
          : of_input ? x
                     : y,
          of_input ? b.value_or(Tensor()) : Tensor()});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    variable_list grads(3);  // x, b, call
    if (!grad[0].defined()) return grads;
    const bool bias = ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(1);
    const variable_list saved = ctx->get_saved_variables();
    const variable_list made = saved_call(ctx)->first(
        grad[0], saved[0].defined() ? saved[0] : grad[0], maybe(saved[1]), bias);
    std::copy(made.begin(), made.end(), grads.begin());
    return grads;
  }
};

Tensor forward_autograd(const Tensor& x, const Maybe& b, int64_t dim, Name act, double alpha,
                        double gain, std::optional<double> clamp) {
  const auto call = c10::make_intrusive<Call>(dim, act, alpha, gain, clamp);
  const Maybe of_x = x;
  if (records({&of_x, &b})) return Forward::apply(x, b, call);
  at::AutoDispatchBelowADInplaceOrView guard;
  return call->value(x, b);
}

variable_list backward_autograd(const Tensor& grad, const Tensor& saved, const Maybe& b,
                                int64_t dim, Name act, double alpha, double gain,
                                std::optional<double> clamp, bool bias) {
  const auto call = c10::make_intrusive<Call>(dim, act, alpha, gain, clamp);
  const Maybe of_grad = grad, of_saved = saved;
  if (records({&of_grad, &of_saved, &b})) return First::apply(grad, saved, b, call, bias);
  at::AutoDispatchBelowADInplaceOrView guard;
  return call->first(grad, saved, b, bias);
}

variable_list double_backward_autograd(const Maybe& grad, const Tensor& saved, const Maybe& b,
                                       const Maybe& v, const Maybe& c, int64_t dim, Name act,
                                       double alpha, double gain, std::optional<double> clamp) {
  const auto call = c10::make_intrusive<Call>(dim, act, alpha, gain, clamp);
  const Maybe of_saved = saved;
  if (records({&grad, &of_saved, &b, &v, &c})) return Second::apply(grad, saved, b, v, c, call);
  at::AutoDispatchBelowADInplaceOrView guard;
  return call->second(grad, saved, b, v, c);
}

}  // namespace

#define GANFAST_BIAS_ACT_OPS(op)                        \
  op(bias_act, forward) op(bias_act_backward, backward) \
      op(bias_act_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_BIAS_ACT_OPS)

}  // namespace ganfast

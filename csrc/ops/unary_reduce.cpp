// unary_reduce: L = sum_k w_k * mean_i f(x_ki; a_k, b_k), its gradient and its second gradient as
// ops of their own.
#include "unary_reduce.h"

#include "register.h"
#include "terms.h"
#include "unary_functor.h"

namespace ganfast {
namespace {

using at::Tensor;
using at::TensorList;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

UnaryFunctor functor_named(std::string_view name) {
  return unary_functor_named("unary_reduce", name);
}

void check(TensorList x, Floats weight, Floats a, Floats b) {
  check_list("unary_reduce", "x", x);
  check_parameters("unary_reduce", x.size(), weight, a, b);
}

void check_derivative(const Tensor& grad, TensorList x, Floats weight, Floats a, Floats b) {
  check(x, weight, a, b);
  check_gradient("unary_reduce_backward", grad, x[0]);
  TORCH_CHECK_VALUE(grad.sym_numel() == 1,
                    "unary_reduce_backward: grad must be a scalar, got shape ", grad.sym_sizes());
}

// The list as the kernels read it. Holds what had to be copied for as long as the terms are in use.
struct Terms {
  std::vector<Tensor> x, v, dx;
  std::vector<UnaryTerm> terms;

  Terms(TensorList inputs, Floats weight, Floats a, Floats b) {
    const size_t count = inputs.size();
    x.reserve(count);
    terms.reserve(count);
    for (size_t k = 0; k < count; ++k) {
      x.push_back(dense(inputs[k]));
      const int64_t n = x[k].numel();
      terms.push_back({x[k].const_data_ptr(), nullptr, nullptr, n, weight[k] / n, a[k], b[k]});
    }
  }

  void want_gradients() {
    dx.reserve(x.size());
    for (size_t k = 0; k < x.size(); ++k) {
      dx.push_back(at::empty_like(x[k]));
      terms[k].dx = dx[k].mutable_data_ptr();
    }
  }

  void take_second_order(TensorList cotangents) {
    v.reserve(x.size());
    for (size_t k = 0; k < x.size(); ++k) {
      v.push_back(dense_like(cotangents[k], x[k]));
      terms[k].v = v[k].const_data_ptr();
    }
  }
};

Tensor forward(TensorList x, std::string_view f, Floats weight, Floats a, Floats b) {
  check(x, weight, a, b);
  const UnaryFunctor functor = functor_named(f);
  const DType dtype = dtype_of(x[0]);
  Tensor loss = at::empty({}, x[0].options().dtype(loss_dtype(x[0])));
  Terms list(x, weight, a, b);
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch =
        at::empty({cuda::unary_reduce_scratch(list.terms)}, x[0].options().dtype(at::kDouble));
    cuda::unary_reduce_forward(functor, dtype, list.terms, loss.mutable_data_ptr(),
                               scratch.mutable_data_ptr<double>(),
                               c10::cuda::getCurrentCUDAStream());
    return loss;
  }
#endif
  cpu::unary_reduce_forward(functor, dtype, list.terms, loss.mutable_data_ptr());
  return loss;
}

// The scalar loss and the (K, 4) statistics, not filled.
std::tuple<Tensor, Tensor> empty_results(TensorList x) {
  const auto options = x[0].options().dtype(loss_dtype(x[0]));
  return {at::empty({}, options), at::empty({static_cast<int64_t>(x.size()), 4}, options)};
}

std::tuple<Tensor, Tensor> forward_stats(TensorList x, std::string_view f, Floats weight, Floats a,
                                         Floats b, double threshold) {
  check(x, weight, a, b);
  const UnaryFunctor functor = functor_named(f);
  const DType dtype = dtype_of(x[0]);
  auto [loss, stats] = empty_results(x);
  Terms list(x, weight, a, b);
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch = at::empty({cuda::unary_reduce_stats_scratch(list.terms)},
                               x[0].options().dtype(at::kDouble));
    cuda::unary_reduce_forward_stats(functor, dtype, list.terms, threshold, loss.mutable_data_ptr(),
                                     stats.mutable_data_ptr(), scratch.mutable_data_ptr<double>(),
                                     c10::cuda::getCurrentCUDAStream());
    return {loss, stats};
  }
#endif
  cpu::unary_reduce_forward_stats(functor, dtype, list.terms, threshold, loss.mutable_data_ptr(),
                                  stats.mutable_data_ptr());
  return {loss, stats};
}

std::vector<Tensor> backward(const Tensor& grad, TensorList x, std::string_view f, Floats weight,
                             Floats a, Floats b) {
  check_derivative(grad, x, weight, a, b);
  const UnaryFunctor functor = functor_named(f);
  const DType dtype = dtype_of(x[0]);
  Terms list(x, weight, a, b);
  list.want_gradients();
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    cuda::unary_reduce_backward(functor, dtype, list.terms, grad.const_data_ptr(),
                                c10::cuda::getCurrentCUDAStream());
    return std::move(list.dx);
  }
#endif
  cpu::unary_reduce_backward(functor, dtype, list.terms, grad.const_data_ptr());
  return std::move(list.dx);
}

std::tuple<Tensor, std::vector<Tensor>> double_backward(const Tensor& grad, TensorList x,
                                                        TensorList v, std::string_view f,
                                                        Floats weight, Floats a, Floats b) {
  check_derivative(grad, x, weight, a, b);
  check_cotangents("unary_reduce_double_backward", v, x);
  const UnaryFunctor functor = functor_named(f);
  const DType dtype = dtype_of(x[0]);
  Tensor dgrad = at::empty_like(grad);
  Terms list(x, weight, a, b);
  list.want_gradients();
  list.take_second_order(v);
#ifdef GANFAST_CUDA
  if (x[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(x[0].device());
    Tensor scratch =
        at::empty({cuda::unary_reduce_scratch(list.terms)}, x[0].options().dtype(at::kDouble));
    cuda::unary_reduce_double_backward(functor, dtype, list.terms, grad.const_data_ptr(),
                                       dgrad.mutable_data_ptr(), scratch.mutable_data_ptr<double>(),
                                       c10::cuda::getCurrentCUDAStream());
    return {dgrad, std::move(list.dx)};
  }
#endif
  cpu::unary_reduce_double_backward(functor, dtype, list.terms, grad.const_data_ptr(),
                                    dgrad.mutable_data_ptr());
  return {dgrad, std::move(list.dx)};
}

// Shapes alone, for tracing.

Tensor forward_meta(TensorList x, std::string_view f, Floats weight, Floats a, Floats b) {
  check(x, weight, a, b);
  functor_named(f);
  return at::empty({}, x[0].options().dtype(loss_dtype(x[0])));
}

std::tuple<Tensor, Tensor> forward_stats_meta(TensorList x, std::string_view f, Floats weight,
                                              Floats a, Floats b, double) {
  check(x, weight, a, b);
  functor_named(f);
  return empty_results(x);
}

std::vector<Tensor> backward_meta(const Tensor&, TensorList x, std::string_view, Floats, Floats,
                                  Floats) {
  std::vector<Tensor> dx;
  for (const Tensor& xk : x) dx.push_back(at::empty_like(xk));
  return dx;
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_meta(const Tensor& grad, TensorList x,
                                                             TensorList, std::string_view f,
                                                             Floats weight, Floats a, Floats b) {
  return {at::empty_like(grad), backward_meta(grad, x, f, weight, a, b)};
}

// Autograd. Each order calls the next as an op; the parameters of the terms travel as one
// non-tensor argument.

Tensor call_forward(TensorList x, std::string_view f, Floats weight, Floats a, Floats b) {
  static const auto call = op<decltype(forward)>("ganfast::unary_reduce");
  return call.call(x, f, weight, a, b);
}

auto call_forward_stats(TensorList x, const SharedParameters& p, double threshold) {
  static const auto call = op<decltype(forward_stats)>("ganfast::unary_reduce_stats");
  return call.call(x, p->f, p->weight, p->a, p->b, threshold);
}

std::vector<Tensor> call_backward(const Tensor& grad, TensorList x, std::string_view f,
                                  Floats weight, Floats a, Floats b) {
  static const auto call = op<decltype(backward)>("ganfast::unary_reduce_backward");
  return call.call(grad, x, f, weight, a, b);
}

auto call_double_backward(const Tensor& grad, TensorList x, TensorList v,
                          const SharedParameters& p) {
  static const auto call = op<decltype(double_backward)>("ganfast::unary_reduce_double_backward");
  return call.call(grad, x, v, p->f, p->weight, p->a, p->b);
}

struct DoubleBackward : torch::autograd::Function<DoubleBackward> {
  static variable_list forward(AutogradContext*, const Tensor& grad, TensorList x, TensorList v,
                               const SharedParameters& p) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [dgrad, dx] = call_double_backward(grad, x, v, p);
    dx.insert(dx.begin(), dgrad);
    return dx;
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK_NOT_IMPLEMENTED(false,
                                "unary_reduce: derivatives of the third order are not implemented; "
                                "use ganfast.reference.unary_reduce");
  }
};

struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, TensorList x,
                               const SharedParameters& p) {
    save(ctx, p);
    variable_list saved = x.vec();
    saved.push_back(grad);
    ctx->save_for_backward(std::move(saved));
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_backward(grad, x, p->f, p->weight, p->a, p->b);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& v) {
    variable_list saved = ctx->get_saved_variables();
    const Tensor grad = saved.back();
    std::vector<size_t> keep;
    variable_list x, cotangents;
    for (size_t k = 0; k < v.size(); ++k) {
      if (!v[k].defined()) continue;
      keep.push_back(k);
      x.push_back(saved[k]);
      cotangents.push_back(v[k]);
    }
    variable_list grads(v.size() + 2);  // grad, x..., parameters
    if (keep.empty()) return grads;
    auto [dgrad, dx] =
        call_double_backward(grad, x, cotangents, saved_parameters(ctx)->select(keep));
    grads[0] = dgrad;
    for (size_t i = 0; i < keep.size(); ++i) grads[1 + keep[i]] = dx[i];
    return grads;
  }
};

// Gradients for x..., followed by `others` arguments that have none.
variable_list first_order(AutogradContext* ctx, const Tensor& grad, size_t others) {
  const variable_list saved = ctx->get_saved_variables();
  std::vector<size_t> keep;
  variable_list x;
  for (size_t k = 0; k < saved.size(); ++k) {
    if (!ctx->needs_input_grad(k)) continue;
    keep.push_back(k);
    x.push_back(saved[k]);
  }
  variable_list grads(saved.size() + others);
  if (keep.empty() || !grad.defined()) return grads;
  SharedParameters p = saved_parameters(ctx);
  if (keep.size() < saved.size()) p = p->select(keep);
  const std::vector<Tensor> dx = call_backward(grad, x, p->f, p->weight, p->a, p->b);
  for (size_t i = 0; i < keep.size(); ++i) grads[keep[i]] = dx[i];
  return grads;
}

struct Forward : torch::autograd::Function<Forward> {
  static Tensor forward(AutogradContext* ctx, TensorList x, const SharedParameters& p) {
    save(ctx, p);
    ctx->save_for_backward(x.vec());
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward(x, p->f, p->weight, p->a, p->b);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    return first_order(ctx, grad[0], 1);  // parameters
  }
};

struct ForwardStats : torch::autograd::Function<ForwardStats> {
  static variable_list forward(AutogradContext* ctx, TensorList x, const SharedParameters& p,
                               double threshold) {
    save(ctx, p);
    ctx->save_for_backward(x.vec());
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [loss, stats] = call_forward_stats(x, p, threshold);
    ctx->mark_non_differentiable({stats});
    return {loss, stats};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    return first_order(ctx, grad[0], 2);  // parameters, threshold
  }
};

// Where no graph is recorded, as in most backward passes, a node would only cost time.

Tensor forward_autograd(TensorList x, std::string_view f, Floats weight, Floats a, Floats b) {
  if (!at::GradMode::is_enabled()) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward(x, f, weight, a, b);
  }
  return Forward::apply(x, c10::make_intrusive<Parameters>(f, weight, a, b));
}

std::tuple<Tensor, Tensor> forward_stats_autograd(TensorList x, std::string_view f, Floats weight,
                                                  Floats a, Floats b, double threshold) {
  variable_list out =
      ForwardStats::apply(x, c10::make_intrusive<Parameters>(f, weight, a, b), threshold);
  return {out[0], out[1]};
}

std::vector<Tensor> backward_autograd(const Tensor& grad, TensorList x, std::string_view f,
                                      Floats weight, Floats a, Floats b) {
  if (!at::GradMode::is_enabled()) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_backward(grad, x, f, weight, a, b);
  }
  return Backward::apply(grad, x, c10::make_intrusive<Parameters>(f, weight, a, b));
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_autograd(const Tensor& grad, TensorList x,
                                                                 TensorList v, std::string_view f,
                                                                 Floats weight, Floats a,
                                                                 Floats b) {
  variable_list out =
      DoubleBackward::apply(grad, x, v, c10::make_intrusive<Parameters>(f, weight, a, b));
  const Tensor dgrad = out.front();
  out.erase(out.begin());
  return {dgrad, std::move(out)};
}

}  // namespace

#define GANFAST_UNARY_REDUCE_OPS(op)                              \
  op(unary_reduce, forward) op(unary_reduce_stats, forward_stats) \
      op(unary_reduce_backward, backward) op(unary_reduce_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_UNARY_REDUCE_OPS)

}  // namespace ganfast

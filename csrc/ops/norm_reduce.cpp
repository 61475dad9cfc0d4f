// norm_reduce: L = weight * mean_b phi(sum_j g_bj^2; a, b), its gradient and its second gradient as
// ops of their own.
//
// The forward also returns the first two derivatives of L in each squared norm. They are all that
// the other orders need to know of phi.
#include "norm_reduce.h"

#include <ATen/ops/zeros_like.h>

#include "register.h"
#include "terms.h"

namespace ganfast {
namespace {

using at::Tensor;
using at::TensorList;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

NormFunctor phi_named(std::string_view name) {
#define GANFAST_ROW(row, type) \
  if (name == #row) return NormFunctor::row;
  GANFAST_NORM_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
#define GANFAST_ROW(row, type) " " #row
  TORCH_CHECK_VALUE(
      false, "norm_reduce: phi must be one of" GANFAST_NORM_FUNCTORS(GANFAST_ROW) ", got ", name);
#undef GANFAST_ROW
}

void check(TensorList g, bool pixel) {
  check_list("norm_reduce", "g", g);
  TORCH_CHECK_VALUE(g.size() <= kMaxNormTerms, "norm_reduce: g must hold at most ", kMaxNormTerms,
                    " tensors, got ", g.size());
  const int64_t least = pixel ? 2 : 1;
  for (size_t k = 0; k < g.size(); ++k) {
    TORCH_CHECK_VALUE(g[k].dim() >= least, "norm_reduce: g[", k, "] must have at least ", least,
                      " dimensions, ", pixel ? "samples and channels" : "the first of samples",
                      ", got shape ", g[k].sym_sizes());
    const auto shape = g[k].sym_sizes(), first = g[0].sym_sizes();
    TORCH_CHECK_VALUE(shape[0] == first[0] && (!pixel || (shape.size() == first.size() &&
                                                          shape.slice(2) == first.slice(2))),
                      "norm_reduce: g[", k, "] must have the ",
                      pixel ? "shape of g[0] but for the channels, " : "samples of g[0], of shape ",
                      first, ", got shape ", shape);
  }
}

NormFunctor check_phi(std::string_view phi, bool pixel) {
  const NormFunctor functor = phi_named(phi);
  TORCH_CHECK_VALUE(!pixel || functor != NormFunctor::maximum,
                    "norm_reduce: pixel must be False for maximum, which is over samples");
  return functor;
}

// The number of positions: samples, or pixels.
c10::SymInt positions(const Tensor& g, bool pixel) {
  return pixel ? g.sym_numel() / g.sym_size(1) : g.sym_size(0);
}

void check_derivative(const char* op, const Tensor& grad, TensorList g, const Tensor& derivatives,
                      bool pixel) {
  check(g, pixel);
  check_gradient(op, grad, g[0]);
  TORCH_CHECK_VALUE(derivatives.scalar_type() == grad.scalar_type() &&
                        derivatives.device() == grad.device() && derivatives.is_contiguous() &&
                        derivatives.dim() == 2 && derivatives.sym_size(0) == 2 &&
                        derivatives.sym_size(1) == positions(g[0], pixel),
                    op, ": derivatives must be those that norm_reduce returned for g");
}

// The list as the kernels read it. Holds what had to be copied for as long as the terms are in use.
struct Terms {
  std::vector<Tensor> g, v, dg;
  std::vector<NormTerm> terms;
  NormShape shape;

  Terms(TensorList inputs, bool pixel) {
    const Tensor& first = inputs[0];
    shape = {first.size(0), pixel ? first.numel() / first.size(0) / first.size(1) : 1, pixel};
    for (const Tensor& input : inputs) {
      g.push_back(pixel ? input.contiguous() : dense_samples(input));
      const int64_t size = input.numel() / shape.positions();
      terms.push_back({g.back().const_data_ptr(), nullptr, nullptr, size});
    }
  }

  void want_gradients() {
    for (size_t k = 0; k < g.size(); ++k) {
      dg.push_back(at::empty_like(g[k]));
      terms[k].dg = dg[k].mutable_data_ptr();
    }
  }

  void take_second_order(TensorList cotangents) {
    for (size_t k = 0; k < g.size(); ++k) {
      v.push_back(dense_like(cotangents[k], g[k]));
      terms[k].v = v[k].const_data_ptr();
    }
  }
};

std::tuple<Tensor, Tensor> forward(TensorList g, std::string_view phi, double weight, double a,
                                   double b, bool pixel) {
  check(g, pixel);
  const NormPhi function{check_phi(phi, pixel), weight, a, b};
  const DType dtype = dtype_of(g[0]);
  const Terms list(g, pixel);
  const auto options = g[0].options().dtype(loss_dtype(g[0]));
  Tensor loss = at::empty({}, options);
  Tensor derivatives = at::empty({2, list.shape.positions()}, options);
#ifdef GANFAST_CUDA
  if (g[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(g[0].device());
    Tensor scratch =
        at::empty({cuda::norm_reduce_scratch(list.shape, list.terms)}, options.dtype(at::kDouble));
    cuda::norm_reduce_forward(function, dtype, list.shape, list.terms, loss.mutable_data_ptr(),
                              derivatives.mutable_data_ptr(), scratch.mutable_data_ptr<double>(),
                              c10::cuda::getCurrentCUDAStream());
    return {loss, derivatives};
  }
#endif
  cpu::norm_reduce_forward(function, dtype, list.shape, list.terms, loss.mutable_data_ptr(),
                           derivatives.mutable_data_ptr());
  return {loss, derivatives};
}

std::vector<Tensor> backward(const Tensor& grad, TensorList g, const Tensor& derivatives,
                             bool pixel) {
  check_derivative("norm_reduce_backward", grad, g, derivatives, pixel);
  const DType dtype = dtype_of(g[0]);
  Terms list(g, pixel);
  list.want_gradients();
#ifdef GANFAST_CUDA
  if (g[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(g[0].device());
    cuda::norm_reduce_backward(dtype, list.shape, list.terms, grad.const_data_ptr(),
                               derivatives.const_data_ptr(), c10::cuda::getCurrentCUDAStream());
    return std::move(list.dg);
  }
#endif
  cpu::norm_reduce_backward(dtype, list.shape, list.terms, grad.const_data_ptr(),
                            derivatives.const_data_ptr());
  return std::move(list.dg);
}

std::tuple<Tensor, std::vector<Tensor>> double_backward(const Tensor& grad, TensorList g,
                                                        TensorList v, const Tensor& derivatives,
                                                        bool pixel) {
  check_derivative("norm_reduce_double_backward", grad, g, derivatives, pixel);
  check_cotangents("norm_reduce_double_backward", v, g);
  const DType dtype = dtype_of(g[0]);
  Tensor dgrad = at::empty_like(grad);
  Terms list(g, pixel);
  list.want_gradients();
  list.take_second_order(v);
#ifdef GANFAST_CUDA
  if (g[0].is_cuda()) {
    const c10::cuda::CUDAGuard guard(g[0].device());
    Tensor scratch = at::empty({cuda::norm_reduce_scratch(list.shape, list.terms)},
                               grad.options().dtype(at::kDouble));
    cuda::norm_reduce_double_backward(dtype, list.shape, list.terms, grad.const_data_ptr(),
                                      derivatives.const_data_ptr(), dgrad.mutable_data_ptr(),
                                      scratch.mutable_data_ptr<double>(),
                                      c10::cuda::getCurrentCUDAStream());
    return {dgrad, std::move(list.dg)};
  }
#endif
  cpu::norm_reduce_double_backward(dtype, list.shape, list.terms, grad.const_data_ptr(),
                                   derivatives.const_data_ptr(), dgrad.mutable_data_ptr());
  return {dgrad, std::move(list.dg)};
}

// Shapes alone, for tracing.

std::tuple<Tensor, Tensor> forward_meta(TensorList g, std::string_view phi, double, double, double,
                                        bool pixel) {
  check(g, pixel);
  check_phi(phi, pixel);
  const auto options = g[0].options().dtype(loss_dtype(g[0]));
  return {at::empty({}, options), at::empty_symint({2, positions(g[0], pixel)}, options)};
}

std::vector<Tensor> backward_meta(const Tensor&, TensorList g, const Tensor&, bool pixel) {
  std::vector<Tensor> dg;
  for (const Tensor& gk : g)
    dg.push_back(at::empty_like(pixel ? gk.contiguous() : dense_samples(gk)));
  return dg;
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_meta(const Tensor& grad, TensorList g,
                                                             TensorList, const Tensor& derivatives,
                                                             bool pixel) {
  return {at::empty_like(grad), backward_meta(grad, g, derivatives, pixel)};
}

// Autograd. Each order calls the next as an op.

struct DoubleBackward : torch::autograd::Function<DoubleBackward> {
  static variable_list forward(AutogradContext*, const Tensor& grad, TensorList g, TensorList v,
                               const Tensor& derivatives, bool pixel) {
    static const auto call = op<decltype(double_backward)>("ganfast::norm_reduce_double_backward");
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [dgrad, dg] = call.call(grad, g, v, derivatives, pixel);
    dg.insert(dg.begin(), dgrad);
    return dg;
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    TORCH_CHECK_NOT_IMPLEMENTED(false,
                                "norm_reduce: derivatives of the third order are not implemented; "
                                "use ganfast.reference.norm_reduce");
  }
};

struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& grad, TensorList g,
                               const Tensor& derivatives, bool pixel) {
    static const auto call = op<decltype(ganfast::backward)>("ganfast::norm_reduce_backward");
    ctx->saved_data["pixel"] = pixel;
    variable_list saved = g.vec();
    saved.push_back(grad);
    saved.push_back(derivatives);
    ctx->save_for_backward(std::move(saved));
    at::AutoDispatchBelowADInplaceOrView guard;
    return call.call(grad, g, derivatives, pixel);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& cotangents) {
    static const auto call = op<decltype(double_backward)>("ganfast::norm_reduce_double_backward");
    variable_list g = ctx->get_saved_variables();
    const Tensor derivatives = g.back();
    g.pop_back();
    const Tensor grad = g.back();
    g.pop_back();
    variable_list v = cotangents;
    for (size_t k = 0; k < v.size(); ++k) {
      if (!v[k].defined()) v[k] = at::zeros_like(g[k]);
    }
    auto [dgrad, dg] = call.call(grad, g, v, derivatives, ctx->saved_data["pixel"].toBool());
    variable_list grads{dgrad};
    grads.insert(grads.end(), dg.begin(), dg.end());
    grads.resize(g.size() + 3);  // grad, g..., derivatives, pixel
    return grads;
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static variable_list forward(AutogradContext* ctx, TensorList g, std::string_view phi,
                               double weight, double a, double b, bool pixel) {
    static const auto call = op<decltype(ganfast::forward)>("ganfast::norm_reduce");
    Tensor loss, derivatives;
    {
      at::AutoDispatchBelowADInplaceOrView guard;
      std::tie(loss, derivatives) = call.call(g, phi, weight, a, b, pixel);
    }
    ctx->saved_data["pixel"] = pixel;
    variable_list saved = g.vec();
    saved.push_back(derivatives);
    ctx->save_for_backward(std::move(saved));
    ctx->mark_non_differentiable({derivatives});
    ctx->set_materialize_grads(false);  // no zeros for the derivatives
    return {loss, derivatives};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grad) {
    static const auto call = op<decltype(ganfast::backward)>("ganfast::norm_reduce_backward");
    variable_list g = ctx->get_saved_variables();
    const Tensor derivatives = g.back();
    g.pop_back();
    std::vector<size_t> keep;
    variable_list wanted;
    for (size_t k = 0; k < g.size(); ++k) {
      if (!ctx->needs_input_grad(k)) continue;
      keep.push_back(k);
      wanted.push_back(g[k]);
    }
    variable_list grads(g.size() + 5);  // g..., phi, weight, a, b, pixel
    if (keep.empty() || !grad[0].defined()) return grads;
    const auto dg = call.call(grad[0], wanted, derivatives, ctx->saved_data["pixel"].toBool());
    for (size_t i = 0; i < keep.size(); ++i) grads[keep[i]] = dg[i];
    return grads;
  }
};

std::tuple<Tensor, Tensor> forward_autograd(TensorList g, std::string_view phi, double weight,
                                            double a, double b, bool pixel) {
  const variable_list out = Forward::apply(g, phi, weight, a, b, pixel);
  return {out[0], out[1]};
}

std::vector<Tensor> backward_autograd(const Tensor& grad, TensorList g, const Tensor& derivatives,
                                      bool pixel) {
  return Backward::apply(grad, g, derivatives, pixel);
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_autograd(const Tensor& grad, TensorList g,
                                                                 TensorList v,
                                                                 const Tensor& derivatives,
                                                                 bool pixel) {
  variable_list out = DoubleBackward::apply(grad, g, v, derivatives, pixel);
  const Tensor dgrad = out.front();
  out.erase(out.begin());
  return {dgrad, std::move(out)};
}

}  // namespace

#define GANFAST_NORM_REDUCE_OPS(op)                           \
  op(norm_reduce, forward) op(norm_reduce_backward, backward) \
      op(norm_reduce_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_NORM_REDUCE_OPS)

}  // namespace ganfast

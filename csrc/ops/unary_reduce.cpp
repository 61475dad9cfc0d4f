// unary_reduce: L = sum_k w_k * mean_i f(x_ki; a_k, b_k), its gradient and its second gradient as
// ops of their own.
#include "unary_reduce.h"

#include "list_autograd.h"
#include "register.h"
#include "unary_functor.h"

namespace ganfast {
namespace {

using at::Tensor;
using at::TensorList;
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

// Autograd.

Tensor call_forward(TensorList x, std::string_view f, Floats weight, Floats a, Floats b) {
  static const auto call = op<decltype(forward)>("ganfast::unary_reduce");
  return call.call(x, f, weight, a, b);
}

auto call_forward_stats(TensorList x, std::string_view f, Floats weight, Floats a, Floats b,
                        double threshold) {
  static const auto call = op<decltype(forward_stats)>("ganfast::unary_reduce_stats");
  return call.call(x, f, weight, a, b, threshold);
}

std::vector<Tensor> call_backward(const Tensor& grad, TensorList x, std::string_view f,
                                  Floats weight, Floats a, Floats b) {
  static const auto call = op<decltype(backward)>("ganfast::unary_reduce_backward");
  return call.call(grad, x, f, weight, a, b);
}

struct UnaryReduce {
  static constexpr auto name = "unary_reduce";
  using Of = Parameters;

  static std::vector<Tensor> first(const Tensor& grad, TensorList x, const Of& of) {
    return call_backward(grad, x, of.f, of.weight, of.a, of.b);
  }

  static auto second(const Tensor& grad, TensorList x, TensorList v, const Of& of) {
    static const auto call = op<decltype(double_backward)>("ganfast::unary_reduce_double_backward");
    return call.call(grad, x, v, of.f, of.weight, of.a, of.b);
  }
};

using Autograd = ListAutograd<UnaryReduce>;

Tensor forward_autograd(TensorList x, std::string_view f, Floats weight, Floats a, Floats b) {
  if (!records(x)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward(x, f, weight, a, b);
  }
  return Autograd::forward(x, c10::make_intrusive<Parameters>(f, weight, a, b),
                           [&] { return variable_list{call_forward(x, f, weight, a, b)}; })[0];
}

std::tuple<Tensor, Tensor> forward_stats_autograd(TensorList x, std::string_view f, Floats weight,
                                                  Floats a, Floats b, double threshold) {
  if (!records(x)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_forward_stats(x, f, weight, a, b, threshold);
  }
  const variable_list made =
      Autograd::forward(x, c10::make_intrusive<Parameters>(f, weight, a, b), [&] {
        auto [loss, stats] = call_forward_stats(x, f, weight, a, b, threshold);
        return variable_list{loss, stats};
      });
  return {made[0], made[1]};
}

std::vector<Tensor> backward_autograd(const Tensor& grad, TensorList x, std::string_view f,
                                      Floats weight, Floats a, Floats b) {
  if (!records(grad) && !records(x)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return call_backward(grad, x, f, weight, a, b);
  }
  return Autograd::first(grad, x, c10::make_intrusive<Parameters>(f, weight, a, b));
}

std::tuple<Tensor, std::vector<Tensor>> double_backward_autograd(const Tensor& grad, TensorList x,
                                                                 TensorList v, std::string_view f,
                                                                 Floats weight, Floats a,
                                                                 Floats b) {
  return Autograd::second(grad, x, v, c10::make_intrusive<Parameters>(f, weight, a, b));
}

}  // namespace

#define GANFAST_UNARY_REDUCE_OPS(op)                              \
  op(unary_reduce, forward) op(unary_reduce_stats, forward_stats) \
      op(unary_reduce_backward, backward) op(unary_reduce_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_UNARY_REDUCE_OPS)

}  // namespace ganfast

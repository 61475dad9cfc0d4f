// flat: L = sum_k w_k * mean_i f(x_ki - y_ki; a_k, b_k), its gradient and its second gradient.
#include "flat.h"

#include "autograd.h"
#include "tensor_lists.h"

namespace ganfast {
namespace {

constexpr auto kName = "flat";

struct Flat : Lists {
  FlatList list;

  Flat(TensorList xs, TensorList ys, GANFAST_TERMS, bool per_term, bool broadcast = true)
      : Lists(kName, xs, ys, f, weight, a, b) {
    const Subtrahend kind = ys.empty()          ? Subtrahend::none
                            : are_alike(ys, xs) ? Subtrahend::same
                                                : Subtrahend::number;
    for (size_t k = 0; k < xs.size(); ++k) {
      x.push_back(dense(xs[k]));
      if (kind == Subtrahend::same) y.push_back(dense_like(ys[k], x[k]));
      if (kind != Subtrahend::number) continue;
      GANFAST_CHECK(
          kName, broadcast && is_like(ys[k], xs[k], loss_dtype(xs[k])) && ys[k].sym_numel() == 1);
      y.push_back(ys[k]);
    }
    if (xs[0].is_meta()) return;
    make_terms(1, weight, a, b);
    list = {{functor, dtype_of(xs[0]), kind, terms}, per_term};
  }
};

// The scalar, or one number for each term.
Tensor empty_result(TensorList x, bool per_term) {
  const auto options = x[0].options().dtype(loss_dtype(x[0]));
  return per_term ? at::empty({static_cast<int64_t>(x.size())}, options) : at::empty({}, options);
}

variable_list forward(TensorList x, TensorList y, GANFAST_TERMS, bool per_term,
                      std::optional<double> threshold, bool broadcast) {
  const Flat flat(x, y, f, weight, a, b, per_term, broadcast);
  GANFAST_CHECK(kName, !threshold || (y.empty() && !per_term));
  variable_list made{empty_result(x, per_term)};
  if (threshold) made.push_back(at::empty({static_cast<int64_t>(x.size()), 4}, made[0].options()));
  GANFAST_RUN(x[0], flat_forward, flat.list, made[0].mutable_data_ptr(),
              threshold ? made[1].mutable_data_ptr() : nullptr, threshold.value_or(0));
  return made;
}

// The gradient that comes back: a scalar, or one number for each term.
Tensor checked_grad(const Tensor& grad, TensorList x) {
  GANFAST_CHECK(kName, is_like(grad, x[0], loss_dtype(x[0])));
  GANFAST_CHECK(kName, grad.dim() == 0 || (grad.dim() == 1 && grad.sym_size(0) == x.size()));
  return grad.contiguous();
}

variable_list backward(const Tensor& grad_, TensorList x, TensorList y, GANFAST_TERMS,
                       Places wanted) {
  Flat flat(x, y, f, weight, a, b, grad_.dim() == 1);
  const Tensor grad = checked_grad(grad_, x);
  const variable_list gradients = flat.want(wanted);
  GANFAST_RUN(x[0], flat_backward, flat.list, grad.const_data_ptr());
  return gradients;
}

variable_list double_backward(const Tensor& grad_, TensorList x, TensorList y, TensorList v,
                              GANFAST_TERMS, Places given, Places wanted) {
  Flat flat(x, y, f, weight, a, b, grad_.dim() == 1);
  const Tensor grad = checked_grad(grad_, x);
  flat.take(v, given);
  const variable_list made = flat.want(wanted, {empty_result(x, grad.dim() == 1)});
  GANFAST_RUN(x[0], flat_double_backward, flat.list, grad.const_data_ptr(),
              made[0].mutable_data_ptr());
  return made;
}

// Autograd.

struct Family {
  static constexpr const char *kFirst = "ganfast::flat_backward",
                              *kSecond = "ganfast::flat_double_backward";

  static const char* name(GANFAST_TERMS) { return kName; }
  static variable_list constants(GANFAST_TERMS) { return {}; }
};
using OfFlat = Autograd<Family, std::string_view, Floats, Floats, Floats>;

variable_list forward_autograd(TensorList x, TensorList y, GANFAST_TERMS, bool per_term,
                               std::optional<double> threshold, bool broadcast) {
  static const auto handle = op<decltype(forward)>("ganfast::flat");
  const auto make = [&] {
    return handle.call(x, y, f, weight, a, b, per_term, threshold, broadcast);
  };
  if (!records(x) && !records(y)) return below_autograd(make);
  const auto call = c10::make_intrusive<OfFlat::Call>(x, y, f, weight, a, b);
  return OfFlat::Forward::apply(TensorList(joined(x, y)), call, make);
}

constexpr auto backward_autograd = OfFlat::backward;
constexpr auto double_backward_autograd = OfFlat::double_backward;

}  // namespace

#define GANFAST_FLAT_OPS(op) \
  op(flat, forward) op(flat_backward, backward) op(flat_double_backward, double_backward)

GANFAST_REGISTER(GANFAST_FLAT_OPS)

}  // namespace ganfast

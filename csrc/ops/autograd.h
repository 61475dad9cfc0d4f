// Autograd of the list families: an op, its gradients and its second gradients are ops of their
// own, and each calls the next through the dispatcher.
#pragma once

#include <c10/util/FunctionRef.h>
#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"

namespace ganfast {

using OfSamples = c10::List<std::optional<Tensor>>;

// What a call has besides its inputs, the tensors x... y... that have gradients. A node of the
// graph holds it as one value: argument by argument it would cost more than a small kernel.
struct ListCall : torch::CustomClassHolder {
  const char* const name;
  const size_t terms, inputs;  // x..., and with y...

  ListCall(const char* name, TensorList x, TensorList y)
      : name(name), terms(x.size()), inputs(x.size() + y.size()) {}

  // Tensors that count as constants; a change of one in place is noticed.
  virtual variable_list constants() const = 0;
  // The gradients in the inputs at the places `wanted`.
  virtual variable_list first(const Tensor& grad, TensorList inputs, Places wanted) const = 0;
  // Given cotangents v of the gradients at the places `given`: the gradient of <first, v> in grad,
  // then those in the inputs at the places `wanted`.
  virtual variable_list second(const Tensor& grad, TensorList inputs, TensorList v, Places given,
                               Places wanted) const = 0;
};
using SharedCall = c10::intrusive_ptr<ListCall>;

// Does autograd record what is done with these tensors? Below it, as in the recomputations of its
// passes, a node would only cost time.
bool records(TensorList x);

// The inputs x... y... of an op, copied where there are both.
struct Inputs {
  c10::SmallVector<Tensor, 8> held;
  TensorList list;

  Inputs(TensorList x, TensorList y) : list(x) {
    if (y.empty()) return;
    held.append(x.begin(), x.end());
    held.append(y.begin(), y.end());
    list = held;
  }
  Inputs(const Inputs&) = delete;
  operator TensorList() const { return list; }
};

// What make() returns, without a graph.
template <class Make>
variable_list below_autograd(Make make) {
  at::AutoDispatchBelowADInplaceOrView guard;
  return make();
}

// What make() returns, of which the first has a graph.
variable_list with_graph(TensorList inputs, const SharedCall& call,
                         c10::function_ref<variable_list()> make);
// The same for first, where there is anything to record, and for second.
variable_list first_with_graph(const Tensor& grad, TensorList inputs, const SharedCall& call,
                               Places wanted);
variable_list second_with_graph(const Tensor& grad, TensorList inputs, TensorList v,
                                const SharedCall& call, Places given, Places wanted);

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
// and the places.
template <class Family, class... Arguments>
struct Autograd {
  using First = variable_list(const Tensor&, TensorList, TensorList, Arguments..., Places);
  using Second = variable_list(const Tensor&, TensorList, TensorList, TensorList, Arguments...,
                               Places, Places);

  struct Call : ListCall {
    std::tuple<decltype(owned(std::declval<Arguments>()))...> arguments;

    Call(TensorList x, TensorList y, Arguments... arguments)
        : ListCall(Family::name(arguments...), x, y), arguments(owned(arguments)...) {}

    variable_list constants() const override {
      return std::apply([](const auto&... argument) { return Family::constants(argument...); },
                        arguments);
    }

    variable_list first(const Tensor& grad, TensorList inputs, Places wanted) const override {
      static const auto handle = op<First>(Family::kFirst);
      return std::apply(
          [&](const auto&... argument) {
            return handle.call(grad, inputs.slice(0, terms), inputs.slice(terms), argument...,
                               wanted);
          },
          arguments);
    }

    variable_list second(const Tensor& grad, TensorList inputs, TensorList v, Places given,
                         Places wanted) const override {
      static const auto handle = op<Second>(Family::kSecond);
      return std::apply(
          [&](const auto&... argument) {
            return handle.call(grad, inputs.slice(0, terms), inputs.slice(terms), v, argument...,
                               given, wanted);
          },
          arguments);
    }
  };

  static variable_list backward(const Tensor& grad, TensorList x, TensorList y,
                                Arguments... arguments, Places wanted) {
    return first_with_graph(grad, Inputs(x, y), c10::make_intrusive<Call>(x, y, arguments...),
                            wanted);
  }

  static variable_list double_backward(const Tensor& grad, TensorList x, TensorList y, TensorList v,
                                       Arguments... arguments, Places given, Places wanted) {
    return second_with_graph(grad, Inputs(x, y), v, c10::make_intrusive<Call>(x, y, arguments...),
                             given, wanted);
  }
};

}  // namespace ganfast

// Ops as functions of Python. The way through torch.ops boxes each argument by its schema, which
// costs more than a small kernel; from here on, all is the same: the dispatcher, its modes,
// autograd.
#pragma once

#include <pybind11/pybind11.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/autograd/utils/wrap_outputs.h>

#include <span>

#include "dispatch.h"

namespace ganfast::python {

// Subclasses of torch.Tensor, which define what operations mean, are refused; ganfast/ops.py then
// calls the reference.
inline constexpr auto tensor = [](PyObject* object) -> const Tensor& {
  TORCH_CHECK_TYPE(THPVariable_CheckExact(object), "expected a plain tensor, got ",
                   Py_TYPE(object)->tp_name);
  return THPVariable_Unpack(object);
};

inline constexpr auto number = [](PyObject* from) {
  const double held = PyFloat_AsDouble(from);
  if (held == -1 && PyErr_Occurred()) throw python_error();
  return held;
};

// The items of a list or a tuple.
template <class Held, class Take>
Held items(PyObject* sequence, Take take) {
  const auto fast = pybind11::reinterpret_steal<pybind11::object>(
      PySequence_Fast(sequence, "expected a list or a tuple"));
  if (!fast) throw python_error();
  Held held;
  for (PyObject* item :
       std::span(PySequence_Fast_ITEMS(fast.ptr()), PySequence_Fast_GET_SIZE(fast.ptr())))
    held.push_back(take(item));
  return held;
}

// An argument of type T, or what holds it, taken from Python while the interpreter's lock is held.
template <class T>
auto take(PyObject* from) {
  if constexpr (std::is_same_v<T, TensorList>) {
    return items<c10::SmallVector<Tensor, 4>>(from, tensor);
  } else if constexpr (std::is_same_v<T, Floats>) {
    return items<c10::SmallVector<double, 4>>(from, number);
  } else if constexpr (std::is_same_v<T, std::string_view>) {
    Py_ssize_t size;
    const char* held = PyUnicode_AsUTF8AndSize(from, &size);
    if (held == nullptr) throw python_error();
    return std::string_view(held, size);
  } else if constexpr (std::is_same_v<T, std::optional<double>>) {
    return from == Py_None ? std::nullopt : std::optional(number(from));
  } else if constexpr (std::is_same_v<T, bool>) {
    const int held = PyObject_IsTrue(from);
    if (held < 0) throw python_error();
    return held != 0;
  } else {
    return items<std::decay_t<T>>(from, [](PyObject* item) {  // tensors or None
      return item == Py_None ? std::nullopt : std::optional(tensor(item));
    });
  }
}

template <class Signature>
struct Function;

template <class... Types>
struct Function<variable_list(Types...)> {
  using Handle = c10::TypedOperatorHandle<variable_list(Types...)>;

  // One result, or a tuple of several.
  static PyObject* call(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    HANDLE_TH_ERRORS
    TORCH_CHECK_TYPE(count == sizeof...(Types), "expected ", sizeof...(Types), " arguments, got ",
                     count);
    const auto& op = *static_cast<Handle*>(PyCapsule_GetPointer(self, nullptr));
    const variable_list made = [&]<size_t... places>(std::index_sequence<places...>) {
      const auto held = std::tuple{take<Types>(arguments[places])...};
      const pybind11::gil_scoped_release others_may_run;
      return op.call(std::get<places>(held)...);
    }(std::index_sequence_for<Types...>());
    return made.size() == 1 ? THPVariable_Wrap(made[0]) : torch::autograd::utils::wrap(made);
    END_HANDLE_TH_ERRORS
  }
};

// Makes the op `name` of the schema a function of the module, with arguments by position.
template <class Signature>
void define(pybind11::module_& m, const char* name) {
  using Of = Function<Signature>;
  const std::string qualified = std::string("ganfast::") + name;
  // Both live as long as the module: to the end.
  const auto* handle = new typename Of::Handle(op<Signature>(qualified.c_str()));
  auto* definition =
      new PyMethodDef{name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(Of::call)),
                      METH_FASTCALL, nullptr};
  m.add_object(name, pybind11::reinterpret_steal<pybind11::object>(
                         PyCFunction_New(definition, pybind11::capsule(handle).ptr())));
}

}  // namespace ganfast::python

// Ops as functions of Python. The way through torch.ops boxes each argument by its schema, which
// costs more than a small kernel; from here on, all is the same: the dispatcher, its modes,
// autograd.
#pragma once

#include <ATen/core/List.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>

#include "dispatch.h"

namespace ganfast::python {

// The tensor at a place of a list. Subclasses of torch.Tensor, which define what operations mean,
// are refused; ganfast/ops.py then calls the reference.
inline const at::Tensor& tensor(PyObject* object, size_t place) {
  TORCH_CHECK_TYPE(THPVariable_CheckExact(object), "expected a list of plain tensors, got ",
                   Py_TYPE(object)->tp_name, " at ", place);
  return THPVariable_Unpack(object);
}

// Calls body(item) for each item of a list or a tuple.
template <class Body>
void for_each_item(PyObject* sequence, Body body) {
  const auto fast = pybind11::reinterpret_steal<pybind11::object>(
      PySequence_Fast(sequence, "expected a list or a tuple"));
  if (!fast) throw python_error();
  PyObject** const items = PySequence_Fast_ITEMS(fast.ptr());
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(fast.ptr()); ++i) body(items[i]);
}

inline double number(PyObject* from) {
  const double held = PyFloat_AsDouble(from);
  if (held == -1 && PyErr_Occurred()) throw python_error();
  return held;
}

// An argument of type T, or what holds it, taken from Python while the interpreter's lock is held.
template <class T>
auto take(PyObject* from) {
  if constexpr (std::is_same_v<T, at::TensorList>) {
    c10::SmallVector<at::Tensor, 4> held;
    for_each_item(from, [&](PyObject* item) { held.push_back(tensor(item, held.size())); });
    return held;
  } else if constexpr (std::is_same_v<T, Floats>) {
    c10::SmallVector<double, 4> held;
    for_each_item(from, [&](PyObject* item) { held.push_back(number(item)); });
    return held;
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
    std::decay_t<T> held;  // a list of tensors or None
    for_each_item(from, [&](PyObject* item) {
      held.push_back(item == Py_None ? std::nullopt : std::optional(tensor(item, held.size())));
    });
    return held;
  }
}

// One result, or a tuple of several.
inline PyObject* wrap(const std::vector<at::Tensor>& results) {
  if (results.size() == 1) return THPVariable_Wrap(results[0]);
  pybind11::tuple all(results.size());
  for (size_t i = 0; i < results.size(); ++i)
    all[i] = pybind11::reinterpret_steal<pybind11::object>(THPVariable_Wrap(results[i]));
  return all.release().ptr();
}

template <class Signature>
struct Function;

template <class Result, class... Types>
struct Function<Result(Types...)> {
  using Handle = c10::TypedOperatorHandle<Result(Types...)>;

  static PyObject* call(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
    HANDLE_TH_ERRORS
    TORCH_CHECK_TYPE(count == sizeof...(Types), "expected ", sizeof...(Types), " arguments, got ",
                     count);
    return call_with(*static_cast<Handle*>(PyCapsule_GetPointer(self, nullptr)), arguments,
                     std::index_sequence_for<Types...>());
    END_HANDLE_TH_ERRORS
  }

  template <size_t... places>
  static PyObject* call_with(const Handle& op, PyObject* const* arguments,
                             std::index_sequence<places...>) {
    const auto held = std::tuple{take<Types>(arguments[places])...};
    return wrap([&] {
      const pybind11::gil_scoped_release others_may_run;
      return op.call(std::get<places>(held)...);
    }());
  }
};

// Makes the op `name` of the schema a function of the module, with arguments by position.
template <class Signature>
void define(pybind11::module_& m, const char* name) {
  using Of = Function<Signature>;
  const std::string qualified = std::string("ganfast::") + name;
  // Both live as long as the module: to the end.
  auto* handle = new typename Of::Handle(op<Signature>(qualified.c_str()));
  auto* definition =
      new PyMethodDef{name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(Of::call)),
                      METH_FASTCALL, nullptr};
  const auto self =
      pybind11::reinterpret_steal<pybind11::object>(PyCapsule_New(handle, nullptr, nullptr));
  m.add_object(
      name, pybind11::reinterpret_steal<pybind11::object>(PyCFunction_New(definition, self.ptr())));
}

}  // namespace ganfast::python

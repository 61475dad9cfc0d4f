// Functors and phis by the names that the schemas use.
#pragma once

#include <string_view>

#include "../math/functors.h"
#include "../math/phi.h"
#include "tensors.h"

namespace ganfast {

inline Functor functor_named(std::string_view name) {
#define GANFAST_ROW(row, type, differences) \
  if (name == #row) return Functor::row;
  GANFAST_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
#define GANFAST_ROW(row, type, differences) " " #row
  TORCH_CHECK_VALUE(false, "f must be one of" GANFAST_FUNCTORS(GANFAST_ROW) ", got ", name);
#undef GANFAST_ROW
}

inline Phi phi_named(std::string_view name) {
#define GANFAST_ROW(row, type) \
  if (name == #row) return Phi::row;
  GANFAST_PHIS(GANFAST_ROW)
#undef GANFAST_ROW
#define GANFAST_ROW(row, type) " " #row
  TORCH_CHECK_VALUE(false, "phi must be one of" GANFAST_PHIS(GANFAST_ROW) ", got ", name);
#undef GANFAST_ROW
}

}  // namespace ganfast

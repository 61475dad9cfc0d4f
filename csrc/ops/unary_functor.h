// The functors of math/unary_reduce.h by name.
#pragma once

#include <c10/util/Exception.h>

#include <string_view>

#include "../math/unary_reduce.h"

namespace ganfast {

inline UnaryFunctor unary_functor_named(const char* op, std::string_view name) {
#define GANFAST_ROW(row, type) \
  if (name == #row) return UnaryFunctor::row;
  GANFAST_UNARY_FUNCTORS(GANFAST_ROW)
#undef GANFAST_ROW
#define GANFAST_ROW(row, type) " " #row
  TORCH_CHECK_VALUE(false, op, ": f must be one of" GANFAST_UNARY_FUNCTORS(GANFAST_ROW), ", got ",
                    name);
#undef GANFAST_ROW
}

}  // namespace ganfast

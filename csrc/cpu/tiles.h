// Splits the terms of a list into tiles of equal size and runs them on torch's threads.
#pragma once

#include <ATen/Parallel.h>

#include <vector>

#include "../ops/list.h"
#include "sum.h"

namespace ganfast::cpu {

inline int64_t tiles_of(const Term& term) {
  return (term.n + kTile - 1) / kTile;
}

inline int64_t count_tiles(std::span<const Term> terms) {
  int64_t tiles = 0;
  for (const Term& term : terms) tiles += tiles_of(term);
  return tiles;
}

// For each term, the sum of its tiles' numbers, added up in a fixed order.
inline std::vector<double> sums_of_terms(std::span<const Term> terms,
                                         const std::vector<double>& of_tiles) {
  std::vector<double> sums;
  sums.reserve(terms.size());
  const double* next = of_tiles.data();
  for (const Term& term : terms) {
    const int64_t tiles = tiles_of(term);
    sums.push_back(pairwise_sum(next, tiles));
    next += tiles;
  }
  return sums;
}

// For each term, the sum over its tiles of body(term, begin, size, tile), added up in a fixed
// order.
template <class Body>
std::vector<double> sum_terms(std::span<const Term> terms, Body body) {
  int64_t elements = 1;
  for (const Term& term : terms) elements += term.n;
  const int64_t tiles = count_tiles(terms);
  const int64_t grain = std::max(kGrain, kGrain * kTile * tiles / elements);
  std::vector<double> of_tiles(tiles);
  at::parallel_for(0, tiles, grain, [&](int64_t first, int64_t last) {
    int64_t tile = 0;
    for (const Term& term : terms) {
      const int64_t end = tile + tiles_of(term);
      for (int64_t t = std::max(tile, first); t < std::min(end, last); ++t) {
        const int64_t begin = (t - tile) * kTile;
        of_tiles[t] = body(term, begin, std::min(kTile, term.n - begin), t);
      }
      tile = end;
    }
  });
  return sums_of_terms(terms, of_tiles);
}

}  // namespace ganfast::cpu

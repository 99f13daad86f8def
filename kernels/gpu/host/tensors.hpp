// The tensors of a problem as those of a case.

#pragma once

#include <limits>

#include "kernels.hpp"
#include "reference.hpp"

using Shape = std::vector<uint64_t>;

// A tensor that is not there stays null.
inline void put(Case& c, const char* name, const Vec& values, Shape shape) {
    if (!values.empty()) {
        Tensor tensor(DType::F32, Direction::In, std::move(shape));
        std::copy(values.begin(), values.end(), tensor.as<float>());
        c.tensors[name] = tensor;
    }
}

inline void add_out(Case& c, const char* name, Shape shape) {
    c.tensors[name] = Tensor(DType::F32, Direction::Out, std::move(shape));
}

inline Vec take(Case& c, const char* name) {
    Tensor& tensor = c.tensors.at(name);
    return Vec(tensor.as<float>(), tensor.as<float>() + tensor.count());
}

inline void put_lengths(Case& c, const Problem& p) {
    if (!p.lengths.empty()) {
        Tensor lengths(DType::I32, Direction::In, {static_cast<uint64_t>(p.batch_size)});
        std::copy(p.lengths.begin(), p.lengths.end(), lengths.as<int>());
        c.tensors["lengths"] = lengths;
    }
}

// A (B, T, size) tensor with NaN behind the rows' ends: nothing there may be read.
inline Vec behind_the_end(const Problem& p, Vec values, size_t size) {
    for (size_t i = 0; i < values.size(); i++) {
        const int row = static_cast<int>(i / size / p.seq_len);
        if (static_cast<int>(i / size % p.seq_len) >= p.length(row)) {
            values[i] = std::numeric_limits<double>::quiet_NaN();
        }
    }
    return values;
}

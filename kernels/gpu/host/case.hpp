// A launch as data: the kernel's name, and its arguments by their names.
//
// An argument that is not in the case is null (a pointer) or an error (a number). An int
// NAME_offset moves the pointer of NAME by so many numbers: that is how a direction writes its part
// of outputs that both share. Every tensor has
// memory of its own that ends where it ends: AddressSanitizer reports what goes beyond; without it,
// a margin of NaN on both sides does.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#if defined(METAL)
#include "metal_on_cpu.hpp"
#else
#include "cuda_on_cpu.hpp"
#endif

enum class DType : uint8_t { F32 = 0, BF16 = 1, I32 = 2 };
enum class Direction : uint8_t { In = 0, Out = 1, InOut = 2 };

inline size_t bytes_of(DType dtype) { return dtype == DType::BF16 ? 2 : 4; }

class Tensor {
   public:
    DType dtype = DType::F32;
    Direction direction = Direction::In;
    std::vector<uint64_t> shape;

    Tensor() = default;

    // All bits set: NaN in fp32 and bf16.
    Tensor(DType dtype, Direction direction, std::vector<uint64_t> shape)
        : dtype(dtype), direction(direction), shape(std::move(shape)), memory(size() + 2 * MARGIN, 0xff) {}

    size_t count() const {
        size_t count = 1;
        for (uint64_t dim : shape) {
            count *= dim;
        }
        return count;
    }
    size_t size() const { return count() * bytes_of(dtype); }
    unsigned char* data() { return memory.data() + MARGIN; }

    template <typename T>
    T* as() {
        return reinterpret_cast<T*>(data());
    }

    bool is_margin_intact() const {
        for (size_t i = 0; i < MARGIN; i++) {
            if (memory[i] != 0xff || memory[memory.size() - 1 - i] != 0xff) {
                return false;
            }
        }
        return true;
    }

   private:
#if defined(__SANITIZE_ADDRESS__)
    static constexpr size_t MARGIN = 0;
#else
    static constexpr size_t MARGIN = 1024;
#endif
    std::vector<unsigned char> memory;
};

struct Case {
    std::string kernel;
    unsigned grid = 1, block = 32;
    size_t shared_bytes = 0;
    std::map<std::string, int> ints;
    std::map<std::string, float> floats;
    std::map<std::string, Tensor> tensors;

    template <typename T>
    T argument(const std::string& name) {
        if constexpr (std::is_same_v<T, int>) {
            return number(ints, name);
        } else if constexpr (std::is_same_v<T, float>) {
            return number(floats, name);
        } else {
            using Element = std::remove_const_t<std::remove_pointer_t<T>>;
            const auto found = tensors.find(name);
            if (found == tensors.end()) {
                return reinterpret_cast<T>(NOT_GIVEN);
            }
            Tensor& tensor = found->second;
            constexpr DType expected = std::is_same_v<Element, float> ? DType::F32
                                       : std::is_same_v<Element, int> ? DType::I32
                                                                      : DType::BF16;
            if (tensor.dtype != expected) {
                throw std::runtime_error(kernel + ": " + name + " has the wrong dtype");
            }
            if (!std::is_const_v<std::remove_pointer_t<T>> && tensor.direction == Direction::In) {
                throw std::runtime_error(kernel + " writes " + name + ", which is an input");
            }
            const auto offset = ints.find(name + "_offset");
            return tensor.as<Element>() + (offset == ints.end() ? 0 : offset->second);
        }
    }

   private:
    // Metal has no null: whoever reads there without asking `given` ends the program.
#if defined(METAL)
    static constexpr uintptr_t NOT_GIVEN = 64;
#else
    static constexpr uintptr_t NOT_GIVEN = 0;
#endif

    template <typename T>
    T number(const std::map<std::string, T>& numbers, const std::string& name) const {
        const auto found = numbers.find(name);
        if (found == numbers.end()) {
            throw std::runtime_error(kernel + " lacks the number " + name);
        }
        return found->second;
    }
};

using Launcher = std::function<void(Case&)>;

// How many parameters a kernel has behind its arguments: none in CUDA; in Metal the thread's four
// coordinates, before them which arguments are given, and before those shared memory's pointer, which
// is the only one to bytes.
template <typename... Parameters>
constexpr size_t own_parameters() {
#if defined(METAL)
    constexpr bool IS_TILE = (std::is_same_v<Parameters, unsigned char*> || ...);
    constexpr bool HAS_GIVEN = (std::is_same_v<Parameters, const unsigned&> || ...);
    return 4 + HAS_GIVEN + IS_TILE;
#else
    return 0;
#endif
}

// A kernel whose arguments, in order, have the given names (separated by spaces).
template <typename... Parameters>
Launcher by_name(void (*kernel)(Parameters...),
                 const char* names,
                 on_cpu::Schedule schedule = on_cpu::Schedule::OneByOne) {
    std::vector<std::string> list;
    std::istringstream words(names);
    for (std::string word; words >> word;) {
        list.push_back(word);
    }
    constexpr size_t COUNT = sizeof...(Parameters) - own_parameters<Parameters...>();
    if (list.size() != COUNT) {
        throw std::logic_error(std::string("a kernel has not as many arguments as: ") + names);
    }
    return [=](Case& c) {
        [&]<size_t... I>(std::index_sequence<I...>) {
            using All = std::tuple<std::remove_cvref_t<Parameters>...>;
            const auto named = std::make_tuple(c.template argument<std::tuple_element_t<I, All>>(list[I])...);
            // Which of them are there, as a bit each.
            unsigned given = 0;
            ((given |= static_cast<unsigned>(c.tensors.count(list[I])) << I), ...);
            auto own = [&] {
#if defined(METAL)
                const auto coordinates = std::make_tuple(threadIdx.x, blockIdx.x, blockDim.x, gridDim.x);
                const auto all = std::make_tuple(given, static_cast<unsigned char*>(on_cpu::memory()));
                if constexpr (own_parameters<Parameters...>() == 6) {
                    return std::tuple_cat(all, coordinates);
                } else if constexpr (own_parameters<Parameters...>() == 5) {
                    return std::tuple_cat(std::make_tuple(given), coordinates);
                } else {
                    return coordinates;
                }
#else
                return std::make_tuple();
#endif
            };
            on_cpu::launch([&] { std::apply(kernel, std::tuple_cat(named, own())); }, c.grid, c.block,
                           c.shared_bytes, schedule);
        }(std::make_index_sequence<COUNT>{});
    };
}


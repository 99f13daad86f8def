// Runs kernels on the CPU: emulate CASE RESULT, or emulate --serve, which reads cases from stdin until
// it ends and writes a result for each to stdout.
//
// Built by: g++ -std=c++20 -O2 -pthread emulate.cpp -o emulate
//
// The case is a file of little-endian numbers; a string is a u32 length and its bytes:
//
//     "CRNNCASE"  u32 version = 1  string kernel
//     u32 grid  u32 block  u64 bytes of dynamic shared memory
//     u32 count, then of each int:    string name  i32 value
//     u32 count, then of each float:  string name  f32 value
//     u32 count, then of each tensor: string name  u8 dtype (0 f32, 1 bf16, 2 i32)
//         u8 direction (0 in, 1 out, 2 in and out)  u32 rank  u64 dims[rank]
//         data, row-major, unless it is only out
//
// Names are those of the kernel's parameters; a pointer that is not named is null, and an int
// NAME_offset moves the pointer of NAME by so many numbers. Memory of an out
// tensor holds NaN before the launch. The result: "CRNNCASE", version, kernel, then a u32 count and
// the out tensors as above, all with data, sorted by name.
//
// Exit codes: 0 done, 1 failed with a line on stderr, 2 wrong usage.

#include <fstream>
#include <iostream>

#include "kernels.hpp"

namespace {

constexpr char MAGIC[] = "CRNNCASE";
constexpr uint32_t VERSION = 1;
// A file that asks for more is not a case.
constexpr uint64_t LIMIT = 1ull << 32;

class Reader {
   public:
    explicit Reader(std::istream& file) : file(file) {}

    void bytes(void* out, size_t size) {
        if (!file.read(static_cast<char*>(out), static_cast<std::streamsize>(size))) {
            throw std::runtime_error("the case ends too early");
        }
    }

    template <typename T>
    T number() {
        T value;
        bytes(&value, sizeof value);
        return value;
    }

    std::string text() {
        const auto size = number<uint32_t>();
        if (size > 1024) {
            throw std::runtime_error("a name in the case is too long");
        }
        std::string value(size, ' ');
        bytes(value.data(), value.size());
        return value;
    }

   private:
    std::istream& file;
};

Tensor read_tensor(Reader& reader) {
    const auto dtype = reader.number<uint8_t>();
    const auto direction = reader.number<uint8_t>();
    const auto rank = reader.number<uint32_t>();
    if (dtype > 2 || direction > 2 || rank > 8) {
        throw std::runtime_error("a tensor of the case has an unknown dtype, direction or rank");
    }
    std::vector<uint64_t> shape(rank);
    uint64_t count = 1;
    for (uint64_t& dim : shape) {
        dim = reader.number<uint64_t>();
        if (dim > LIMIT || (count *= dim) > LIMIT) {
            throw std::runtime_error("a tensor of the case is too large");
        }
    }
    Tensor tensor(static_cast<DType>(dtype), static_cast<Direction>(direction), shape);
    if (tensor.direction != Direction::Out) {
        reader.bytes(tensor.data(), tensor.size());
    }
    return tensor;
}

Case read_case(std::istream& in, const char* path) {
    Reader reader(in);
    char magic[8];
    reader.bytes(magic, sizeof magic);
    if (std::memcmp(magic, MAGIC, sizeof magic) != 0 || reader.number<uint32_t>() != VERSION) {
        throw std::runtime_error(std::string(path) + " is not a case of version 1");
    }
    Case c;
    c.kernel = reader.text();
    c.grid = reader.number<uint32_t>();
    c.block = reader.number<uint32_t>();
    c.shared_bytes = reader.number<uint64_t>();
    for (auto left = reader.number<uint32_t>(); left > 0; left--) {
        const std::string name = reader.text();
        c.ints[name] = reader.number<int32_t>();
    }
    for (auto left = reader.number<uint32_t>(); left > 0; left--) {
        const std::string name = reader.text();
        c.floats[name] = reader.number<float>();
    }
    for (auto left = reader.number<uint32_t>(); left > 0; left--) {
        const std::string name = reader.text();
        c.tensors[name] = read_tensor(reader);
    }
    return c;
}

// The bytes of shared memory that a case's kernel takes, by the kernels' own formulas; of others than sweeps what the case says.
size_t taken_bytes(const Case& c) {
    if (!c.ints.count("rows") || !c.ints.count("hidden_size")) {
        return c.shared_bytes;
    }
    auto has = [&](const char* part) { return c.kernel.find(part) != std::string::npos; };
    const int units = c.ints.at("hidden_size"), rows = c.ints.at("rows");
    const int gates = has("lstm") ? 4 : has("gru") ? 3 : 1;
    const bool is_backward = has("backward");
    if (!c.ints.count("members")) {
        const int n = gates * units, word_bytes = has("bf16") ? 2 : 4;
        return is_backward ? shared_bytes(word_bytes, units, n, rows, gates > 1, units)
                           : shared_bytes(word_bytes, n, units, rows, gates > 1, units);
    }
#if defined(METAL)
    throw std::runtime_error("Metal has no teams");
#else
    const int members = c.ints.at("members"), group = c.ints.at("group");
    const int width = (units + members - 1) / members;
    const int n = is_backward ? width : gates * width, k = is_backward ? gates * units : units;
    const auto of = has("tf32")   ? team::shared_bytes<team::Tf32>
                    : has("bf16") ? team::shared_bytes<team::Bf16>
                                  : team::shared_bytes<team::Exact>;
    return of(n, k, width, rows, group);
#endif
}

// Runs a case whose launch gives its blocks as much shared memory as the kernel takes.
void run_checked(Case& c) {
    if (const size_t taken = taken_bytes(c); taken != c.shared_bytes) {
        throw std::runtime_error(c.kernel + " takes " + std::to_string(taken) + " bytes of shared memory, and the launch gives " +
                                 std::to_string(c.shared_bytes));
    }
    run(c);
}

template <typename T>
void write(std::ostream& file, T value) {
    file.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void write_text(std::ostream& file, const std::string& value) {
    write(file, static_cast<uint32_t>(value.size()));
    file << value;
}

void write_result(std::ostream& file, const char* path, Case& c) {
    file.write(MAGIC, 8);
    write(file, VERSION);
    write_text(file, c.kernel);
    uint32_t count = 0;
    for (const auto& [name, tensor] : c.tensors) {
        count += tensor.direction != Direction::In;
    }
    write(file, count);
    for (auto& [name, tensor] : c.tensors) {
        if (tensor.direction == Direction::In) {
            continue;
        }
        write_text(file, name);
        write(file, tensor.dtype);
        write(file, tensor.direction);
        write(file, static_cast<uint32_t>(tensor.shape.size()));
        for (uint64_t dim : tensor.shape) {
            write(file, dim);
        }
        file.write(reinterpret_cast<const char*>(tensor.data()),
                   static_cast<std::streamsize>(tensor.size()));
    }
    if (!file.flush()) {
        throw std::runtime_error(std::string("cannot write ") + path);
    }
}

}  // namespace

int main(int count, char** arguments) {
    const bool serves = count == 2 && std::strcmp(arguments[1], "--serve") == 0;
    if (!serves && count != 3) {
        std::fprintf(stderr, "usage: emulate CASE RESULT, or emulate --serve\n");
        return 2;
    }
    try {
        while (serves && std::cin.peek() != EOF) {
            Case c = read_case(std::cin, "stdin");
            run_checked(c);
            write_result(std::cout, "stdout", c);
        }
        if (serves) {
            return 0;
        }
        std::ifstream in(arguments[1], std::ios::binary);
        if (!in) {
            throw std::runtime_error(std::string("cannot open ") + arguments[1]);
        }
        Case c = read_case(in, arguments[1]);
        run_checked(c);
        std::ofstream out(arguments[2], std::ios::binary);
        write_result(out, arguments[2], c);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
    return 0;
}

// Shared memory: one arena, the dynamic part first, then the static arrays with gaps between them. It is filled with
// ones before every block: NaN, and no valid index, so what is read before it is written shows.
#include <cstring>

#include "state.h"

namespace emulator {

constexpr size_t CAPACITY = 228 << 10, GAP = 64;  // bytes of a multiprocessor
alignas(1024) static char arena[CAPACITY + 64 * GAP];
static size_t dynamic_bytes, used, written = sizeof arena;  // bytes up to which a block may have written
struct Array {
    size_t offset, bytes;
};
static std::vector<Array> arrays;

void prepare_shared(size_t bytes) {
    dynamic_bytes = bytes;
}

void poison_shared() {
    memset(arena, 0xff, written);
    arrays.assign(1, {0, dynamic_bytes});
    used = written = dynamic_bytes;
}

void* dynamic_shared() {
    return arena;
}

void* static_shared(Slot& slot, size_t bytes, size_t alignment) {
    if (slot.block != launch.block) {
        const size_t offset = (used + GAP + alignment - 1) / alignment * alignment;
        size_t sum = bytes;
        for (const Array& array : arrays) sum += array.bytes;
        if (sum > launch.settings.shared_limit || offset + bytes > sizeof arena)
            fault("shared memory: the block asks for %zu bytes of %u", sum, launch.settings.shared_limit);
        slot.block = launch.block;
        slot.address = arena + offset;
        arrays.push_back({offset, bytes});
        used = written = offset + bytes;
    }
    return slot.address;
}

bool in_shared(const void* address) {
    return address >= arena && address < arena + sizeof arena;
}

size_t shared_offset(const void* address) {
    return (const char*)address - arena;
}

size_t shared_capacity() {
    return sizeof arena;
}

bool inside_shared_array(size_t offset, size_t bytes) {
    for (const Array& array : arrays) {
        if (offset >= array.offset && offset + bytes <= array.offset + array.bytes) return true;
    }
    return false;
}

}  // namespace emulator

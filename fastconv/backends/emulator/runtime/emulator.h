// What a kernel sees of the emulator: functions of runtime.so, which runs one fibre for each CUDA thread.
//
// A fibre runs until it waits (at a barrier, or for the other lanes of its warp) or ends; blocks run one after another.
// Each function that waits takes the line of its call, which error messages name.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emulator {

[[noreturn]] void fault(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Block.
void barrier(int line);

// Warp.
enum class Shuffle : int { index, exclusive_or };
void sync_warp(unsigned mask, int line);
uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t value, int argument, int width, int line);

// Shared memory. Static arrays get a slot a declaration and instantiation; bytes between them belong to nobody.
struct Slot {
    uint64_t block = 0;
    void* address = nullptr;
};
void* static_shared(Slot& slot, size_t bytes, size_t alignment);
void* dynamic_shared();
template <class Array, class Declaration> inline Array& shared(Declaration) {
    static Slot slot;
    return *(Array*)static_shared(slot, sizeof(Array), alignof(Array));
}

// Twins of the instructions in ptx.cuh.
enum class Matrix : int { tf32, bf16, half };
void matrix_multiply(Matrix kind, float* d, const unsigned* a, const unsigned* b, int line);
void load_matrix(unsigned* registers, const void* row, int count, bool transposed, int line);
void copy_async(void* shared, const void* global, int bytes, int source_bytes, int line);
void copy_async_commit();
void copy_async_wait(int pending);

// Atomics tell the race check that they are ones.
void note_atomic(void* address, size_t bytes, void* code);

struct Index {
    unsigned x, y, z;
};
struct Places {
    Index thread, block, block_size, grid_size;
};
extern Places places;

}  // namespace emulator

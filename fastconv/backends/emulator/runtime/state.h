// State of one launch, shared by the parts of the runtime.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulator.h"

namespace emulator {

constexpr unsigned WARP = 32;
enum class Order : int { forward, reverse, skewed };

// What device.py asks for; the fields stand there in the same order.
struct Settings {
    unsigned grid[3], block[3], shared_bytes, shared_limit;  // the limit is of dynamic and static together
    int order;
    unsigned seed;
    int lazy_copies, checks, seconds;
};

enum class State : uint8_t { ready, at_barrier, at_collective, done };

struct Copy {
    void* shared;
    const void* global;
    int bytes, source_bytes;
};

struct Fibre {
    Index index;
    unsigned thread, lane, warp;
    State state;
    int line;              // where it waits
    const char* waits_for;  // the collective's name
    unsigned mask;
    char* stack;
    void* stack_pointer;
    std::vector<Copy> copies;     // not yet landed
    std::vector<size_t> commits;  // copies.size() at each commit
};

// A collective that some lanes of a warp have come to. The last one computes the results of all.
using Finish = void (*)(void** operands, unsigned lanes);
struct Gathering {
    unsigned mask, arrived;
    const char* name;
    Finish finish;
};
struct Warp {
    unsigned live, exited, priority;
    uint32_t syncs;  // how often __syncwarp has ordered its lanes
    std::vector<Gathering> gatherings;
    void* operands[WARP];
};

struct Launch {
    Settings settings;
    void (*call)(void**);
    void** arguments;
    std::vector<Fibre> fibres;
    std::vector<Warp> warps;
    std::vector<unsigned> ready;
    size_t next;
    unsigned threads, live, waiting, done;
    uint32_t barriers;  // how many this block has passed
    uint64_t block;  // number of the block, over all launches of the process
    uint64_t random;
    Fibre* current;
    bool failed;
    char message[4096];
};
extern Launch launch;

// fibre.cpp
void prepare_stacks(unsigned count);
void prepare_fibre(Fibre& fibre);
void switch_fibre(Fibre* to);  // nullptr: back to the launch
bool on_stack(const void* address);
bool in_guard_page(const void* address);

// scheduler.cpp
void make_ready(unsigned thread);
void wait_and_switch();
void finish_fibre();
void run_block();
uint32_t draw();

// warp.cpp
void collective(unsigned mask, const char* name, void* operands, Finish finish, int line);
void release_lanes(unsigned warp, unsigned lanes);

// copies.cpp
void land_copies(Fibre& fibre, size_t count);

// memory.cpp: the arena of shared memory, filled with a pattern before every block
void prepare_shared(size_t dynamic_bytes);
void poison_shared();
bool in_shared(const void* address);
size_t shared_offset(const void* address);
bool inside_shared_array(size_t offset, size_t bytes);
size_t shared_capacity();

// checks.cpp
enum class Access : int { read, write, atomic };
void begin_checks(const void* code);
void begin_block_checks();
void end_block_checks();
void end_checks();
void check(void* address, size_t bytes, Access kind, const void* code);
// Where the others of a warp read global memory, this thread does not: the counters then match its later accesses with
// theirs.
void note_absent(const void* code);
uintptr_t code_offset(const void* code);

}  // namespace emulator

// Checks of every access of a kernel: races, bounds, alignment; and counters of bank conflicts and sectors.
//
// The kernel is compiled with -fsanitize=thread and linked without its library: the compiler calls __tsan_read4 and its
// like before each access, and these functions are here. A cell stands for some bytes of an array and remembers its last
// writer and two readers, so a race with a third reader of the same interval can be missed.
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <unordered_map>

#include "state.h"

namespace emulator {

struct Visit {
    uint64_t block = 0;
    uint32_t barriers, syncs, thread;
    const void* code;
};
struct Cell {
    Visit writer, reader[2];
    bool atomic = false;
};
struct Region {
    char* base;
    size_t bytes;
    unsigned cell_bytes;
    std::vector<Cell> cells;
};
static std::vector<Region> regions;
static std::vector<Cell> shared_cells;
constexpr unsigned SHARED_CELL = 2;

// Code and constants of the kernel's library.
static const char *code_begin, *code_end;

static int find_library(dl_phdr_info* info, size_t, void* wanted) {
    const char *begin = nullptr, *end = nullptr;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
        const char* segment = (const char*)info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (!begin) begin = (const char*)info->dlpi_addr;
        end = segment + info->dlpi_phdr[i].p_memsz;
    }
    if (wanted < begin || wanted >= end) return 0;
    code_begin = begin;
    code_end = end;
    return 1;
}

uintptr_t code_offset(const void* code) {
    return (const char*)code - code_begin - 1;  // of the call, not of what follows it
}

// Counters.

struct Request {
    uintptr_t address[WARP];
    unsigned lanes, bytes;
    bool shared, write;
};
// A place in the code and the kind of memory: an asynchronous copy is a request to each.
struct Place {
    const void* code;
    bool shared;
    bool operator==(const Place& o) const { return code == o.code && shared == o.shared; }
    bool operator<(const Place& o) const { return code != o.code ? code < o.code : shared < o.shared; }
};
struct RequestKey {
    Place place;
    unsigned warp, repeat;
    bool operator==(const RequestKey& o) const { return place == o.place && warp == o.warp && repeat == o.repeat; }
};
struct RequestHash {
    size_t operator()(const RequestKey& k) const {
        return (((size_t)k.place.code * 2 + k.place.shared) * 31 + k.warp) * 1000003 + k.repeat;
    }
};
// What device.py reads: for each place in the code, requests of warps, and the wavefronts or sectors that they take and
// would take at best.
struct Counter {
    uint64_t code, requests, taken, best;
    uint32_t bytes, shared, write, unused;
};
static std::unordered_map<RequestKey, Request, RequestHash> requests;
static std::unordered_map<RequestKey, unsigned, RequestHash> repeats;
static std::map<Place, Counter> counters;
static std::vector<Counter> counted;
static bool counting;

static unsigned distinct(std::vector<uintptr_t>& values) {
    std::sort(values.begin(), values.end());
    return (unsigned)(std::unique(values.begin(), values.end()) - values.begin());
}

// Wavefronts of a request to shared memory: 32 banks of 4 bytes; accesses of 8 bytes go by half warps, of 16 by
// quarters; lanes that read the same word share it.
static void count_wavefronts(const Request& r, Counter& counter) {
    const unsigned lanes = r.bytes <= 4 ? 32 : r.bytes == 8 ? 16 : 8;
    for (unsigned first = 0; first < WARP; first += lanes) {
        std::vector<uintptr_t> words[32];
        for (unsigned lane = first; lane < first + lanes; ++lane) {
            if (!(r.lanes >> lane & 1)) continue;
            for (uintptr_t word = r.address[lane] / 4; word <= (r.address[lane] + r.bytes - 1) / 4; ++word)
                words[word % 32].push_back(word);
        }
        unsigned most = 0;
        for (auto& bank : words) most = std::max(most, distinct(bank));
        counter.taken += most;
        counter.best += most > 0;
    }
}

// Sectors of 32 bytes of a request to global memory.
static void count_sectors(const Request& r, Counter& counter) {
    std::vector<uintptr_t> sectors, bytes;
    for (unsigned lane = 0; lane < WARP; ++lane) {
        if (!(r.lanes >> lane & 1)) continue;
        bytes.push_back(r.address[lane]);
        for (uintptr_t s = r.address[lane] / 32; s <= (r.address[lane] + r.bytes - 1) / 32; ++s) sectors.push_back(s);
    }
    counter.taken += distinct(sectors);
    counter.best += (distinct(bytes) * r.bytes + 31) / 32;
}

static void count(void* address, size_t bytes, bool shared, bool write, const void* code) {
    const Fibre& me = *launch.current;
    const Place place{code, shared};
    const unsigned repeat = repeats[{place, me.thread, ~0u}]++;
    Request& request = requests[{place, me.warp, repeat}];
    request.address[me.lane] = (uintptr_t)address;
    request.lanes |= 1u << me.lane;
    request.bytes = (unsigned)bytes;
    request.shared = shared;
    request.write = write;
}

void note_absent(const void* code) {
    if (counting) ++repeats[{{code, false}, launch.current->thread, ~0u}];
}

void begin_checks(const void* code) {
    dl_iterate_phdr(find_library, (void*)code);
    if (!launch.settings.checks) return;
    for (Region& region : regions) region.cells.assign(region.bytes / region.cell_bytes + 1, Cell{});
    shared_cells.assign(shared_capacity() / SHARED_CELL, Cell{});
    counters.clear();
}

void begin_block_checks() {
    requests.clear();
    repeats.clear();
}

void end_block_checks() {
    for (const auto& [key, request] : requests) {
        Counter& counter = counters[key.place];
        counter.code = code_offset(key.place.code);
        counter.bytes = request.bytes;
        counter.shared = request.shared;
        counter.write = request.write;
        ++counter.requests;
        if (request.shared)
            count_wavefronts(request, counter);
        else
            count_sectors(request, counter);
    }
}

void end_checks() {
    counted.clear();
    for (const auto& [place, counter] : counters) counted.push_back(counter);
}

// Races.

static bool ordered(const Visit& before, bool shared) {
    if (before.block == 0) return true;
    const Fibre& me = *launch.current;
    if (before.block != launch.block) return shared;  // another block has other shared memory
    if (before.thread == me.thread || before.barriers != launch.barriers) return true;
    return before.thread / WARP == me.warp && before.syncs != launch.warps[me.warp].syncs;
}

struct Name {
    char text[32];
};
static Name name_of(const Region* region) {
    Name name = {"shared memory"};
    if (region) snprintf(name.text, sizeof name.text, "array %td", region - regions.data());
    return name;
}

[[noreturn]] static void race(const char* kind, const Visit& before, const Region* region, size_t offset,
                              const void* code) {
    fault("race: %s, at byte %zu of %s, with thread %u%s; code @%zx and @%zx", kind, offset, name_of(region).text,
          before.thread, before.block == launch.block ? "" : " of another block", code_offset(before.code),
          code_offset(code));
}

// `region` is null for shared memory.
static void visit(Cell& cell, Access kind, const Region* region, size_t offset, const void* code) {
    const bool shared = !region;
    const Fibre& me = *launch.current;
    const Visit now{launch.block, launch.barriers, launch.warps[me.warp].syncs, me.thread, code};
    const bool both_atomic = kind == Access::atomic && cell.atomic;
    if (!both_atomic && !ordered(cell.writer, shared))
        race(kind == Access::read ? "read after write" : "write after write", cell.writer, region, offset, code);
    if (kind == Access::read) {
        const bool again = cell.reader[0].block == now.block && cell.reader[0].thread == now.thread;
        if (!again) cell.reader[1] = cell.reader[0];
        cell.reader[0] = now;
        return;
    }
    for (const Visit& reader : cell.reader) {
        if (!ordered(reader, shared)) race("write after read", reader, region, offset, code);
    }
    cell.writer = now;
    cell.atomic = kind == Access::atomic;
}

[[noreturn]] static void outside(const void* address, size_t bytes, Access kind, const void* code) {
    const char* verb = kind == Access::read ? "read" : "write";
    const Region* nearest = nullptr;
    ptrdiff_t least = 0;
    for (const Region& region : regions) {
        const ptrdiff_t before = region.base - (const char*)address;
        const ptrdiff_t distance = before > 0 ? before : (const char*)address - (region.base + region.bytes);
        if (!nearest || distance < least) nearest = &region, least = distance;
    }
    if (nearest)
        fault("out of bounds: %s of %zu bytes at byte %td of array %td, which has %zu; code @%zx", verb, bytes,
              (const char*)address - nearest->base, nearest - regions.data(), nearest->bytes, code_offset(code));
    fault("out of bounds: %s of %zu bytes at %p; code @%zx", verb, bytes, address, code_offset(code));
}

void check(void* address, size_t bytes, Access kind, const void* code) {
    if (!launch.current || on_stack(address)) return;
    const char* p = (const char*)address;
    if (p >= (const char*)&places && p < (const char*)(&places + 1)) return;
    Region* region = nullptr;
    size_t offset = 0;
    if (in_shared(p)) {
        offset = shared_offset(p);
        if (!inside_shared_array(offset, bytes))
            fault("out of bounds: %s of %zu bytes at byte %zu of shared memory, in no array; code @%zx",
                  kind == Access::read ? "read" : "write", bytes, offset, code_offset(code));
    } else {
        for (Region& each : regions) {
            if (p >= each.base && p + bytes <= each.base + each.bytes) region = &each;
        }
        if (!region) {
            if (p >= code_begin && p < code_end) return;  // constants of the kernel
            outside(address, bytes, kind, code);
        }
        offset = p - region->base;
    }
    if ((uintptr_t)p % (bytes < 16 ? bytes : 16))
        fault("misaligned: access to %zu bytes at byte %zu of %s; code @%zx", bytes, offset, name_of(region).text,
              code_offset(code));
    std::vector<Cell>& cells = region ? region->cells : shared_cells;
    const unsigned cell_bytes = region ? region->cell_bytes : SHARED_CELL;
    for (size_t i = offset / cell_bytes; i <= (offset + bytes - 1) / cell_bytes; ++i)
        visit(cells[i], kind, region, i * cell_bytes, code);
    if (counting && kind != Access::atomic) count(address, bytes, !region, kind == Access::write, code);
}

void note_atomic(void* address, size_t bytes, void* code) {
    if (launch.settings.checks) check(address, bytes, Access::atomic, code);
}

}  // namespace emulator

using emulator::Access;
using emulator::check;
extern "C" {
void emulator_clear_regions() {
    emulator::regions.clear();
}
// `item` is the size of the array's elements: neighbours of one or two bytes may belong to different threads.
void emulator_add_region(void* base, size_t bytes, unsigned item) {
    emulator::regions.push_back({(char*)base, bytes, item < 4 ? item : 4, {}});
}
void emulator_count(int on) {
    emulator::counting = on;
}
size_t emulator_counters(const emulator::Counter** counters) {
    *counters = emulator::counted.data();
    return emulator::counted.size();
}

#define EMULATOR_ACCESS(N)                                                                                            \
    void __tsan_read##N(void* p) { check(p, N, Access::read, __builtin_return_address(0)); }                          \
    void __tsan_write##N(void* p) { check(p, N, Access::write, __builtin_return_address(0)); }                        \
    void __tsan_unaligned_read##N(void* p) { check(p, N, Access::read, __builtin_return_address(0)); }                \
    void __tsan_unaligned_write##N(void* p) { check(p, N, Access::write, __builtin_return_address(0)); }
EMULATOR_ACCESS(1)
EMULATOR_ACCESS(2)
EMULATOR_ACCESS(4)
EMULATOR_ACCESS(8)
EMULATOR_ACCESS(16)
void __tsan_read_range(void* p, size_t n) { check(p, n, Access::read, __builtin_return_address(0)); }
void __tsan_write_range(void* p, size_t n) { check(p, n, Access::write, __builtin_return_address(0)); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}

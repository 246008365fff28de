// Collectives of a warp: each lane leaves the address of its operands, the last one computes for all.
#include <algorithm>
#include <cstring>

#include "state.h"

namespace emulator {

void release_lanes(unsigned warp, unsigned lanes) {
    const bool reverse = launch.settings.order == (int)Order::reverse;
    for (unsigned i = 0; i < WARP; ++i) {
        const unsigned lane = reverse ? WARP - 1 - i : i;
        if (lanes >> lane & 1) make_ready(warp * WARP + lane);
    }
}

// Two calls meet if they name the same lanes and the same operation; they need not stand in the same line, as the
// branches of a condition may both call it.
void collective(unsigned mask, const char* name, void* operands, Finish finish, int line) {
    Fibre* me = launch.current;
    Warp& warp = launch.warps[me->warp];
    if (!(mask >> me->lane & 1))
        fault("%s in line %d: lane %u calls it with lanes %08x, itself not among them", name, line, me->lane, mask);
    if (mask & warp.exited)
        fault("%s in line %d: lanes %08x are named, but %08x of them have ended", name, line, mask, mask & warp.exited);
    warp.operands[me->lane] = operands;
    me->state = State::at_collective;
    me->line = line;
    me->waits_for = name;
    me->mask = mask;
    auto& all = warp.gatherings;
    auto mine = std::find_if(all.begin(), all.end(), [&](auto& g) { return g.mask == mask && g.name == name; });
    if (mine == all.end()) mine = all.insert(mine, Gathering{mask, 0, name, finish});
    mine->arrived |= 1u << me->lane;
    if (mine->arrived == (mask & warp.live)) {
        const Gathering complete = *mine;
        all.erase(mine);
        if (complete.finish) complete.finish(warp.operands, complete.arrived);
        release_lanes(me->warp, complete.arrived);
    }
    wait_and_switch();
}

static const char SYNC[] = "__syncwarp";
static const char* const SHUFFLE[] = {"__shfl_sync", "__shfl_xor_sync"};

void sync_warp(unsigned mask, int line) {
    collective(mask, SYNC, nullptr, [](void**, unsigned) { ++launch.warps[launch.current->warp].syncs; }, line);
}

struct ShuffleOperands {
    uint64_t value, result;
    Shuffle kind;
    int argument, width;
};

static int source_lane(const ShuffleOperands& o, int lane) {
    const int first = lane / o.width * o.width, last = first + o.width - 1;
    if (o.kind == Shuffle::index) return first + (o.argument & (o.width - 1));
    return (lane ^ o.argument) > last ? lane : lane ^ o.argument;
}

uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t value, int argument, int width, int line) {
    ShuffleOperands mine{value, 0, kind, argument, width};
    const Finish finish = [](void** operands, unsigned lanes) {
        for (unsigned lane = 0; lane < WARP; ++lane) {
            if (!(lanes >> lane & 1)) continue;
            auto& o = *(ShuffleOperands*)operands[lane];
            const int source = source_lane(o, lane);
            // The value of a lane that takes no part is undefined: all ones is NaN, and no index.
            o.result = lanes >> source & 1 ? ((ShuffleOperands*)operands[source])->value : ~uint64_t(0);
        }
    };
    collective(mask, SHUFFLE[(int)kind], &mine, finish, line);
    return mine.result;
}

}  // namespace emulator

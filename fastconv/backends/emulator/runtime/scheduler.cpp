// Which thread runs next, barriers of a block, and what is wrong when no thread can run.
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "state.h"

namespace emulator {

Launch launch;
Places places;

uint32_t draw() {  // xorshift (Marsaglia 2003): the orders of a seed are the same everywhere
    launch.random ^= launch.random << 13;
    launch.random ^= launch.random >> 7;
    launch.random ^= launch.random << 17;
    return (uint32_t)(launch.random >> 16);
}

void fault(const char* format, ...) {
    size_t used = 0;
    if (const Fibre* me = launch.current) {
        used = snprintf(launch.message, sizeof launch.message, "block (%u,%u,%u) thread (%u,%u,%u): ", places.block.x,
                        places.block.y, places.block.z, me->index.x, me->index.y, me->index.z);
    }
    va_list values;
    va_start(values, format);
    vsnprintf(launch.message + used, sizeof launch.message - used, format, values);
    va_end(values);
    launch.failed = true;
    switch_fibre(nullptr);  // never resumed
    __builtin_unreachable();
}

void make_ready(unsigned thread) {
    launch.fibres[thread].state = State::ready;
    launch.ready.push_back(thread);
}

// Skewed: the ready thread of the warp with the highest priority, which is drawn anew at each barrier. One warp runs far
// ahead of the others, which is what shows that a buffer is written while others still read it; an order drawn for each
// step shows that almost never.
static Fibre* pick() {
    auto& ready = launch.ready;
    if (launch.next == ready.size()) return nullptr;
    if (launch.settings.order == (int)Order::skewed) {
        size_t best = launch.next;
        for (size_t k = best + 1; k < ready.size(); ++k) {
            if (launch.warps[ready[k] / WARP].priority > launch.warps[ready[best] / WARP].priority) best = k;
        }
        std::swap(ready[best], ready[launch.next]);
    }
    Fibre* chosen = &launch.fibres[ready[launch.next++]];
    if (launch.next == ready.size()) {
        ready.clear();
        launch.next = 0;
    }
    return chosen;
}

static void report_deadlock() {
    char* text = launch.message;
    size_t left = sizeof launch.message, used;
    auto put = [&](const char* format, auto... values) {
        used = snprintf(text, left, format, values...);
        used = used < left ? used : left - 1;
        text += used;
        left -= used;
    };
    put("deadlock in block (%u,%u,%u): no thread can run;", places.block.x, places.block.y, places.block.z);
    std::vector<bool> told(launch.threads);
    for (unsigned first = 0; first < launch.threads; ++first) {
        if (told[first]) continue;
        const Fibre& a = launch.fibres[first];
        unsigned count = 0;
        for (unsigned t = first; t < launch.threads; ++t) {
            const Fibre& b = launch.fibres[t];
            const bool same = a.state == b.state && (a.state == State::done || a.line == b.line) &&
                              (a.state != State::at_collective || (a.waits_for == b.waits_for && a.mask == b.mask));
            if (same) told[t] = true, ++count;
        }
        if (a.state == State::done)
            put(" %u ended (first: thread %u);", count, first);
        else if (a.state == State::at_barrier)
            put(" %u wait at __syncthreads in line %d (first: thread %u);", count, a.line, first);
        else
            put(" %u wait at %s of lanes %08x in line %d (first: thread %u);", count, a.waits_for, a.mask, a.line,
                first);
    }
    launch.failed = true;
}

void wait_and_switch() {
    Fibre* me = launch.current;
    Fibre* next = pick();
    if (next == me) return;
    if (!next && launch.done != launch.threads) report_deadlock();
    switch_fibre(next);
}

static void complete_barrier() {
    const Fibre* first = nullptr;
    for (unsigned t = 0; t < launch.threads; ++t) {
        const Fibre& fibre = launch.fibres[t];
        if (fibre.state != State::at_barrier) continue;
        if (!first) first = &fibre;
        if (fibre.line != first->line)
            fault("__syncthreads: thread %u waits in line %d, thread %u in line %d", first->thread, first->line, t,
                  fibre.line);
    }
    launch.waiting = 0;
    ++launch.barriers;
    if (launch.settings.order == (int)Order::skewed) {
        for (Warp& warp : launch.warps) warp.priority = draw();
    }
    const bool reverse = launch.settings.order == (int)Order::reverse;
    for (unsigned i = 0; i < launch.threads; ++i) {
        const unsigned t = reverse ? launch.threads - 1 - i : i;
        if (launch.fibres[t].state == State::at_barrier) make_ready(t);
    }
}

void barrier(int line) {
    Fibre* me = launch.current;
    me->state = State::at_barrier;
    me->line = line;
    ++launch.waiting;
    if (launch.live != launch.threads)
        fault("__syncthreads in line %d, but %u of %u threads of the block have ended", line,
              launch.threads - launch.live, launch.threads);
    if (launch.waiting == launch.live) complete_barrier();
    wait_and_switch();
}

void finish_fibre() {
    Fibre& me = *launch.current;
    land_copies(me, me.copies.size());
    me.state = State::done;
    ++launch.done;
    --launch.live;
    Warp& warp = launch.warps[me.warp];
    warp.live &= ~(1u << me.lane);
    warp.exited |= 1u << me.lane;
    for (const Gathering& gathering : warp.gatherings) {
        if (gathering.mask >> me.lane & 1)
            fault("lane %u ended while lanes %08x wait for it at %s", me.lane, gathering.arrived, gathering.name);
    }
    if (launch.waiting) {
        for (const Fibre& fibre : launch.fibres) {
            if (fibre.state == State::at_barrier)
                fault("thread ended while %u of %u threads wait at __syncthreads in line %d", launch.waiting,
                      launch.threads, fibre.line);
        }
    }
    wait_and_switch();
}

void run_block() {
    const Settings& s = launch.settings;
    launch.live = launch.threads;
    launch.waiting = launch.done = launch.barriers = 0;
    launch.ready.clear();
    launch.next = 0;
    ++launch.block;
    for (Warp& warp : launch.warps) {
        warp.live = warp.exited = warp.syncs = 0;
        warp.gatherings.clear();
        warp.priority = draw();
    }
    for (unsigned t = 0; t < launch.threads; ++t) {
        Fibre& fibre = launch.fibres[t];
        fibre.thread = t;
        fibre.lane = t % WARP;
        fibre.warp = t / WARP;
        fibre.index = {t % s.block[0], t / s.block[0] % s.block[1], t / (s.block[0] * s.block[1])};
        fibre.state = State::ready;
        fibre.copies.clear();
        fibre.commits.clear();
        launch.warps[fibre.warp].live |= 1u << fibre.lane;
        prepare_fibre(fibre);
    }
    const bool reverse = s.order == (int)Order::reverse;
    for (unsigned i = 0; i < launch.threads; ++i) make_ready(reverse ? launch.threads - 1 - i : i);
    switch_fibre(pick());
}

}  // namespace emulator

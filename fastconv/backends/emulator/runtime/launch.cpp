// A launch: blocks one after another, with the floating-point state of the GPU and a hold on what may go wrong.
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "state.h"

namespace emulator {

static sigjmp_buf escape;
static const int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGRTMAX - 3};
constexpr int CAUGHT = sizeof caught / sizeof *caught;
static struct sigaction earlier[CAUGHT];
alignas(16) static char signal_stack[64 << 10];

static const char* meaning(int number, const void* address) {
    if (number == SIGSEGV && in_guard_page(address)) return "its stack overflows: too large local arrays";
    if (number == SIGSEGV || number == SIGBUS) return "access to an invalid address";
    if (number == SIGFPE) return "integer division by zero";
    if (number == SIGILL || number == SIGTRAP) return "misaligned access, index outside a local array, or bad shift";
    return "it takes too long: a loop that waits for another thread or block?";
}

static void on_signal(int number, siginfo_t* info, void*) {
    if (number >= SIGRTMIN && !launch.call) return;
    const char* text = meaning(number, info->si_addr);
    const bool at_code = number == SIGILL || number == SIGFPE || number == SIGTRAP;
    size_t used = 0;
    if (const Fibre* me = launch.current) {
        used = snprintf(launch.message, sizeof launch.message, "block (%u,%u,%u) thread (%u,%u,%u): ", places.block.x,
                        places.block.y, places.block.z, me->index.x, me->index.y, me->index.z);
    }
    used += snprintf(launch.message + used, sizeof launch.message - used, "%s", text);
    if (at_code)
        snprintf(launch.message + used, sizeof launch.message - used, "; code @%zx",
                 (size_t)code_offset((char*)info->si_addr + 1));
    launch.failed = true;
    siglongjmp(escape, 1);
}

static void catch_signals(stack_t* earlier_stack) {
    stack_t stack = {};
    stack.ss_sp = signal_stack;
    stack.ss_size = sizeof signal_stack;
    sigaltstack(&stack, earlier_stack);
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < CAUGHT; ++i) sigaction(caught[i], &action, &earlier[i]);
}

static void leave_signals(const stack_t* earlier_stack) {
    for (int i = 0; i < CAUGHT; ++i) sigaction(caught[i], &earlier[i], nullptr);
    sigaltstack(earlier_stack, nullptr);
}

// A timer that signals this thread: a kernel that spins never switches.
static bool start_timer(timer_t* timer, int seconds) {
    struct sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGRTMAX - 3;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, timer)) return false;
    struct itimerspec when = {};
    when.it_value.tv_sec = seconds;
    timer_settime(*timer, 0, &when, nullptr);
    return true;
}

static void run_blocks() {
    const Settings& s = launch.settings;
    const uint64_t blocks = (uint64_t)s.grid[0] * s.grid[1] * s.grid[2];
    for (uint64_t i = 0; i < blocks && !launch.failed; ++i) {
        const uint64_t b = s.order == (int)Order::reverse ? blocks - 1 - i : i;
        places.block = {(unsigned)(b % s.grid[0]), (unsigned)(b / s.grid[0] % s.grid[1]),
                        (unsigned)(b / s.grid[0] / s.grid[1])};
        poison_shared();
        if (s.checks) begin_block_checks();
        run_block();
        if (s.checks && !launch.failed) end_block_checks();
    }
}

static void run(const void* code) {
    const Settings& s = launch.settings;
    launch.threads = s.block[0] * s.block[1] * s.block[2];
    launch.random = 0x9E3779B97F4A7C15ull ^ s.seed;
    launch.fibres.resize(launch.threads);
    launch.warps.resize((launch.threads + WARP - 1) / WARP);
    places.block_size = {s.block[0], s.block[1], s.block[2]};
    places.grid_size = {s.grid[0], s.grid[1], s.grid[2]};
    prepare_stacks(launch.threads);
    prepare_shared(s.shared_bytes);
    begin_checks(code);
    stack_t earlier_stack;
    timer_t timer;
    catch_signals(&earlier_stack);
    const bool timed = start_timer(&timer, s.seconds);
#if defined(__x86_64__)
    const unsigned state = _mm_getcsr();
#endif
    if (!sigsetjmp(escape, 1)) {
#if defined(__x86_64__)
        _mm_setcsr(0x1f80 | 0x8040);  // exceptions masked; subnormals flushed, as CuPy's -ftz=true asks for
#endif
        run_blocks();
    }
#if defined(__x86_64__)
    _mm_setcsr(state);
#endif
    launch.current = nullptr;
    if (timed) timer_delete(timer);
    leave_signals(&earlier_stack);
    if (s.checks) end_checks();
}

}  // namespace emulator

extern "C" {
// Runs one launch; 0 if all went well. One at a time: the caller holds a lock.
int emulator_run(const emulator::Settings* settings, void (*call)(void**), void** arguments) {
    using emulator::launch;
    launch.settings = *settings;
    launch.call = call;
    launch.arguments = arguments;
    launch.current = nullptr;
    launch.failed = false;
    launch.message[0] = 0;
    emulator::run((const void*)call);
    launch.call = nullptr;
    return launch.failed;
}
const char* emulator_message() {
    return emulator::launch.message;
}
}

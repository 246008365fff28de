// Fibres: a stack each, and a switch from one to another.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "state.h"
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulator {

// A kernel needs a few kilobytes when optimised; the check build keeps more on the stack. The lowest page is a guard.
constexpr size_t STACK_BYTES = 256 << 10;
static char* stacks;
static unsigned stack_count;

void prepare_stacks(unsigned count) {
    if (count <= stack_count) return;
    if (stacks) munmap(stacks, stack_count * STACK_BYTES);
    stacks = (char*)mmap(nullptr, count * STACK_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) {
        stacks = nullptr;
        stack_count = 0;
        abort();
    }
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (unsigned i = 0; i < count; ++i) mprotect(stacks + i * STACK_BYTES, page, PROT_NONE);
    stack_count = count;
}

bool on_stack(const void* address) {
    return address >= stacks && address < stacks + stack_count * STACK_BYTES;
}

bool in_guard_page(const void* address) {
    return on_stack(address) && ((const char*)address - stacks) % STACK_BYTES < (size_t)sysconf(_SC_PAGESIZE);
}

static void body() {
    for (;;) {
        launch.call(launch.arguments);
        finish_fibre();
    }
}

#if defined(__x86_64__)
// Saves what the System V ABI asks a function to keep, and goes on where `to` was saved. Twenty instructions: a tenth of
// the time of swapcontext, which calls the system for the signal mask.
extern "C" void emulator_switch(void** from, void* to) __attribute__((visibility("hidden")));
asm(R"(
.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch,@function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch,.-emulator_switch
)");
static void* launch_stack_pointer;

void prepare_fibre(Fibre& fibre) {
    fibre.stack = stacks + fibre.thread * STACK_BYTES;
    void** top = (void**)(fibre.stack + STACK_BYTES);
    *--top = nullptr;  // where body() would return to; the ABI wants 8 bytes above a 16-byte boundary at its entry
    *--top = (void*)body;
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fibre.stack_pointer = top;
}

void switch_fibre(Fibre* to) {
    Fibre* from = launch.current;
    launch.current = to;
    if (to) places.thread = to->index;
    emulator_switch(from ? &from->stack_pointer : &launch_stack_pointer, to ? to->stack_pointer : launch_stack_pointer);
    asm volatile("" ::: "memory");
}
#else
static ucontext_t launch_context;
static std::vector<ucontext_t> contexts;

void prepare_fibre(Fibre& fibre) {
    fibre.stack = stacks + fibre.thread * STACK_BYTES;
    if (contexts.size() < stack_count) contexts.resize(stack_count);
    ucontext_t& context = contexts[fibre.thread];
    getcontext(&context);
    context.uc_stack.ss_sp = fibre.stack;
    context.uc_stack.ss_size = STACK_BYTES;
    context.uc_link = nullptr;
    makecontext(&context, body, 0);
    fibre.stack_pointer = &context;
}

void switch_fibre(Fibre* to) {
    Fibre* from = launch.current;
    launch.current = to;
    if (to) places.thread = to->index;
    swapcontext(from ? (ucontext_t*)from->stack_pointer : &launch_context,
                to ? (ucontext_t*)to->stack_pointer : &launch_context);
    asm volatile("" ::: "memory");
}
#endif

}  // namespace emulator

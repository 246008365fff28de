// cp.async: a copy that lands at once or as late as it may. The hardware may do either, and each shows other mistakes:
// late, a wait that is missing or too short; at once, a buffer that is written while others still read it.
#include <cstring>

#include "state.h"

namespace emulator {

static void land(const Copy& copy) {
    memcpy(copy.shared, copy.global, copy.source_bytes);
    memset((char*)copy.shared + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
}

void copy_async(void* shared, const void* global, int bytes, int source_bytes, int line) {
    if ((uintptr_t)shared % bytes || (source_bytes && (uintptr_t)global % bytes))
        fault("cp.async in line %d: %d bytes from %p to %p, not aligned to as many", line, bytes, global, shared);
    if (!in_shared(shared)) fault("cp.async in line %d: the target %p is not in shared memory", line, shared);
    if (launch.settings.checks) {
        const void* code = __builtin_return_address(0);
        if (source_bytes)
            check((void*)global, source_bytes, Access::read, code);
        else
            note_absent(code);
        check(shared, bytes, Access::write, code);
    }
    const Copy copy{shared, global, bytes, source_bytes};
    if (launch.settings.lazy_copies)
        launch.current->copies.push_back(copy);
    else
        land(copy);
}

void copy_async_commit() {
    launch.current->commits.push_back(launch.current->copies.size());
}

void land_copies(Fibre& fibre, size_t count) {
    for (size_t i = 0; i < count; ++i) land(fibre.copies[i]);
    fibre.copies.erase(fibre.copies.begin(), fibre.copies.begin() + count);
}

void copy_async_wait(int pending) {
    Fibre& me = *launch.current;
    if (me.commits.size() <= (size_t)pending) return;
    const size_t groups = me.commits.size() - pending, count = me.commits[groups - 1];
    land_copies(me, count);
    me.commits.erase(me.commits.begin(), me.commits.begin() + groups);
    for (size_t& commit : me.commits) commit -= count;
}

}  // namespace emulator

// Counts the allocations of the calling thread, for tests that promise none.
//
// Linking this target replaces malloc and its relatives by glibc's own behind a counter. Under a
// sanitizer, which replaces them itself, the counter stays 0 and ag_is_counting says so.
#ifndef CALLOCGATE_H
#define CALLOCGATE_H

#include <stdbool.h>
#include <stdint.h>

// Allocations of this thread since it started.
uint64_t ag_allocations(void);

// False when a sanitizer owns the allocator.
bool ag_is_counting(void);

#endif

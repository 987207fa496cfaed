// Executes CUDA kernels on a CPU, from their own source: what csrc/cuda/runtime.h includes instead of the CUDA runtime.
//
// Operations of a warp make its lanes meet, but order no memory, as on a GPU: ThreadSanitizer sees only barriers.
// A call of a barrier or an atomic can be mutated: the barrier is not waited for, the atomic reads, lets others run,
// and writes. Shared memory has its exact size and holds rubbish at first.
#pragma once

#include <math.h>

#include "threads_on_cpu.h"

namespace emulation {

// Gives a value to the warp and returns what each lane gave. Lanes cannot be two exchanges apart, so two sets do.
inline const uint64_t* exchange(uint64_t mine) {
  Warp& warp = current->block->warps[current->index.x / 32];
  uint64_t* slots = warp.slots[current->exchanges % 2];
  const uint64_t lane = current->index.x % 32, when_all_gave = 32 * static_cast<uint64_t>(++current->exchanges);
#ifdef DISSECT_EMULATE_THREADS
  thread_local uint64_t given[32];
  __atomic_store_n(slots + lane, mine, __ATOMIC_RELAXED);
  __atomic_fetch_add(&warp.given, 1, __ATOMIC_RELAXED);
  while (__atomic_load_n(&warp.given, __ATOMIC_RELAXED) < when_all_gave) let_others_run();
  for (int i = 0; i < 32; ++i) given[i] = __atomic_load_n(slots + i, __ATOMIC_RELAXED);
  return given;
#else
  slots[lane] = mine;
  (void)when_all_gave;
  warp.meeting.wait();
  return slots;
#endif
}

inline unsigned ballot(bool mine) {
  const uint64_t* all = exchange(mine);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; ++lane) bits |= static_cast<unsigned>(all[lane]) << lane;
  return bits;
}

template <typename T>
T value_of_lane(T mine, int lane) {
  uint64_t bits = 0;
  memcpy(&bits, &mine, sizeof mine);
  T value;
  memcpy(&value, &exchange(bits)[lane % 32], sizeof value);
  return value;
}

inline int sum_of_lanes(int mine) {
  const uint64_t* all = exchange(static_cast<uint64_t>(mine));
  int sum = 0;
  for (int lane = 0; lane < 32; ++lane) sum += static_cast<int>(all[lane]);
  return sum;
}

inline unsigned or_of_lanes(unsigned mine) {
  const uint64_t* all = exchange(mine);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; ++lane) bits |= static_cast<unsigned>(all[lane]);
  return bits;
}

// A lane before which no other lies at that distance gets its own.
template <typename T>
T value_of_lane_before(T mine, int distance) {
  const int lane = static_cast<int>(current->index.x) % 32;
  return value_of_lane(mine, lane < distance ? lane : lane - distance);
}

inline void barrier(const char* file, int line) {
  if (!is_mutated(file, line)) current->block->barrier.wait();
}

inline void warp_barrier(const char* file, int line) {
  if (!is_mutated(file, line)) current->block->warps[current->index.x / 32].meeting.wait();
}

template <typename T>
T atomic_add(const char* file, int line, T* place, T more) {
  if (!is_mutated(file, line)) return __atomic_fetch_add(place, more, __ATOMIC_RELAXED);
  const T old = *place;
  let_others_run();
  *place = old + more;
  return old;
}

// Stores what `choose` makes of what is there and `value`; returns what was there.
template <typename T, typename Choose>
T atomic_choose(const char* file, int line, T* place, T value, const Choose& choose) {
  if (is_mutated(file, line)) {
    const T old = *place;
    let_others_run();
    *place = choose(old, value);
    return old;
  }
  T old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(place, &old, choose(old, value), true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <typename T>
T atomic_max(const char* file, int line, T* place, T value) {
  return atomic_choose(file, line, place, value, [](T a, T b) { return a > b ? a : b; });
}
template <typename T>
T atomic_min(const char* file, int line, T* place, T value) {
  return atomic_choose(file, line, place, value, [](T a, T b) { return a < b ? a : b; });
}

inline void atomic_exchange(const char* file, int line, int* place, int value) {
  if (is_mutated(file, line)) *place = value;
  else __atomic_exchange_n(place, value, __ATOMIC_RELAXED);
}

}  // namespace emulation

extern "C" {
__attribute__((used, visibility("default"))) inline void emulation_mutate(const char* file, int line) {
  emulation::settings.mutant_file = file;
  emulation::settings.mutant_line = line;
}
__attribute__((used, visibility("default"))) inline void emulation_configure(int schedule, int resident,
                                                                             int multiprocessors, int error,
                                                                             int threads) {
  emulation::settings.schedule = schedule;
  emulation::settings.resident = resident;
  emulation::settings.multiprocessors = multiprocessors;
  emulation::settings.error = error;
  emulation::settings.threads = threads;
  emulation::settings.warps = threads / 32;
}
}

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define DISSECT_SHARED_MEMORY(name) unsigned char* name = emulation::current->block->shared
#define threadIdx (emulation::current->index)
#define blockIdx (emulation::current->block->index)
#define gridDim (emulation::current->grid)
#define __syncthreads() emulation::barrier(__FILE__, __LINE__)
#define __syncwarp() emulation::warp_barrier(__FILE__, __LINE__)
#define atomicAdd(...) emulation::atomic_add(__FILE__, __LINE__, __VA_ARGS__)
#define atomicMax(...) emulation::atomic_max(__FILE__, __LINE__, __VA_ARGS__)
#define atomicMin(...) emulation::atomic_min(__FILE__, __LINE__, __VA_ARGS__)
#define atomicExch(...) emulation::atomic_exchange(__FILE__, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, value) emulation::ballot(value)
#define __any_sync(mask, value) (emulation::ballot(value) != 0)
#define __shfl_sync(mask, value, lane) emulation::value_of_lane(value, lane)
#define __shfl_xor_sync(mask, value, distance) \
  emulation::value_of_lane(value, static_cast<int>(emulation::current->index.x) ^ (distance))
#define __shfl_up_sync(mask, value, distance) emulation::value_of_lane_before(value, distance)
#define __reduce_add_sync(mask, value) emulation::sum_of_lanes(value)
#define __reduce_or_sync(mask, value) emulation::or_of_lanes(value)
#define __popc __builtin_popcount
#define __ffs(bits) __builtin_ffs(static_cast<int>(bits))

// The little of the runtime that the host's code uses.
using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor
};
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = 13000, cudaSuccess; }
inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 13000, cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 1, cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorName(cudaError_t) { return "cudaErrorInvalidConfiguration"; }
inline const char* cudaGetErrorString(cudaError_t) { return "invalid configuration argument"; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int) {
  const bool count = name == cudaDevAttrMultiProcessorCount;
  *value = count ? emulation::settings.multiprocessors : name == cudaDevAttrComputeCapabilityMajor ? 9 : 0;
  return cudaSuccess;
}

namespace dissect {

inline const int& kThreads = emulation::settings.threads;
inline const int& kWarps = emulation::settings.warps;

inline int32_t latest(const int32_t* place) { return __atomic_load_n(place, __ATOMIC_RELAXED); }

template <typename Params>
cudaError_t launch(void (*kernel)(Params), int64_t num_blocks, int threads, size_t shared_bytes, cudaStream_t,
                   const Params& params) {
  using namespace emulation;
  if (settings.error != 0 || num_blocks < 1 || num_blocks > INT32_MAX || shared_bytes > 227 << 10)
    return cudaErrorInvalidConfiguration;
  for (int64_t first = 0; first < num_blocks; first += settings.resident) {
    const int64_t end = first + settings.resident < num_blocks ? first + settings.resident : num_blocks;
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<Thread> all(static_cast<size_t>((end - first) * threads));
    for (int64_t block = first; block < end; ++block) {
      blocks.emplace_back(new Block(static_cast<unsigned>(block), threads, shared_bytes));
      for (int thread = 0; thread < threads; ++thread) {
        const int64_t number = (block - first) * threads + thread;
        Thread& here = all[static_cast<size_t>(number)];
        here.index = {static_cast<unsigned>(thread)};
        here.grid = {static_cast<unsigned>(num_blocks)};
        here.block = blocks.back().get();
        here.number = number;
      }
    }
    run_threads(all, [&] { kernel(params); });
  }
  return cudaSuccess;
}

}  // namespace dissect

// How a kernel is launched, and what its source may use. tests/emulation replaces the CUDA runtime by a small header
// that executes the same source on a CPU.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef DISSECT_EMULATE
#include "cuda_on_cpu.h"
#else
#include <cuda_runtime.h>
#define DISSECT_SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

namespace dissect {

// What is there now, though other threads may be writing it.
__device__ inline int32_t latest(const int32_t* place) { return *static_cast<const volatile int32_t*>(place); }

// Lets a kernel have as much as the device has: always the same, for threads that launch it with different sizes.
inline cudaError_t allow_shared_memory(const void* function, size_t bytes) {
  int device = 0, most = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error == cudaSuccess && bytes > static_cast<size_t>(most)) return cudaErrorInvalidValue;
  if (error == cudaSuccess) error = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
  return error;
}

// The kernel with one struct of parameters on num_blocks blocks.
template <typename Params>
cudaError_t launch(void (*kernel)(Params), int64_t num_blocks, int threads, size_t shared_bytes, cudaStream_t stream,
                   const Params& params) {
  const void* function = reinterpret_cast<const void*>(kernel);
  cudaGetLastError();  // what an earlier call left behind is not this launch's fault
  if (num_blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  cudaError_t error = shared_bytes > 48 << 10 ? allow_shared_memory(function, shared_bytes) : cudaSuccess;
  if (error != cudaSuccess) return error;
  void* arguments[] = {const_cast<Params*>(&params)};
  error = cudaLaunchKernel(function, dim3(static_cast<unsigned>(num_blocks)), dim3(static_cast<unsigned>(threads)),
                           arguments, shared_bytes, stream);
  const cudaError_t last = cudaGetLastError();
  return error != cudaSuccess ? error : last;
}

constexpr int kThreads = 256;  // per block
constexpr int kWarps = kThreads / 32;

}  // namespace dissect
#endif

namespace dissect {

constexpr unsigned kAllLanes = 0xffffffffu;

}  // namespace dissect

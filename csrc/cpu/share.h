// Work shared among threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "subnormals.h"

namespace dissect {

// Runs work(item, worker) for every item. Each worker has a part of the items, the same one in every call, so that what
// it wrote for them is still in its core's cache; a worker that is done helps with the parts of others. Of the
// exceptions thrown, that of the lowest item reaches the caller, when all workers have ended.
template <typename Work>
void share(int64_t num_items, int num_threads, const Work& work) {
  const int num_workers = static_cast<int>(std::min<int64_t>(std::max(1, num_threads), num_items));
  const auto begin_of = [=](int part) { return part * num_items / num_workers; };
  std::vector<std::atomic<int64_t>> next(num_workers);
  for (int part = 0; part < num_workers; ++part) next[part] = begin_of(part);
  std::mutex mutex;
  std::exception_ptr error;
  int64_t failed = INT64_MAX;
  const auto guarded = [&](int64_t item, int worker) {
    try {
      work(item, worker);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (item < failed) failed = item, error = std::current_exception();
    }
  };
  const auto run = [&](int worker) {
    const KeepsSubnormals kept;
    for (int turn = 0; turn < num_workers; ++turn) {
      const int part = (worker + turn) % num_workers;
      for (int64_t item = next[part]++; item < begin_of(part + 1); item = next[part]++) guarded(item, worker);
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(std::max(0, num_workers - 1));
  for (int worker = 1; worker < num_workers; ++worker) {
    try {
      threads.emplace_back(run, worker);
    } catch (const std::system_error&) {  // no more threads can be had: those that are there do all
      break;
    }
  }
  if (num_items > 0) run(0);
  for (std::thread& thread : threads) thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace dissect

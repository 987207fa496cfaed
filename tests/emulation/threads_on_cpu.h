// The threads of a grid on a CPU: the blocks run a few at a time, the threads of a block as fibers (ucontext), one of
// which runs until it waits for others: at a barrier, or at an operation of its warp. Which one runs next is the
// schedule: the lowest, the highest, or a random one. With DISSECT_EMULATE_THREADS they are threads of the CPU instead,
// for ThreadSanitizer.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#ifdef DISSECT_EMULATE_THREADS
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#else
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

struct dim3 {
  unsigned x = 1;
};

namespace emulation {

struct Thread;

// Which call is mutated, how threads are chosen, and how the next launch fares.
struct Settings {
  std::string mutant_file;
  int mutant_line = 0;
  int schedule = 0;  // 0 forward, 1 reverse, otherwise the seed of a shuffled one
  int resident = 3;  // blocks that run at a time
  int multiprocessors = 1;
  int error = 0;     // of the next launch
  int threads = 64;  // per block: fewer than on a GPU, since each is a fiber or a thread of the CPU
  int warps = 2;
};
inline Settings settings;

inline bool is_mutated(const char* file, int line) {
  if (line != settings.mutant_line) return false;
  const std::string path(file), name = "/" + settings.mutant_file;
  return path.size() >= name.size() && path.compare(path.size() - name.size(), name.size(), name) == 0;
}

// Where `expected` threads wait for each other, again and again.
class Meeting {
 public:
  explicit Meeting(int expected) : expected_(expected) {}
  void wait();

 private:
  int expected_, arrived_ = 0;
#ifdef DISSECT_EMULATE_THREADS
  uint64_t round_ = 0;
  std::mutex mutex_;
  std::condition_variable all_here_;
#else
  std::vector<Thread*> waiting_;
#endif
};

struct Warp {
  Meeting meeting{32};
  uint64_t slots[2][32];  // what the lanes give away, in turns
  uint64_t given = 0;     // so far, by all lanes
};

struct Block {
  Block(unsigned index, int threads, size_t shared_bytes)
      : index{index}, barrier(threads), warps(threads / 32), shared(static_cast<unsigned char*>(malloc(shared_bytes))) {
    memset(shared, 0xa5, shared_bytes);
  }
  ~Block() { free(shared); }
  dim3 index;
  Meeting barrier;
  std::vector<Warp> warps;
  unsigned char* shared;
};

struct Thread {
  dim3 index, grid;
  Block* block = nullptr;
  int64_t number = 0;      // among all that run
  unsigned exchanges = 0;  // operations of the warp so far
#ifndef DISSECT_EMULATE_THREADS
  ucontext_t context;  // how it begins
  void* place[5];      // where it goes on
  bool begun = false;
  std::unique_ptr<char[]> stack;
  void* fake_stack = nullptr;
#endif
};

#ifdef DISSECT_EMULATE_THREADS

inline thread_local Thread* current = nullptr;

inline void Meeting::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t round = round_;
  if (++arrived_ == expected_) {
    arrived_ = 0;
    ++round_;
    all_here_.notify_all();
  } else {
    all_here_.wait(lock, [&] { return round_ != round; });
  }
}

inline void let_others_run() { std::this_thread::yield(); }

// Threads that live on from launch to launch: to begin one takes a millisecond under ThreadSanitizer. One mutex for
// beginning and another for ending, so that who begins late is not taken to have waited for who ended early.
class Pool {
 public:
  ~Pool() {
    begin(0, nullptr, nullptr);
    for (std::thread& thread : running_) thread.join();
  }

  void run(std::vector<Thread>& threads, const std::function<void(Thread&)>& work) {
    while (running_.size() < threads.size())
      running_.emplace_back([this, number = running_.size(), round = round_] { serve(number, round); });
    left_ = threads.size();
    begin(threads.size(), threads.data(), &work);
    std::unique_lock<std::mutex> lock(ending_);
    all_ended_.wait(lock, [&] { return left_ == 0; });
  }

 private:
  void begin(size_t count, Thread* threads, const std::function<void(Thread&)>* work) {
    const std::lock_guard<std::mutex> lock(beginning_);
    count_ = count, threads_ = threads, work_ = work;
    ++round_;
    begun_.notify_all();
  }

  void serve(size_t number, uint64_t round) {
    for (;;) {
      std::unique_lock<std::mutex> lock(beginning_);
      begun_.wait(lock, [&] { return round_ != round; });
      round = round_;
      if (work_ == nullptr) return;
      if (number >= count_) continue;
      Thread& thread = threads_[number];
      const std::function<void(Thread&)>& work = *work_;
      lock.unlock();
      work(thread);
      const std::lock_guard<std::mutex> end(ending_);
      if (--left_ == 0) all_ended_.notify_one();
    }
  }

  std::mutex beginning_, ending_;
  std::condition_variable begun_, all_ended_;
  std::vector<std::thread> running_;
  size_t count_ = 0;
  Thread* threads_ = nullptr;
  const std::function<void(Thread&)>* work_ = nullptr;
  uint64_t round_ = 0;
  size_t left_ = 0;
};

inline Pool& pool() {
  static Pool pool;
  return pool;
}

template <typename Kernel>
void run_threads(std::vector<Thread>& threads, const Kernel& kernel) {
  pool().run(threads, [&](Thread& thread) { current = &thread, kernel(); });
}

#else

constexpr size_t kStackBytes = 128 << 10;

inline Thread* current = nullptr;
inline void* scheduler_place[5];
inline const void* scheduler_stack = nullptr;
inline size_t scheduler_stack_bytes = 0;
inline void (*run_kernel)(const void*) = nullptr;
inline const void* kernel_to_run = nullptr;
inline std::mt19937 choose;
inline std::multimap<int64_t, Thread*> ready;
inline size_t num_ended = 0;

inline void make_ready(Thread* thread, bool after_others) {
  const int64_t later = after_others ? int64_t{1} << 32 : 0;
  if (settings.schedule == 0) ready.emplace(thread->number + later, thread);
  else if (settings.schedule == 1) ready.emplace(-thread->number + later, thread);
  else ready.emplace(static_cast<int64_t>(choose()), thread);
}

// A sanitizer must know on which stack it is.
inline void before_switch(void** fake_stack, const void* stack, size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(fake_stack, stack, bytes);
#else
  (void)fake_stack, (void)stack, (void)bytes;
#endif
}
inline void after_switch(void* fake_stack, const void** stack, size_t* bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fake_stack, stack, bytes);
#else
  (void)fake_stack, (void)stack, (void)bytes;
#endif
}

// swapcontext also saves the mask of signals, by two calls of the system each time; these save three registers. The
// jump is a function of its own: in one with __builtin_setjmp, GCC 12 lets that return to the wrong place if it
// optimises. AddressSanitizer is not told of them: it would take each for the end of all calls on its stack, which none
// is, and ask the system where that lies, for a fifth of the time.
#define DISSECT_SWITCHES __attribute__((noinline, no_sanitize("address"))) inline
[[noreturn]] DISSECT_SWITCHES void jump(void** to) { __builtin_longjmp(to, 1); }
DISSECT_SWITCHES void go(void** from, void** to) {
  if (__builtin_setjmp(from) == 0) jump(to);
}
DISSECT_SWITCHES void begin(Thread* thread) {
  thread->begun = true;
  if (__builtin_setjmp(scheduler_place) == 0) setcontext(&thread->context);
}

inline void back_to_scheduler() {
  Thread* thread = current;
  before_switch(&thread->fake_stack, scheduler_stack, scheduler_stack_bytes);
  go(thread->place, scheduler_place);
  after_switch(thread->fake_stack, &scheduler_stack, &scheduler_stack_bytes);
}

DISSECT_SWITCHES void thread_body() {
  after_switch(nullptr, &scheduler_stack, &scheduler_stack_bytes);
  run_kernel(kernel_to_run);
  ++num_ended;
  before_switch(nullptr, scheduler_stack, scheduler_stack_bytes);  // and never back
  jump(scheduler_place);
}

inline void Meeting::wait() {
  if (++arrived_ < expected_) {
    waiting_.push_back(current);
    return back_to_scheduler();
  }
  arrived_ = 0;
  for (Thread* thread : waiting_) make_ready(thread, false);
  waiting_.clear();
  make_ready(current, false);
  back_to_scheduler();
}

inline void let_others_run() {
  make_ready(current, true);
  back_to_scheduler();
}

template <typename Kernel>
void run_threads(std::vector<Thread>& threads, const Kernel& kernel) {
  static std::vector<std::unique_ptr<char[]>> stacks;
  run_kernel = [](const void* kernel) { (*static_cast<const Kernel*>(kernel))(); };
  kernel_to_run = &kernel;
  choose.seed(settings.schedule);
  num_ended = 0;
  for (Thread& thread : threads) {
    if (stacks.empty()) stacks.emplace_back(new char[kStackBytes]);
    thread.stack = std::move(stacks.back());
    stacks.pop_back();
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStackBytes;
    makecontext(&thread.context, thread_body, 0);
    make_ready(&thread, false);
  }
  while (!ready.empty()) {
    current = ready.begin()->second;
    ready.erase(ready.begin());
    void* fake_stack = nullptr;
    before_switch(&fake_stack, current->stack.get(), kStackBytes);
    if (current->begun) go(scheduler_place, current->place);
    else begin(current);
    after_switch(fake_stack, nullptr, nullptr);
  }
  current = nullptr;
  if (num_ended != threads.size()) {
    fprintf(stderr, "emulation: %zu threads wait for others that never come.\n", threads.size() - num_ended);
    abort();
  }
  for (Thread& thread : threads) stacks.push_back(std::move(thread.stack));
}

#endif

}  // namespace emulation

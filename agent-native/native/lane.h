// A thread of our own that does jobs in order, so that neither the event loop nor libuv's small pool (which the
// write-ahead log needs) ever waits for the kernel. It starts with the first job.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "failure.h"

namespace agent {

class Job {
 public:
  virtual ~Job() = default;
  /** On the lane's thread. Sets `failure` when it did not work. */
  virtual void Execute() = 0;
  /** On the JavaScript thread, after Execute() worked. */
  virtual Napi::Value Result(Napi::Env env) = 0;

  Failure failure;

 private:
  friend class Lane;
  napi_deferred deferred_ = nullptr;
  napi_ref owner_ = nullptr;
};

class Lane {
 public:
  explicit Lane(Napi::Env env);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /** Queues the job; the promise settles with its result. `owner` is kept from the garbage collector until then. */
  Napi::Promise Post(Napi::Env env, std::unique_ptr<Job> job, Napi::Object owner = Napi::Object());
  /** Ends the thread, after the job it is at. Idempotent. */
  void Stop();

 private:
  void Start(Napi::Env env);
  void Run();
  static void Settle(napi_env env, napi_value, void* lane, void* job);
  static void OnExit(void* lane);

  napi_env env_;
  napi_threadsafe_function settle_ = nullptr;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Job>> queue_;
  bool stopping_ = false;
  size_t pending_ = 0;
};

/** A job made of a state and two functions. */
template <typename State>
class StateJob : public Job {
 public:
  using Step = Failure (*)(State&);
  using Finish = Napi::Value (*)(Napi::Env, State&);
  StateJob(State state, Step step, Finish finish) : state_(std::move(state)), step_(step), finish_(finish) {}
  void Execute() override { failure = step_(state_); }
  Napi::Value Result(Napi::Env env) override { return finish_ == nullptr ? env.Undefined() : finish_(env, state_); }

 private:
  State state_;
  Step step_;
  Finish finish_;
};

template <typename State>
Napi::Promise PostState(Lane& lane, Napi::Env env, State state, Failure (*step)(State&),
                        Napi::Value (*finish)(Napi::Env, State&) = nullptr, Napi::Object owner = Napi::Object()) {
  return lane.Post(env, std::make_unique<StateJob<State>>(std::move(state), step, finish), owner);
}

}  // namespace agent

#include "lane.h"

#include <pthread.h>
#include <signal.h>

#include "arguments.h"

namespace agent {

Lane::Lane(Napi::Env env) : env_(env) {}

Lane::~Lane() { Stop(); }

void Lane::Start(Napi::Env env) {
  auto name = Napi::String::New(env, "agent-native");
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this,
                                                             Settle, &settle_);
  if (status != napi_ok) throw Napi::Error::New(env, "cannot make a thread-safe function");
  napi_unref_threadsafe_function(env, settle_);
  // Added after the thread-safe function's own hook, so it runs before that: the thread must have ended when that goes.
  napi_add_env_cleanup_hook(env, OnExit, this);
  try {
    thread_ = std::thread([this] { Run(); });
  } catch (const std::system_error& error) {
    Stop();
    throw Napi::Error::New(env, std::string("cannot start a thread: ") + error.what());
  }
}

Napi::Promise Lane::Post(Napi::Env env, std::unique_ptr<Job> job, Napi::Object owner) {
  napi_value promise;
  if (stopping_) throw Napi::Error::New(env, "closed");
  if (settle_ == nullptr) Start(env);
  if (napi_create_promise(env, &job->deferred_, &promise) != napi_ok) throw Napi::Error::New(env, "cannot make a promise");
  if (!owner.IsEmpty()) napi_create_reference(env, owner, 1, &job->owner_);
  if (pending_++ == 0) napi_ref_threadsafe_function(env, settle_);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(std::move(job));
  }
  changed_.notify_one();
  return Napi::Promise(env, promise);
}

void Lane::Run() {
  // Signals are the business of Node's own thread.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  pthread_setname_np(pthread_self(), "agent-native");
  for (;;) {
    std::unique_ptr<Job> job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    try {
      job->Execute();
    } catch (const std::exception& error) {
      job->failure = FailureOf(ENOMEM, "native job", error.what());
    }
    Job* done = job.release();
    if (napi_call_threadsafe_function(settle_, done, napi_tsfn_nonblocking) != napi_ok) delete done;
  }
}

void Lane::Settle(napi_env raw, napi_value, void* context, void* data) {
  std::unique_ptr<Job> job(static_cast<Job*>(data));
  if (raw == nullptr) return;  // Node is ending: nobody waits any more.
  Napi::Env env(raw);
  Napi::HandleScope scope(env);
  auto* lane = static_cast<Lane*>(context);
  if (--lane->pending_ == 0 && lane->settle_ != nullptr) napi_unref_threadsafe_function(env, lane->settle_);
  try {
    if (job->failure) {
      napi_reject_deferred(env, job->deferred_, ErrorOf(env, job->failure).Value());
    } else {
      napi_resolve_deferred(env, job->deferred_, job->Result(env));
    }
  } catch (const Napi::Error& error) {
    napi_reject_deferred(env, job->deferred_, error.Value());
  }
  // The owner may own this lane: nothing of it is touched after this.
  if (job->owner_ != nullptr) napi_delete_reference(env, job->owner_);
}

void Lane::OnExit(void* lane) { static_cast<Lane*>(lane)->Stop(); }

void Lane::Stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (settle_ != nullptr) {
    napi_remove_env_cleanup_hook(env_, OnExit, this);
    napi_release_threadsafe_function(settle_, napi_tsfn_release);
    settle_ = nullptr;
  }
}

}  // namespace agent

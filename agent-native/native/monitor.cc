// The class NetlinkMonitor: a thread that waits for notifications and hands them over, many at a time.
#include <linux/netlink.h>
#include <napi.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "arguments.h"
#include "modules.h"
#include "netlink-exchange.h"

namespace agent {

namespace {

constexpr size_t kReceiveBytes = 64 * 1024;
/** Handed over at once. */
constexpr size_t kMostBytes = 128 * 1024;
/** Not yet taken by JavaScript. Beyond it the kernel's buffer fills, and its loss is reported as one. */
constexpr size_t kMostWaitingBytes = 4 * 1024 * 1024;
constexpr uint32_t kSocketBytes = 2 * 1024 * 1024;

struct News {
  enum Kind { kStarted, kMessages, kOverflow, kFailed };
  Kind kind;
  Bytes messages;
  Failure failure;
};

class NetlinkMonitor : public Napi::ObjectWrap<NetlinkMonitor> {
 public:
  static Napi::Function Class(Napi::Env env) {
    return DefineClass(env, "NetlinkMonitor",
                       {InstanceMethod<&NetlinkMonitor::Start>("start"), InstanceMethod<&NetlinkMonitor::Close>("close")});
  }

  explicit NetlinkMonitor(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NetlinkMonitor>(info), env_(info.Env()) {}
  ~NetlinkMonitor() override { Stop(); }

 private:
  /**
   * start(namespacePath | undefined, protocol, groups, listener): listener(undefined) once started, listener(bytes),
   * listener(null) when notifications were lost, listener(error) when it is over.
   */
  Napi::Value Start(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    if (is_started_) throw Napi::Error::New(env, "a monitor is started once");
    path_ = ReadOptionalText(info[0], "namespacePath").value_or("");
    protocol_ = static_cast<int>(ReadUint32(info[1], "protocol") & 0xff);
    groups_ = ReadUint32Array(info[2], "groups");
    if (!info[3].IsFunction()) throw Napi::TypeError::New(env, "listener must be a function");
    wake_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) throw ErrorOf(env, LastFailure("make eventfd"));
    auto name = Napi::String::New(env, "agent-native-monitor");
    if (napi_create_threadsafe_function(env, info[3], nullptr, name, 0, 1, nullptr, nullptr, this, Tell, &tell_) != napi_ok) {
      throw Napi::Error::New(env, "cannot make a thread-safe function");
    }
    is_started_ = true;
    // Kept from the garbage collector until it is closed.
    Ref();
    napi_add_env_cleanup_hook(env, OnExit, this);
    try {
      thread_ = std::thread([this] { Run(); });
    } catch (const std::system_error& error) {
      Stop();
      Unref();
      throw Napi::Error::New(env, std::string("cannot start a thread: ") + error.what());
    }
    return env.Undefined();
  }

  /** The listener is not called again. */
  Napi::Value Close(const Napi::CallbackInfo& info) {
    if (is_started_ && !is_closed_) {
      Stop();
      Unref();
    }
    is_closed_ = true;
    is_started_ = true;
    return info.Env().Undefined();
  }

  void Run() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, nullptr);
    pthread_setname_np(pthread_self(), "agent-monitor");
    Descriptor socket;
    Failure failure = OpenNetlink(path_, protocol_, kSocketBytes, socket);
    if (!failure) failure = Join(socket);
    if (!failure) {
      Post({News::kStarted, {}, {}});
      failure = Listen(socket);
    }
    if (failure) Post({News::kFailed, {}, failure});
  }

  Failure Join(const Descriptor& socket) const {
    for (const uint32_t group : groups_) {
      const int number = static_cast<int>(group & 0xffff);
      if (setsockopt(socket.Number(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &number, sizeof number) != 0) {
        return LastFailure("join netlink group " + std::to_string(number));
      }
    }
    return {};
  }

  Failure Listen(const Descriptor& socket) {
    Bytes buffer(kReceiveBytes);
    Bytes gathered;
    for (;;) {
      if (!WaitForRoom()) return {};
      pollfd ready[2] = {{socket.Number(), POLLIN, 0}, {wake_.Number(), POLLIN, 0}};
      if (poll(ready, 2, -1) < 0 && errno != EINTR) return LastFailure("wait for netlink notifications");
      if (ready[1].revents != 0) return {};
      bool has_overflown = false;
      gathered.clear();
      while (gathered.size() < kMostBytes) {
        const ssize_t received = recv(socket.Number(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
        if (received < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (received < 0 && errno != ENOBUFS) return LastFailure("receive netlink notification");
        if (received < 0 || static_cast<size_t>(received) > buffer.size()) {
          has_overflown = true;
          continue;
        }
        gathered.insert(gathered.end(), buffer.begin(), buffer.begin() + received);
        gathered.resize(NLMSG_ALIGN(gathered.size()));
      }
      if (!gathered.empty()) Post({News::kMessages, gathered, {}});
      if (has_overflown) Post({News::kOverflow, {}, {}});
    }
  }

  /** False when it is time to end. */
  bool WaitForRoom() {
    std::unique_lock<std::mutex> lock(mutex_);
    has_room_.wait(lock, [this] { return is_stopping_ || waiting_ < kMostWaitingBytes; });
    return !is_stopping_;
  }

  void Post(News news) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      waiting_ += news.messages.size();
    }
    auto* item = new News(std::move(news));
    if (napi_call_threadsafe_function(tell_, item, napi_tsfn_nonblocking) != napi_ok) delete item;
  }

  static void Tell(napi_env raw, napi_value callback, void* context, void* data) {
    std::unique_ptr<News> news(static_cast<News*>(data));
    if (raw == nullptr) return;
    auto* monitor = static_cast<NetlinkMonitor*>(context);
    Napi::Env env(raw);
    {
      std::lock_guard<std::mutex> lock(monitor->mutex_);
      monitor->waiting_ -= news->messages.size();
      if (monitor->is_stopping_) return;
    }
    monitor->has_room_.notify_one();
    Napi::Value value = env.Undefined();
    if (news->kind == News::kMessages) value = BytesToJs(env, news->messages.data(), news->messages.size());
    if (news->kind == News::kOverflow) value = env.Null();
    if (news->kind == News::kFailed) value = ErrorOf(env, news->failure).Value();
    napi_value argument = value;
    napi_value ignored;
    // What the listener throws becomes an uncaught exception, as with any event listener.
    napi_call_function(env, env.Global(), callback, 1, &argument, &ignored);
  }

  static void OnExit(void* monitor) { static_cast<NetlinkMonitor*>(monitor)->Stop(); }

  void Stop() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      is_stopping_ = true;
    }
    has_room_.notify_one();
    const uint64_t one = 1;
    if (wake_ && write(wake_.Number(), &one, sizeof one) < 0) return;
    if (thread_.joinable()) thread_.join();
    wake_.Close();
    if (tell_ != nullptr) {
      napi_remove_env_cleanup_hook(env_, OnExit, this);
      napi_release_threadsafe_function(tell_, napi_tsfn_abort);
      tell_ = nullptr;
    }
  }

  napi_env env_;
  std::string path_;
  int protocol_ = 0;
  std::vector<uint32_t> groups_;
  Descriptor wake_;
  napi_threadsafe_function tell_ = nullptr;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable has_room_;
  size_t waiting_ = 0;
  bool is_stopping_ = false;
  bool is_started_ = false;
  bool is_closed_ = false;
};

}  // namespace

void ExportMonitor(Napi::Env env, Napi::Object exports) { exports.Set("NetlinkMonitor", NetlinkMonitor::Class(env)); }

}  // namespace agent

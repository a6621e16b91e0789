// The class FuseChannel: mounts a FUSE file system and hands over the kernel's requests, as they are.
#include <napi.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>

#include <memory>
#include <mutex>
#include <thread>

#include "arguments.h"
#include "descriptor.h"
#include "modules.h"

namespace agent {

namespace {

/** The kernel refuses to read into less than 8 KiB (FUSE_MIN_READ_BUFFER); nothing is ever written to our files. */
constexpr size_t kRequestBytes = 64 * 1024;

struct Request {
  Bytes bytes;
  Failure failure;
};

class FuseChannel : public Napi::ObjectWrap<FuseChannel> {
 public:
  static Napi::Function Class(Napi::Env env) {
    return DefineClass(env, "FuseChannel",
                       {InstanceMethod<&FuseChannel::Start>("start"), InstanceMethod<&FuseChannel::Reply>("reply"),
                        InstanceMethod<&FuseChannel::Close>("close")});
  }

  explicit FuseChannel(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FuseChannel>(info), env_(info.Env()) {}
  ~FuseChannel() override { Stop(); }

 private:
  /** start(source, target, flags, data, listener): listener(bytes) for each request, listener(error) when it is over. */
  Napi::Value Start(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    if (is_started_) throw Napi::Error::New(env, "a channel is started once");
    const std::string source = ReadText(info[0], "source");
    target_ = ReadText(info[1], "target");
    const uint32_t flags = ReadUint32(info[2], "flags");
    const std::string data = ReadText(info[3], "data");
    if (!info[4].IsFunction()) throw Napi::TypeError::New(env, "listener must be a function");
    device_ = Descriptor::Open("/dev/fuse", O_RDWR | O_NONBLOCK);
    if (!device_) throw ErrorOf(env, LastFailure("open /dev/fuse"));
    wake_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wake_) throw ErrorOf(env, LastFailure("make eventfd"));
    auto name = Napi::String::New(env, "agent-native-fuse");
    if (napi_create_threadsafe_function(env, info[4], nullptr, name, 0, 1, nullptr, nullptr, this, Tell, &tell_) != napi_ok) {
      throw Napi::Error::New(env, "cannot make a thread-safe function");
    }
    is_started_ = true;
    // Kept from the garbage collector until it is closed.
    Ref();
    napi_add_env_cleanup_hook(env, OnExit, this);
    const std::string options = "fd=" + std::to_string(device_.Number()) + "," + data;
    // It does not wait for an answer: the first request, FUSE_INIT, is read by the thread.
    if (mount(source.c_str(), target_.c_str(), "fuse", flags, options.c_str()) != 0) {
      const Failure failure = LastFailure("mount fuse on " + target_);
      Stop();
      Unref();
      throw ErrorOf(env, failure);
    }
    is_mounted_ = true;
    try {
      thread_ = std::thread([this] { Run(); });
    } catch (const std::system_error& error) {
      Stop();
      Unref();
      throw Napi::Error::New(env, std::string("cannot start a thread: ") + error.what());
    }
    return env.Undefined();
  }

  /** reply(bytes): answers one request. What the kernel waits for no more is dropped. */
  Napi::Value Reply(const Napi::CallbackInfo& info) {
    const Bytes bytes = ReadBytes(info[0], "bytes");
    if (!device_) return info.Env().Undefined();
    if (write(device_.Number(), bytes.data(), bytes.size()) < 0 && errno != ENOENT && errno != ENODEV) {
      throw ErrorOf(info.Env(), LastFailure("answer fuse request"));
    }
    return info.Env().Undefined();
  }

  /** Unmounts: who waits gets ENOTCONN. The listener is not called again. */
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
    pthread_setname_np(pthread_self(), "agent-fuse");
    Bytes buffer(kRequestBytes);
    for (;;) {
      pollfd ready[2] = {{device_.Number(), POLLIN, 0}, {wake_.Number(), POLLIN, 0}};
      if (poll(ready, 2, -1) < 0 && errno != EINTR) return Post({{}, LastFailure("wait for fuse requests")});
      if (ready[1].revents != 0) return;
      const ssize_t received = read(device_.Number(), buffer.data(), buffer.size());
      if (received >= 0) {
        Post({Bytes(buffer.begin(), buffer.begin() + received), {}});
      } else if (errno != EAGAIN && errno != EINTR && errno != ENOENT) {
        // ENODEV: somebody else unmounted it.
        return Post({{}, LastFailure("read fuse request")});
      }
    }
  }

  void Post(Request request) {
    auto* item = new Request(std::move(request));
    if (napi_call_threadsafe_function(tell_, item, napi_tsfn_nonblocking) != napi_ok) delete item;
  }

  static void Tell(napi_env raw, napi_value callback, void* context, void* data) {
    std::unique_ptr<Request> request(static_cast<Request*>(data));
    if (raw == nullptr || static_cast<FuseChannel*>(context)->is_closed_) return;
    Napi::Env env(raw);
    napi_value argument = request->failure ? ErrorOf(env, request->failure).Value()
                                           : BytesToJs(env, request->bytes.data(), request->bytes.size());
    napi_value ignored;
    // What the listener throws becomes an uncaught exception, as with any event listener.
    napi_call_function(env, env.Global(), callback, 1, &argument, &ignored);
  }

  /** What was mounted may be gone, and its place another's by now. */
  bool IsConnected() const {
    pollfd device = {device_.Number(), 0, 0};
    return poll(&device, 1, 0) == 0 || (device.revents & POLLERR) == 0;
  }

  static void OnExit(void* channel) { static_cast<FuseChannel*>(channel)->Stop(); }

  void Stop() {
    if (is_mounted_ && IsConnected()) umount2(target_.c_str(), MNT_DETACH);
    is_mounted_ = false;
    const uint64_t one = 1;
    if (wake_ && write(wake_.Number(), &one, sizeof one) < 0) return;
    if (thread_.joinable()) thread_.join();
    wake_.Close();
    device_.Close();
    if (tell_ != nullptr) {
      napi_remove_env_cleanup_hook(env_, OnExit, this);
      napi_release_threadsafe_function(tell_, napi_tsfn_abort);
      tell_ = nullptr;
    }
  }

  napi_env env_;
  std::string target_;
  Descriptor device_;
  Descriptor wake_;
  napi_threadsafe_function tell_ = nullptr;
  std::thread thread_;
  bool is_mounted_ = false;
  bool is_started_ = false;
  bool is_closed_ = false;
};

}  // namespace

void ExportFuse(Napi::Env env, Napi::Object exports) { exports.Set("FuseChannel", FuseChannel::Class(env)); }

}  // namespace agent

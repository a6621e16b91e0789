// Mounts, network namespaces and sysctls, optionally inside the namespaces of somebody else.
#include <arpa/inet.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <system_error>
#include <thread>

#include "arguments.h"
#include "modules.h"
#include "namespaces.h"

namespace agent {

namespace {

struct Mounting {
  std::string source, target, type, data, space;
  uint32_t flags, then_flags;
};

Failure Mount(const Mounting& asked) {
  const char* type = asked.type.empty() ? nullptr : asked.type.c_str();
  const char* data = asked.data.empty() ? nullptr : asked.data.c_str();
  if (mount(asked.source.c_str(), asked.target.c_str(), type, asked.flags, data) != 0) {
    return LastFailure("mount " + asked.target);
  }
  if (asked.then_flags == 0) return {};
  if (mount("none", asked.target.c_str(), nullptr, asked.then_flags, nullptr) == 0) return {};
  const Failure failure = LastFailure("remount " + asked.target);
  (void)umount2(asked.target.c_str(), MNT_DETACH);
  return failure;
}

Spaces MountSpace(const std::string& path) {
  Spaces spaces;
  if (!path.empty()) spaces.mount = path;
  return spaces;
}

/** mount(source, target, type, flags, thenFlags, data, mountNamespacePath) */
Napi::Value MountJs(const Napi::CallbackInfo& info) {
  Mounting asked;
  asked.source = ReadOptionalText(info[0], "source").value_or("none");
  asked.target = ReadText(info[1], "target");
  asked.type = ReadOptionalText(info[2], "type").value_or("");
  asked.flags = ReadUint32(info[3], "flags");
  asked.then_flags = ReadUint32(info[4], "thenFlags");
  asked.data = ReadOptionalText(info[5], "data").value_or("");
  asked.space = ReadOptionalText(info[6], "namespacePath").value_or("");
  return PostState<Mounting>(info.Env().GetInstanceData<Instance>()->system, info.Env(), std::move(asked),
                             [](Mounting& state) {
                               return RunIn(MountSpace(state.space), [&] { return Mount(state); });
                             });
}

struct Unmounting {
  std::string target, space;
  uint32_t flags;
};

/** unmount(target, flags, mountNamespacePath) */
Napi::Value UnmountJs(const Napi::CallbackInfo& info) {
  Unmounting asked;
  asked.target = ReadText(info[0], "target");
  asked.flags = ReadUint32(info[1], "flags");
  asked.space = ReadOptionalText(info[2], "namespacePath").value_or("");
  return PostState<Unmounting>(info.Env().GetInstanceData<Instance>()->system, info.Env(), std::move(asked),
                               [](Unmounting& state) {
                                 return RunIn(MountSpace(state.space), [&]() -> Failure {
                                   if (umount2(state.target.c_str(), static_cast<int>(state.flags)) == 0) return {};
                                   return LastFailure("unmount " + state.target);
                                 });
                               });
}

/** Runs `work` on a thread that ends with it. */
Failure RunApart(const std::function<Failure()>& work) {
  Failure failure;
  try {
    std::thread([&] { failure = work(); }).join();
  } catch (const std::system_error& error) {
    return FailureOf(EAGAIN, "start a thread", error.what());
  }
  return failure;
}

Failure CreateNetworkNamespace(std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  if (!file) return LastFailure("create " + path);
  const Failure failure = RunApart([&]() -> Failure {
    if (unshare(CLONE_NEWNET) != 0) return LastFailure("make network namespace");
    if (mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr) == 0) return {};
    return LastFailure("mount network namespace at " + path);
  });
  if (failure) (void)unlink(path.c_str());
  return failure;
}

Failure DeleteNetworkNamespace(std::string& path) {
  if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
    const int number = errno;
    struct stat status {};
    // An empty file is what a creation that was cut short leaves.
    const bool is_left_over = number == EINVAL && lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 0;
    if (!is_left_over) return FailureOf(number, "unmount network namespace " + path);
  }
  if (unlink(path.c_str()) != 0) return LastFailure("remove " + path);
  return {};
}

Napi::Value CreateNetworkNamespaceJs(const Napi::CallbackInfo& info) {
  return PostState<std::string>(info.Env().GetInstanceData<Instance>()->system, info.Env(), ReadText(info[0], "path"),
                                CreateNetworkNamespace);
}

Napi::Value DeleteNetworkNamespaceJs(const Napi::CallbackInfo& info) {
  return PostState<std::string>(info.Env().GetInstanceData<Instance>()->system, info.Env(), ReadText(info[0], "path"),
                                DeleteNetworkNamespace);
}

struct Sysctls {
  std::vector<std::string> paths, values;
  Spaces spaces;
};

Spaces NetworkSpace(Napi::Value path) {
  Spaces spaces;
  spaces.network = ReadOptionalText(path, "namespacePath");
  return spaces;
}

Failure ReadSysctls(Sysctls& asked) {
  for (const std::string& path : asked.paths) {
    const Descriptor file = Descriptor::Open(path, O_RDONLY);
    if (!file) return LastFailure("open " + path);
    char text[4096];
    const ssize_t size = read(file.Number(), text, sizeof text);
    if (size < 0) return LastFailure("read " + path);
    asked.values.emplace_back(text, static_cast<size_t>(size));
  }
  return {};
}

Failure WriteSysctls(Sysctls& asked) {
  for (size_t i = 0; i < asked.paths.size(); i++) {
    const Descriptor file = Descriptor::Open(asked.paths[i], O_WRONLY);
    if (!file) return LastFailure("open " + asked.paths[i]);
    const std::string& value = asked.values[i];
    if (write(file.Number(), value.data(), value.size()) < 0) return LastFailure("write " + asked.paths[i]);
  }
  return {};
}

/** readSysctls(paths, networkNamespacePath) */
Napi::Value ReadSysctlsJs(const Napi::CallbackInfo& info) {
  Sysctls asked{ReadTextArray(info[0], "paths"), {}, NetworkSpace(info[1])};
  return PostState<Sysctls>(
      info.Env().GetInstanceData<Instance>()->system, info.Env(), std::move(asked),
      [](Sysctls& state) { return RunIn(state.spaces, [&] { return ReadSysctls(state); }); },
      [](Napi::Env env, Sysctls& state) -> Napi::Value {
        auto values = Napi::Array::New(env, state.values.size());
        for (uint32_t i = 0; i < state.values.size(); i++) values.Set(i, state.values[i]);
        return values;
      });
}

/** writeSysctls(paths, values, networkNamespacePath) */
Napi::Value WriteSysctlsJs(const Napi::CallbackInfo& info) {
  Sysctls asked{ReadTextArray(info[0], "paths"), ReadTextArray(info[1], "values"), NetworkSpace(info[2])};
  if (asked.paths.size() != asked.values.size()) throw Napi::TypeError::New(info.Env(), "values must be as many as paths");
  return PostState<Sysctls>(info.Env().GetInstanceData<Instance>()->system, info.Env(), std::move(asked),
                            [](Sysctls& state) { return RunIn(state.spaces, [&] { return WriteSysctls(state); }); });
}

struct Cookie {
  Spaces spaces;
  uint64_t value = 0;
};

/** SO_NETNS_COOKIE, which the C library of older systems does not know. */
constexpr int kSocketNetworkCookie = 71;

Failure ReadNetworkCookie(Cookie& cookie) {
  const Descriptor any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any) return LastFailure("open socket");
  socklen_t size = sizeof cookie.value;
  if (getsockopt(any.Number(), SOL_SOCKET, kSocketNetworkCookie, &cookie.value, &size) == 0) return {};
  return LastFailure("read network namespace cookie");
}

/** networkNamespaceCookie(networkNamespacePath) */
Napi::Value NetworkNamespaceCookieJs(const Napi::CallbackInfo& info) {
  return PostState<Cookie>(
      info.Env().GetInstanceData<Instance>()->system, info.Env(), Cookie{NetworkSpace(info[0])},
      [](Cookie& state) { return RunIn(state.spaces, [&] { return ReadNetworkCookie(state); }); },
      [](Napi::Env env, Cookie& state) -> Napi::Value { return Napi::BigInt::New(env, state.value); });
}

/** socketPeer(descriptor): at once, for it is asked of the kernel alone. */
Napi::Value SocketPeerJs(const Napi::CallbackInfo& info) {
  const auto descriptor = static_cast<int>(ReadUint32(info[0], "descriptor"));
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    throw ErrorOf(info.Env(), LastFailure("read who is at the other end of a socket"));
  }
  auto object = Napi::Object::New(info.Env());
  object.Set("pid", peer.pid);
  object.Set("uid", peer.uid);
  object.Set("gid", peer.gid);
  return object;
}

struct Opening {
  Spaces spaces;
  int type;
  sockaddr_in own{}, peer{};
  int receive_bytes = 0;
  Descriptor socket;
};

Failure OpenSocket(Opening& asked) {
  const bool is_stream = asked.type == SOCK_STREAM;
  Descriptor opened(socket(AF_INET, asked.type | SOCK_CLOEXEC, 0));
  if (!opened) return LastFailure("open socket");
  const int bytes = asked.receive_bytes;
  if (bytes > 0 && setsockopt(opened.Number(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) {
    return LastFailure("give socket room");
  }
  if (bind(opened.Number(), reinterpret_cast<const sockaddr*>(&asked.own), sizeof asked.own) != 0) {
    return LastFailure("bind socket");
  }
  if (asked.peer.sin_port != 0) {
    if (connect(opened.Number(), reinterpret_cast<const sockaddr*>(&asked.peer), sizeof asked.peer) != 0) {
      return LastFailure("connect socket");
    }
  } else if (is_stream && listen(opened.Number(), SOMAXCONN) != 0) {
    return LastFailure("listen on socket");
  }
  if (fcntl(opened.Number(), F_SETFL, O_NONBLOCK) != 0) return LastFailure("make socket non-blocking");
  asked.socket = std::move(opened);
  return {};
}

sockaddr_in ReadEnd(Napi::Env env, Napi::Value address, Napi::Value port) {
  sockaddr_in end{};
  end.sin_family = AF_INET;
  end.sin_port = htons(static_cast<uint16_t>(ReadUint32(port, "port")));
  if (inet_pton(AF_INET, ReadText(address, "address").c_str(), &end.sin_addr) == 1) return end;
  throw Napi::TypeError::New(env, "address must be one of IPv4");
}

/**
 * openSocket(isStream, address, port, peerAddress, peerPort, networkNamespacePath, receiveBytes): a descriptor that is the
 * caller's. With 0 receiveBytes it has what the system gives.
 */
Napi::Value OpenSocketJs(const Napi::CallbackInfo& info) {
  Opening asked;
  asked.type = ReadBool(info[0], "isStream") ? SOCK_STREAM : SOCK_DGRAM;
  asked.own = ReadEnd(info.Env(), info[1], info[2]);
  asked.peer = ReadEnd(info.Env(), info[3], info[4]);
  asked.spaces = NetworkSpace(info[5]);
  asked.receive_bytes = static_cast<int>(ReadUint32(info[6], "receiveBytes") & 0x3fffffffu);
  return PostState<Opening>(
      info.Env().GetInstanceData<Instance>()->system, info.Env(), std::move(asked),
      [](Opening& state) { return RunIn(state.spaces, [&] { return OpenSocket(state); }); },
      [](Napi::Env env, Opening& state) -> Napi::Value { return Napi::Number::New(env, state.socket.Release()); });
}

/** trimHeap(): at once. Only glibc keeps so much that it has a word for this. */
void TrimHeapJs(const Napi::CallbackInfo&) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace

void ExportSystem(Napi::Env env, Napi::Object exports) {
  exports.Set("mount", Napi::Function::New<MountJs>(env, "mount"));
  exports.Set("unmount", Napi::Function::New<UnmountJs>(env, "unmount"));
  exports.Set("createNetworkNamespace", Napi::Function::New<CreateNetworkNamespaceJs>(env, "createNetworkNamespace"));
  exports.Set("deleteNetworkNamespace", Napi::Function::New<DeleteNetworkNamespaceJs>(env, "deleteNetworkNamespace"));
  exports.Set("networkNamespaceCookie",
              Napi::Function::New<NetworkNamespaceCookieJs>(env, "networkNamespaceCookie"));
  exports.Set("openSocket", Napi::Function::New<OpenSocketJs>(env, "openSocket"));
  exports.Set("readSysctls", Napi::Function::New<ReadSysctlsJs>(env, "readSysctls"));
  exports.Set("socketPeer", Napi::Function::New<SocketPeerJs>(env, "socketPeer"));
  exports.Set("trimHeap", Napi::Function::New<TrimHeapJs>(env, "trimHeap"));
  exports.Set("writeSysctls", Napi::Function::New<WriteSysctlsJs>(env, "writeSysctls"));
}

}  // namespace agent

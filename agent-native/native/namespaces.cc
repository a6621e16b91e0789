#include "namespaces.h"

#include <sched.h>
#include <sys/socket.h>

#include <system_error>
#include <thread>

namespace agent {

Failure SocketIn(const Descriptor& space, int domain, int type, int protocol, Descriptor& result) {
  const Descriptor home = Descriptor::Open("/proc/thread-self/ns/net", O_RDONLY);
  if (!home) return LastFailure("open /proc/thread-self/ns/net");
  if (setns(space.Number(), CLONE_NEWNET) != 0) return LastFailure("enter network namespace");
  result = Descriptor(socket(domain, type | SOCK_CLOEXEC, protocol));
  const Failure failure = result ? Failure{} : LastFailure("open socket in network namespace");
  if (setns(home.Number(), CLONE_NEWNET) != 0) return LastFailure("return from network namespace");
  return failure;
}

namespace {

Failure Enter(const Descriptor& network, const Descriptor& mount) {
  if (network && setns(network.Number(), CLONE_NEWNET) != 0) return LastFailure("enter network namespace");
  if (!mount) return {};
  // A thread that shares its root and working directory with others may not change them.
  if (unshare(CLONE_FS) != 0) return LastFailure("unshare file system attributes");
  if (setns(mount.Number(), CLONE_NEWNS) != 0) return LastFailure("enter mount namespace");
  return {};
}

}  // namespace

Failure RunIn(const Spaces& spaces, const std::function<Failure()>& work) {
  Descriptor network, mount;
  if (spaces.network) {
    network = Descriptor::Open(*spaces.network, O_RDONLY);
    if (!network) return LastFailure("open network namespace " + *spaces.network);
  }
  if (spaces.mount) {
    mount = Descriptor::Open(*spaces.mount, O_RDONLY);
    if (!mount) return LastFailure("open mount namespace " + *spaces.mount);
  }
  if (!network && !mount) return work();
  Failure failure;
  try {
    std::thread visitor([&] {
      failure = Enter(network, mount);
      if (!failure) failure = work();
    });
    visitor.join();
  } catch (const std::system_error& error) {
    return FailureOf(EAGAIN, "start a thread", error.what());
  }
  return failure;
}

}  // namespace agent

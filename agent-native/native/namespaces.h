// Threads that visit namespaces.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "descriptor.h"
#include "failure.h"

namespace agent {

/**
 * Makes a socket inside a network namespace: it stays there whatever its threads do later. The calling thread, which
 * must be one of ours, is back home afterwards; should that fail, the failure says so.
 */
Failure SocketIn(const Descriptor& space, int domain, int type, int protocol, Descriptor& socket);

struct Spaces {
  std::optional<std::string> network;
  std::optional<std::string> mount;
};

/**
 * Runs `work` on a thread that has entered these namespaces and ends with it, so that nothing has to be restored.
 * In a mount namespace every path is that namespace's.
 */
Failure RunIn(const Spaces& spaces, const std::function<Failure()>& work);

}  // namespace agent

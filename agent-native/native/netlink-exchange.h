// Sends a batch of netlink messages and collects what the kernel says to each. No JavaScript here.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "descriptor.h"
#include "failure.h"

namespace agent {

/** Opens a netlink socket, in the network namespace at `path` or in that of the thread when that is empty. */
Failure OpenNetlink(const std::string& path, int protocol, uint32_t receive_bytes, Descriptor& socket);

/** A 32-bit field of a message whose value is known only when the message is about to be sent. */
struct Fixup {
  enum Kind : uint32_t {
    /** The index of the link called names[value], in the namespace that the message is sent in. */
    kLinkIndex = 0,
    /** A descriptor of namespaces[value]. */
    kNamespace = 1,
  };
  uint32_t offset;
  uint32_t kind;
  uint32_t value;
};

struct Batch {
  /** Whole messages one after the other, each at a multiple of four. Their sequence numbers are set here. */
  Bytes messages;
  /** One a message: 0 for the socket's own namespace, else 1 + an index of `namespaces`; kDump for a dump. */
  std::vector<uint32_t> plans;
  std::vector<std::string> namespaces;
  std::vector<std::string> names;
  /** By ascending offset. */
  std::vector<Fixup> fixups;
  bool stop_on_error = false;
};

constexpr uint32_t kDump = 0x80000000u;

struct Outcome {
  struct Error {
    uint32_t message;
    int number;
    std::string text;
  };
  struct Reply {
    uint32_t message;
    /** What the kernel sent besides the acknowledgement: whole netlink messages. */
    Bytes messages;
  };
  /** Messages dealt with; fewer than were given when one failed and the batch stops on errors. */
  uint32_t done = 0;
  std::vector<Error> errors;
  std::vector<Reply> replies;
  /** Dumps during which what was dumped changed. */
  std::vector<uint32_t> interrupted;
};

class Exchange {
 public:
  Exchange(int protocol, const Descriptor& socket, uint32_t& sequence)
      : protocol_(protocol), home_(socket), sequence_(sequence) {}

  /** Why the batch is not well formed, or an empty string. */
  static std::string Check(const Batch& batch);
  /** Fails only when the batch could not be begun; everything later is in the outcome. */
  Failure Run(Batch& batch, Outcome& outcome);
  /**
   * Sends messages that are carried out as one or not at all (nfnetlink's), in one send. The kernel is done with them
   * when that returns, and has answered those that it refuses, and no others.
   */
  Failure Transact(Batch& batch, Outcome& outcome);

 private:
  struct Space {
    Descriptor space;
    Descriptor socket;
  };
  struct Range {
    uint32_t offset;
    uint32_t length;
  };

  void Find(Batch& batch);
  void RunMessages(Batch& batch, Outcome& outcome);
  /** The socket to send message `index` on; opened when it is the first of its namespace. */
  Failure SocketFor(uint32_t index, int& number);
  Failure Resolve(uint32_t index, size_t& next_fixup);
  Failure LinkIndex(int socket, const std::string& name, uint32_t& index);
  /** Sends messages [first, end) and waits for the answers to all of them. */
  void Flush(uint32_t first, uint32_t end);
  void Receive(int socket, uint32_t base_sequence, uint32_t first, uint32_t end);
  void Fail(uint32_t message, const Failure& failure);
  void Keep(uint32_t message, const uint8_t* data, uint32_t length);

  int protocol_;
  const Descriptor& home_;
  uint32_t& sequence_;
  Batch* batch_ = nullptr;
  Outcome* outcome_ = nullptr;
  std::vector<Range> ranges_;
  std::vector<Space> spaces_;
  std::map<std::pair<int, std::string>, uint32_t> links_;
  Bytes buffer_;
};

}  // namespace agent

#include "netlink-exchange.h"

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstring>

#include "namespaces.h"

namespace agent {

namespace {

/** Messages in one send: their acknowledgements, about 1 KiB of the receive buffer each, must fit in it. */
constexpr uint32_t kMostInOneSend = 64;
constexpr uint32_t kMostBytesInOneSend = 48 * 1024;
/** The kernel makes the messages of a dump as large as the buffer offered, up to 32 KiB. */
constexpr size_t kReceiveBytes = 64 * 1024;
/** The kernel answers within the send; this only bounds what a kernel bug can do. */
constexpr int kReceiveTimeoutSeconds = 30;
constexpr uint16_t kAttributeTypeMask = 0x3fff;

std::string TextAttribute(const uint8_t* data, size_t length, uint16_t wanted) {
  while (length >= sizeof(nlattr)) {
    nlattr attribute;
    memcpy(&attribute, data, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || attribute.nla_len > length) break;
    if ((attribute.nla_type & kAttributeTypeMask) == wanted) {
      const char* text = reinterpret_cast<const char*>(data + NLA_HDRLEN);
      return std::string(text, strnlen(text, attribute.nla_len - NLA_HDRLEN));
    }
    const size_t step = NLA_ALIGN(attribute.nla_len);
    if (step >= length) break;
    data += step;
    length -= step;
  }
  return {};
}

/** The number and words of an NLMSG_ERROR, or of an NLMSG_DONE that carries one. */
int ErrorIn(const nlmsghdr& header, const uint8_t* message, std::string& text) {
  const uint8_t* payload = message + NLMSG_HDRLEN;
  size_t length = header.nlmsg_len - NLMSG_HDRLEN;
  if (length < sizeof(int32_t)) return 0;
  int32_t number;
  memcpy(&number, payload, sizeof number);
  size_t skip = sizeof number;
  if (header.nlmsg_type == NLMSG_ERROR) {
    if (length < sizeof(nlmsgerr)) return -number;
    nlmsgerr error;
    memcpy(&error, payload, sizeof error);
    skip = sizeof error;
    // The request is echoed unless the kernel honours NETLINK_CAP_ACK or accepted it.
    if ((header.nlmsg_flags & NLM_F_CAPPED) == 0 && number != 0 && error.msg.nlmsg_len >= NLMSG_HDRLEN) {
      skip += NLMSG_ALIGN(error.msg.nlmsg_len) - NLMSG_HDRLEN;
    }
  }
  if ((header.nlmsg_flags & NLM_F_ACK_TLVS) != 0 && skip < length) {
    text = TextAttribute(payload + skip, length - skip, NLMSGERR_ATTR_MSG);
  }
  return -number;
}

void Put(Bytes& bytes, const void* data, size_t size) {
  const auto* from = static_cast<const uint8_t*>(data);
  bytes.insert(bytes.end(), from, from + size);
  bytes.resize(NLMSG_ALIGN(bytes.size()));
}

void SetOption(int socket, int option) {
  const int on = 1;
  // Older kernels lack the option; then there is less text, or no filter, and nothing is wrong.
  (void)setsockopt(socket, SOL_NETLINK, option, &on, sizeof on);
}

}  // namespace

Failure OpenNetlink(const std::string& path, int protocol, uint32_t receive_bytes, Descriptor& result) {
  if (path.empty()) {
    result = Descriptor(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
    if (!result) return LastFailure("open netlink socket");
  } else {
    const Descriptor space = Descriptor::Open(path, O_RDONLY);
    if (!space) return LastFailure("open network namespace " + path);
    Failure failure = SocketIn(space, AF_NETLINK, SOCK_RAW, protocol, result);
    if (failure) {
      failure.operation += " " + path;
      return failure;
    }
  }
  SetOption(result.Number(), NETLINK_EXT_ACK);
  SetOption(result.Number(), NETLINK_CAP_ACK);
  SetOption(result.Number(), NETLINK_GET_STRICT_CHK);
  if (receive_bytes > 0) {
    const int bytes = static_cast<int>(receive_bytes);
    if (setsockopt(result.Number(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) {
      (void)setsockopt(result.Number(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    }
  }
  const timeval timeout{kReceiveTimeoutSeconds, 0};
  (void)setsockopt(result.Number(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (bind(result.Number(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return LastFailure("bind netlink socket");
  }
  return {};
}

std::string Exchange::Check(const Batch& batch) {
  size_t offset = 0;
  size_t count = 0;
  while (offset < batch.messages.size()) {
    if (batch.messages.size() - offset < NLMSG_HDRLEN) return "messages end in the middle of a header";
    nlmsghdr header;
    memcpy(&header, &batch.messages[offset], sizeof header);
    if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > kMostBytesInOneSend) return "a message has a wrong length";
    if (NLMSG_ALIGN(header.nlmsg_len) > batch.messages.size() - offset) return "messages end in the middle of one";
    offset += NLMSG_ALIGN(header.nlmsg_len);
    count++;
  }
  if (count != batch.plans.size()) return "plans must be as many as messages";
  for (const uint32_t plan : batch.plans) {
    if ((plan & ~kDump) > batch.namespaces.size()) return "a plan names no namespace of the batch";
  }
  uint32_t end = 0;
  for (const Fixup& fixup : batch.fixups) {
    if (fixup.offset < end || fixup.offset > batch.messages.size() || batch.messages.size() - fixup.offset < 4) {
      return "fixups must be in order and inside the messages";
    }
    end = fixup.offset + 4;
    const size_t known = fixup.kind == Fixup::kNamespace ? batch.namespaces.size() : batch.names.size();
    if (fixup.kind > Fixup::kNamespace || fixup.value >= known) return "a fixup names nothing of the batch";
  }
  return {};
}

void Exchange::Find(Batch& batch) {
  ranges_.clear();
  for (size_t offset = 0; offset < batch.messages.size();) {
    nlmsghdr header;
    memcpy(&header, &batch.messages[offset], sizeof header);
    ranges_.push_back({static_cast<uint32_t>(offset), static_cast<uint32_t>(NLMSG_ALIGN(header.nlmsg_len))});
    offset += NLMSG_ALIGN(header.nlmsg_len);
  }
}

Failure Exchange::Run(Batch& batch, Outcome& outcome) {
  batch_ = &batch;
  outcome_ = &outcome;
  Find(batch);
  spaces_.clear();
  for (const std::string& path : batch.namespaces) {
    Space space;
    space.space = Descriptor::Open(path, O_RDONLY);
    if (!space.space) return LastFailure("open network namespace " + path);
    spaces_.push_back(std::move(space));
  }
  buffer_.resize(kReceiveBytes);
  RunMessages(batch, outcome);
  return {};
}

Failure Exchange::Transact(Batch& batch, Outcome& outcome) {
  batch_ = &batch;
  outcome_ = &outcome;
  Find(batch);
  buffer_.resize(kReceiveBytes);
  const uint32_t base = sequence_ + 1;
  for (const Range& range : ranges_) {
    nlmsghdr header;
    memcpy(&header, &batch.messages[range.offset], sizeof header);
    header.nlmsg_seq = ++sequence_;
    header.nlmsg_flags |= NLM_F_REQUEST;
    memcpy(&batch.messages[range.offset], &header, sizeof header);
  }
  ssize_t sent;
  do {
    sent = send(home_.Number(), batch.messages.data(), batch.messages.size(), 0);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return LastFailure("send netlink messages");
  for (;;) {
    const ssize_t received = recv(home_.Number(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (received < 0) return LastFailure("receive netlink message");
    nlmsghdr header;
    if (static_cast<size_t>(received) > buffer_.size() || static_cast<size_t>(received) < sizeof header) continue;
    memcpy(&header, buffer_.data(), sizeof header);
    const uint32_t place = header.nlmsg_seq - base;
    if (header.nlmsg_type != NLMSG_ERROR || header.nlmsg_len > static_cast<size_t>(received) || place >= ranges_.size()) continue;
    std::string text;
    const int number = ErrorIn(header, buffer_.data(), text);
    if (number > 0) Fail(place, FailureOf(number, {}, std::move(text)));
  }
  outcome.done = static_cast<uint32_t>(ranges_.size());
  return {};
}

void Exchange::RunMessages(Batch& batch, Outcome& outcome) {
  const uint32_t count = static_cast<uint32_t>(ranges_.size());
  size_t next_fixup = 0;
  uint32_t first = 0;  // the first message that is not sent yet
  auto flush = [&](uint32_t end) {
    if (first < end) Flush(first, end);
    first = end;
  };
  for (uint32_t index = 0; index < count; index++) {
    const bool has_fixups = next_fixup < batch.fixups.size() &&
                            batch.fixups[next_fixup].offset < ranges_[index].offset + ranges_[index].length;
    const bool is_apart = first < index && (batch.plans[first] != batch.plans[index] || (batch.plans[index] & kDump) != 0);
    const bool is_full = index - first >= kMostInOneSend || ranges_[index].offset + ranges_[index].length -
                                                                    ranges_[first].offset > kMostBytesInOneSend;
    if (is_apart || is_full || batch.stop_on_error) flush(index);
    if (batch.stop_on_error && !outcome.errors.empty()) return;
    if (has_fixups) {
      const Failure failure = Resolve(index, next_fixup);
      if (failure) {
        flush(index);
        Fail(index, failure);
        first = index + 1;
        outcome.done = index + 1;
        continue;
      }
    }
    nlmsghdr header;
    memcpy(&header, &batch.messages[ranges_[index].offset], sizeof header);
    if (protocol_ == NETLINK_ROUTE && header.nlmsg_type <= RTM_SETLINK && header.nlmsg_type != RTM_GETLINK) {
      // What comes after may name a link that this message makes, renames or deletes.
      flush(index + 1);
      links_.clear();
    }
  }
  flush(count);
}

Failure Exchange::SocketFor(uint32_t index, int& number) {
  const uint32_t plan = batch_->plans[index] & ~kDump;
  if (plan == 0) {
    number = home_.Number();
    return {};
  }
  Space& space = spaces_[plan - 1];
  if (!space.socket) {
    const std::string& path = batch_->namespaces[plan - 1];
    Failure failure = OpenNetlink(path, protocol_, 0, space.socket);
    if (failure) return failure;
  }
  number = space.socket.Number();
  return {};
}

Failure Exchange::Resolve(uint32_t index, size_t& next_fixup) {
  const uint32_t end = ranges_[index].offset + ranges_[index].length;
  Failure first_failure;
  for (; next_fixup < batch_->fixups.size() && batch_->fixups[next_fixup].offset < end; next_fixup++) {
    if (first_failure) continue;
    const Fixup& fixup = batch_->fixups[next_fixup];
    uint32_t value = 0;
    if (fixup.kind == Fixup::kNamespace) {
      value = static_cast<uint32_t>(spaces_[fixup.value].space.Number());
    } else {
      int socket = -1;
      first_failure = SocketFor(index, socket);
      if (!first_failure) first_failure = LinkIndex(socket, batch_->names[fixup.value], value);
    }
    memcpy(&batch_->messages[fixup.offset], &value, sizeof value);
  }
  return first_failure;
}

Failure Exchange::LinkIndex(int socket, const std::string& name, uint32_t& index) {
  const auto known = links_.find({socket, name});
  if (known != links_.end()) {
    index = known->second;
    return {};
  }
  Bytes request;
  nlmsghdr header{};
  ifinfomsg info{};
  nlattr attribute{};
  attribute.nla_type = name.size() < IFNAMSIZ ? IFLA_IFNAME : IFLA_ALT_IFNAME;
  attribute.nla_len = static_cast<uint16_t>(NLA_HDRLEN + name.size() + 1);
  const uint32_t sequence = ++sequence_;
  header.nlmsg_len = NLMSG_LENGTH(sizeof info) + NLA_ALIGN(attribute.nla_len);
  header.nlmsg_type = RTM_GETLINK;
  header.nlmsg_flags = NLM_F_REQUEST;
  header.nlmsg_seq = sequence;
  Put(request, &header, sizeof header);
  Put(request, &info, sizeof info);
  Put(request, &attribute, sizeof attribute);
  Put(request, name.c_str(), name.size() + 1);
  if (send(socket, request.data(), request.size(), 0) < 0) return LastFailure("send netlink message");
  for (;;) {
    const ssize_t received = recv(socket, buffer_.data(), buffer_.size(), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return LastFailure("receive netlink message");
    if (static_cast<size_t>(received) < NLMSG_HDRLEN) continue;
    memcpy(&header, buffer_.data(), sizeof header);
    if (header.nlmsg_seq != sequence || header.nlmsg_len > static_cast<size_t>(received)) continue;
    if (header.nlmsg_type == NLMSG_ERROR) {
      std::string text;
      const int number = ErrorIn(header, buffer_.data(), text);
      return FailureOf(number == 0 ? EPROTO : number, "find link", "no link \"" + name + "\"" + (text.empty() ? "" : ": " + text));
    }
    if (header.nlmsg_len < NLMSG_LENGTH(sizeof info)) return FailureOf(EPROTO, "find link");
    memcpy(&info, buffer_.data() + NLMSG_HDRLEN, sizeof info);
    index = static_cast<uint32_t>(info.ifi_index);
    links_[{socket, name}] = index;
    return {};
  }
}

void Exchange::Flush(uint32_t first, uint32_t end) {
  outcome_->done = end;
  int socket = -1;
  Failure failure = SocketFor(first, socket);
  if (failure) {
    for (uint32_t index = first; index < end; index++) Fail(index, failure);
    return;
  }
  const uint32_t base = sequence_ + 1;
  for (uint32_t index = first; index < end; index++) {
    uint8_t* message = &batch_->messages[ranges_[index].offset];
    nlmsghdr header;
    memcpy(&header, message, sizeof header);
    header.nlmsg_seq = ++sequence_;
    // Every message is answered: a dump by its end, whatever the kernel does not take for a dump by the acknowledgement.
    header.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    memcpy(message, &header, sizeof header);
  }
  const uint32_t offset = ranges_[first].offset;
  const uint32_t length = ranges_[end - 1].offset + ranges_[end - 1].length - offset;
  ssize_t sent;
  do {
    sent = send(socket, &batch_->messages[offset], length, 0);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    failure = LastFailure("send netlink message");
    for (uint32_t index = first; index < end; index++) Fail(index, failure);
    return;
  }
  Receive(socket, base, first, end);
}

void Exchange::Receive(int socket, uint32_t base, uint32_t first, uint32_t end) {
  std::vector<bool> answered(end - first, false);
  uint32_t waiting = end - first;
  bool was_interrupted = false;
  while (waiting > 0) {
    const ssize_t received = recv(socket, buffer_.data(), buffer_.size(), MSG_TRUNC);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0 || static_cast<size_t>(received) > buffer_.size()) {
      const Failure failure = FailureOf(received >= 0 ? EMSGSIZE : errno == EAGAIN ? ETIMEDOUT : errno,
                                        "receive netlink message");
      for (uint32_t i = 0; i < end - first; i++) {
        if (!answered[i]) Fail(first + i, failure);
      }
      return;
    }
    size_t left = static_cast<size_t>(received);
    const uint8_t* at = buffer_.data();
    while (left >= NLMSG_HDRLEN) {
      nlmsghdr header;
      memcpy(&header, at, sizeof header);
      if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > left) break;
      const uint32_t place = header.nlmsg_seq - base;
      // What does not belong to this send is the rest of one that was given up.
      if (place < end - first && !answered[place]) {
        const uint32_t message = first + place;
        was_interrupted = was_interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
        if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) {
          std::string text;
          const int number = ErrorIn(header, at, text);
          if (number > 0) Fail(message, FailureOf(number, {}, std::move(text)));
          if (was_interrupted) outcome_->interrupted.push_back(message);
          answered[place] = true;
          waiting--;
        } else if (header.nlmsg_type >= NLMSG_MIN_TYPE) {
          Keep(message, at, header.nlmsg_len);
        }
      }
      const size_t step = NLMSG_ALIGN(header.nlmsg_len);
      if (step >= left) break;
      at += step;
      left -= step;
    }
  }
}

void Exchange::Fail(uint32_t message, const Failure& failure) {
  std::string text = failure.text;
  if (text.empty()) text = failure.operation;
  outcome_->errors.push_back({message, failure.number, std::move(text)});
}

void Exchange::Keep(uint32_t message, const uint8_t* data, uint32_t length) {
  if (outcome_->replies.empty() || outcome_->replies.back().message != message) {
    outcome_->replies.push_back({message, {}});
  }
  Put(outcome_->replies.back().messages, data, length);
}

}  // namespace agent

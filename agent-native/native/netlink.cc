// The class NetlinkSocket: a socket, the lane that uses it, and batches of messages as plain values.
#include <napi.h>

#include <memory>

#include "arguments.h"
#include "lane.h"
#include "modules.h"
#include "netlink-exchange.h"

namespace agent {

namespace {

struct Socket {
  Descriptor descriptor;
  int protocol = 0;
  uint32_t sequence = 0;
};

struct Opening {
  std::shared_ptr<Socket> socket;
  std::string path;
  uint32_t receive_bytes;
};

struct Running {
  std::shared_ptr<Socket> socket;
  Batch batch;
  Outcome outcome;
};

struct Closing {
  std::shared_ptr<Socket> socket;
  Lane* lane;
};

Napi::Value OutcomeToJs(Napi::Env env, Running& running) {
  const Outcome& outcome = running.outcome;
  auto errors = Napi::Array::New(env, outcome.errors.size());
  for (uint32_t i = 0; i < outcome.errors.size(); i++) {
    auto error = Napi::Object::New(env);
    error.Set("message", outcome.errors[i].message);
    error.Set("errno", outcome.errors[i].number);
    error.Set("text", outcome.errors[i].text);
    errors.Set(i, error);
  }
  auto replies = Napi::Array::New(env, outcome.replies.size());
  for (uint32_t i = 0; i < outcome.replies.size(); i++) {
    auto reply = Napi::Object::New(env);
    reply.Set("message", outcome.replies[i].message);
    reply.Set("bytes", BytesToJs(env, outcome.replies[i].messages.data(), outcome.replies[i].messages.size()));
    replies.Set(i, reply);
  }
  auto interrupted = Napi::Array::New(env, outcome.interrupted.size());
  for (uint32_t i = 0; i < outcome.interrupted.size(); i++) interrupted.Set(i, outcome.interrupted[i]);
  auto result = Napi::Object::New(env);
  result.Set("done", outcome.done);
  result.Set("errors", errors);
  result.Set("replies", replies);
  result.Set("interrupted", interrupted);
  return result;
}

class NetlinkSocket : public Napi::ObjectWrap<NetlinkSocket> {
 public:
  static Napi::Function Class(Napi::Env env) {
    return DefineClass(env, "NetlinkSocket",
                       {InstanceMethod<&NetlinkSocket::Open>("open"), InstanceMethod<&NetlinkSocket::Run>("run"),
                        InstanceMethod<&NetlinkSocket::Transact>("transact"), InstanceMethod<&NetlinkSocket::Close>("close")});
  }

  explicit NetlinkSocket(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<NetlinkSocket>(info), lane_(info.Env()), socket_(std::make_shared<Socket>()) {}

 private:
  /** open(namespacePath | undefined, protocol, receiveBytes) */
  Napi::Value Open(const Napi::CallbackInfo& info) {
    RefuseClosed(info.Env());
    if (is_opened_) throw Napi::Error::New(info.Env(), "a socket is opened once");
    Opening opening{socket_, ReadOptionalText(info[0], "namespacePath").value_or(""), ReadUint32(info[2], "receiveBytes")};
    socket_->protocol = static_cast<int>(ReadUint32(info[1], "protocol") & 0xff);
    is_opened_ = true;
    return PostState<Opening>(
        lane_, info.Env(), std::move(opening),
        [](Opening& state) {
          return OpenNetlink(state.path, state.socket->protocol, state.receive_bytes, state.socket->descriptor);
        },
        nullptr, info.This().As<Napi::Object>());
  }

  /** run(messages, plans, namespaces, names, fixups, stopOnError); fixups are triples of offset, kind, value. */
  Napi::Value Run(const Napi::CallbackInfo& info) {
    RefuseClosed(info.Env());
    Running running;
    running.batch.messages = ReadBytes(info[0], "messages");
    running.batch.plans = ReadUint32Array(info[1], "plans");
    running.batch.namespaces = ReadTextArray(info[2], "namespaces");
    running.batch.names = ReadTextArray(info[3], "names");
    const std::vector<uint32_t> fixups = ReadUint32Array(info[4], "fixups");
    running.batch.stop_on_error = ReadBool(info[5], "stopOnError");
    if (fixups.size() % 3 != 0) throw Napi::TypeError::New(info.Env(), "fixups must be triples");
    for (size_t i = 0; i < fixups.size(); i += 3) {
      running.batch.fixups.push_back({fixups[i], fixups[i + 1], fixups[i + 2]});
    }
    return Post<&Exchange::Run>(info, std::move(running));
  }

  /** transact(messages, plans), without namespaces or dumps: the outcome has errors alone. */
  Napi::Value Transact(const Napi::CallbackInfo& info) {
    RefuseClosed(info.Env());
    Running running;
    running.batch.messages = ReadBytes(info[0], "messages");
    running.batch.plans = ReadUint32Array(info[1], "plans");
    return Post<&Exchange::Transact>(info, std::move(running));
  }

  template <Failure (Exchange::*kDeed)(Batch&, Outcome&)>
  Napi::Value Post(const Napi::CallbackInfo& info, Running running) {
    running.socket = socket_;
    const std::string fault = Exchange::Check(running.batch);
    if (!fault.empty()) throw Napi::TypeError::New(info.Env(), fault);
    return PostState<Running>(
        lane_, info.Env(), std::move(running),
        [](Running& state) {
          if (!state.socket->descriptor) return FailureOf(EBADF, "use netlink socket");
          Exchange exchange(state.socket->protocol, state.socket->descriptor, state.socket->sequence);
          return (exchange.*kDeed)(state.batch, state.outcome);
        },
        OutcomeToJs, info.This().As<Napi::Object>());
  }

  /** Closes after everything that was asked for before. */
  Napi::Value Close(const Napi::CallbackInfo& info) {
    RefuseClosed(info.Env());
    is_closed_ = true;
    return PostState<Closing>(
        lane_, info.Env(), Closing{socket_, &lane_},
        [](Closing& state) {
          state.socket->descriptor.Close();
          return Failure{};
        },
        [](Napi::Env env, Closing& state) {
          state.lane->Stop();
          return env.Undefined();
        },
        info.This().As<Napi::Object>());
  }

  void RefuseClosed(Napi::Env env) const {
    if (is_closed_) throw Napi::Error::New(env, "the netlink socket is closed");
  }

  Lane lane_;
  std::shared_ptr<Socket> socket_;
  bool is_opened_ = false;
  bool is_closed_ = false;
};

}  // namespace

void ExportNetlink(Napi::Env env, Napi::Object exports) { exports.Set("NetlinkSocket", NetlinkSocket::Class(env)); }

}  // namespace agent

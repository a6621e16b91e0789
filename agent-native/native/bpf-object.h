// BPF maps, programs and links as JavaScript holds them: externals with a type tag, whose descriptor is closed when
// it is told to be, when nobody holds it any more, or after the last job that uses it.
#pragma once

#include <linux/bpf.h>
#include <napi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "arguments.h"
#include "descriptor.h"
#include "modules.h"

namespace agent {

enum class BpfKind : uint32_t { kMap = 0, kProgram = 1, kLink = 2 };

struct BpfObject {
  Descriptor descriptor;
  BpfKind kind = BpfKind::kMap;
  uint32_t id = 0;
  // Of maps:
  uint32_t type = 0;
  uint32_t key_size = 0;
  /** Bytes of one value as the kernel reads and writes it here: of a per-CPU map, those of all CPUs together. */
  uint32_t value_size = 0;
  uint32_t max_entries = 0;
};

using BpfPointer = std::shared_ptr<BpfObject>;

inline int Bpf(int command, bpf_attr& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

/** Where all that concerns BPF is done. */
inline Lane& BpfLane(Napi::Env env) { return env.GetInstanceData<Instance>()->bpf; }

inline uint64_t Address(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

/** Fills in the kernel's description of a map, program or link. */
template <typename Info>
Failure InfoOf(int descriptor, Info& info) {
  bpf_attr attributes{};
  attributes.info.bpf_fd = static_cast<uint32_t>(descriptor);
  attributes.info.info_len = sizeof info;
  attributes.info.info = Address(&info);
  if (Bpf(BPF_OBJ_GET_INFO_BY_FD, attributes) != 0) return LastFailure("read BPF object's description");
  return {};
}

/** Reads what there is to know about the object behind `descriptor` and takes it over. */
Failure AdoptBpfObject(Descriptor descriptor, BpfKind kind, BpfPointer& object);

Napi::Value BpfObjectToJs(Napi::Env env, BpfPointer object);
/** Throws unless `value` is an open object of that kind. */
BpfPointer ReadBpfObject(Napi::Value value, BpfKind kind, const char* name);

Napi::Value IdsToJs(Napi::Env env, const std::vector<uint32_t>& ids);

/** A state that makes an object. */
struct MakingBpfObject {
  BpfPointer object;
};

/** What a job comes to that has made one. */
template <typename Making>
Napi::Value MadeToJs(Napi::Env env, Making& state) {
  return BpfObjectToJs(env, std::move(state.object));
}

}  // namespace agent

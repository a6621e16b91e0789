// What BPF objects have in common: how they are found, held, named in a BPF file system and closed.
#include "bpf-object.h"

namespace agent {

namespace {

constexpr napi_type_tag kObjectTag = {0x6b1df2e0a9c54c17ull, 0x9d0a77b1c4e25f38ull};

struct Holder {
  BpfPointer object;
};

uint32_t PossibleCpus() {
  static const uint32_t count = [] {
    // "0-7": the last number names the last CPU that there can be.
    const Descriptor file = Descriptor::Open("/sys/devices/system/cpu/possible", O_RDONLY);
    char text[256] = {};
    if (!file || read(file.Number(), text, sizeof text - 1) <= 0) return 1u;
    const std::string ranges(text);
    const size_t at = ranges.find_last_of("-,");
    return static_cast<uint32_t>(strtoul(ranges.c_str() + (at == std::string::npos ? 0 : at + 1), nullptr, 10)) + 1;
  }();
  return count;
}

bool IsPerCpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
         type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

/** A pinned file or an id can lead to any kind of object; only the name of its descriptor says which. */
bool IsOfKind(int descriptor, BpfKind kind) {
  char target[64] = {};
  const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  if (readlink(path.c_str(), target, sizeof target - 1) <= 0) return false;
  const char* wanted = kind == BpfKind::kMap ? "bpf-map" : kind == BpfKind::kProgram ? "bpf-prog" : "bpf_link";
  const char* other = kind == BpfKind::kLink ? "bpf-link" : wanted;
  return strstr(target, wanted) != nullptr || strstr(target, other) != nullptr;
}

struct Opening : MakingBpfObject {
  std::string path;
  uint32_t id = 0;
  BpfKind kind;
};

BpfKind ReadKind(Napi::Value value) {
  const uint32_t kind = ReadUint32(value, "kind");
  if (kind > 2) throw Napi::TypeError::New(value.Env(), "kind must be 0, 1 or 2");
  return static_cast<BpfKind>(kind);
}

/** bpfOpenPinned(kind, path) */
Napi::Value OpenPinned(const Napi::CallbackInfo& info) {
  Opening asked;
  asked.kind = ReadKind(info[0]);
  asked.path = ReadText(info[1], "path");
  return PostState<Opening>(
      BpfLane(info.Env()), info.Env(), std::move(asked),
      [](Opening& state) -> Failure {
        bpf_attr attributes{};
        attributes.pathname = Address(state.path.c_str());
        Descriptor descriptor(Bpf(BPF_OBJ_GET, attributes));
        if (!descriptor) return LastFailure("open pinned " + state.path);
        if (!IsOfKind(descriptor.Number(), state.kind)) {
          return FailureOf(EINVAL, "open pinned " + state.path, "it is a BPF object of another kind");
        }
        return AdoptBpfObject(std::move(descriptor), state.kind, state.object);
      },
      MadeToJs<Opening>);
}

/** bpfOpenById(kind, id) */
Napi::Value OpenById(const Napi::CallbackInfo& info) {
  Opening asked;
  asked.kind = ReadKind(info[0]);
  asked.id = ReadUint32(info[1], "id");
  return PostState<Opening>(
      BpfLane(info.Env()), info.Env(), std::move(asked),
      [](Opening& state) -> Failure {
        bpf_attr attributes{};
        attributes.map_id = state.id;
        const int commands[] = {BPF_MAP_GET_FD_BY_ID, BPF_PROG_GET_FD_BY_ID, BPF_LINK_GET_FD_BY_ID};
        Descriptor descriptor(Bpf(commands[static_cast<int>(state.kind)], attributes));
        if (!descriptor) return LastFailure("open BPF object " + std::to_string(state.id));
        return AdoptBpfObject(std::move(descriptor), state.kind, state.object);
      },
      MadeToJs<Opening>);
}

struct Listing {
  BpfKind kind;
  std::vector<uint32_t> ids;
};

/** bpfIds(kind) */
Napi::Value Ids(const Napi::CallbackInfo& info) {
  return PostState<Listing>(
      BpfLane(info.Env()), info.Env(), Listing{ReadKind(info[0]), {}},
      [](Listing& state) -> Failure {
        const int commands[] = {BPF_MAP_GET_NEXT_ID, BPF_PROG_GET_NEXT_ID, BPF_LINK_GET_NEXT_ID};
        bpf_attr attributes{};
        while (Bpf(commands[static_cast<int>(state.kind)], attributes) == 0) {
          state.ids.push_back(attributes.next_id);
          attributes.start_id = attributes.next_id;
        }
        return errno == ENOENT ? Failure{} : LastFailure("list BPF objects");
      },
      [](Napi::Env env, Listing& state) { return IdsToJs(env, state.ids); });
}

struct Pinning {
  BpfPointer object;
  std::string path;
};

/** bpfPin(kind, object, path) */
Napi::Value Pin(const Napi::CallbackInfo& info) {
  Pinning asked{ReadBpfObject(info[1], ReadKind(info[0]), "object"), ReadText(info[2], "path")};
  return PostState<Pinning>(BpfLane(info.Env()), info.Env(), std::move(asked), [](Pinning& state) -> Failure {
    bpf_attr attributes{};
    attributes.pathname = Address(state.path.c_str());
    attributes.bpf_fd = static_cast<uint32_t>(state.object->descriptor.Number());
    return Bpf(BPF_OBJ_PIN, attributes) == 0 ? Failure{} : LastFailure("pin at " + state.path);
  });
}

/** bpfClose(object): synchronous and idempotent; jobs that use the object end first. */
Napi::Value Close(const Napi::CallbackInfo& info) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "object must be a BPF object");
  auto external = info[0].As<Napi::External<Holder>>();
  if (!external.CheckTypeTag(&kObjectTag)) throw Napi::TypeError::New(info.Env(), "object must be a BPF object");
  external.Data()->object.reset();
  return info.Env().Undefined();
}

}  // namespace

Failure AdoptBpfObject(Descriptor descriptor, BpfKind kind, BpfPointer& object) {
  auto made = std::make_shared<BpfObject>();
  Failure failure;
  made->kind = kind;
  if (kind == BpfKind::kMap) {
    bpf_map_info info{};
    failure = InfoOf(descriptor.Number(), info);
    made->id = info.id;
    made->type = info.type;
    made->key_size = info.key_size;
    made->value_size = IsPerCpu(info.type) ? ((info.value_size + 7) & ~7u) * PossibleCpus() : info.value_size;
    made->max_entries = info.max_entries;
  } else if (kind == BpfKind::kProgram) {
    bpf_prog_info info{};
    failure = InfoOf(descriptor.Number(), info);
    made->id = info.id;
    made->type = info.type;
  } else {
    bpf_link_info info{};
    failure = InfoOf(descriptor.Number(), info);
    made->id = info.id;
    made->type = info.type;
  }
  made->descriptor = std::move(descriptor);
  if (!failure) object = std::move(made);
  return failure;
}

Napi::Value BpfObjectToJs(Napi::Env env, BpfPointer object) {
  auto result = Napi::Object::New(env);
  result.Set("id", object->id);
  result.Set("type", object->type);
  if (object->kind == BpfKind::kMap) {
    result.Set("keyBytes", object->key_size);
    result.Set("valueBytes", object->value_size);
    result.Set("maxEntries", object->max_entries);
  }
  auto external = Napi::External<Holder>::New(env, new Holder{std::move(object)}, [](Napi::Env, Holder* holder) { delete holder; });
  external.TypeTag(&kObjectTag);
  result.Set("handle", external);
  return result;
}

BpfPointer ReadBpfObject(Napi::Value value, BpfKind kind, const char* name) {
  if (!value.IsExternal() || !value.As<Napi::External<Holder>>().CheckTypeTag(&kObjectTag)) {
    throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a BPF object");
  }
  BpfPointer object = value.As<Napi::External<Holder>>().Data()->object;
  if (!object) throw Napi::Error::New(value.Env(), std::string("the BPF ") + name + " is closed");
  if (object->kind != kind) throw Napi::TypeError::New(value.Env(), std::string(name) + " is a BPF object of another kind");
  return object;
}

Napi::Value IdsToJs(Napi::Env env, const std::vector<uint32_t>& ids) {
  auto array = Napi::Array::New(env, ids.size());
  for (uint32_t i = 0; i < ids.size(); i++) array.Set(i, ids[i]);
  return array;
}

void ExportBpfObject(Napi::Env env, Napi::Object exports) {
  exports.Set("bpfOpenPinned", Napi::Function::New<OpenPinned>(env, "bpfOpenPinned"));
  exports.Set("bpfOpenById", Napi::Function::New<OpenById>(env, "bpfOpenById"));
  exports.Set("bpfIds", Napi::Function::New<Ids>(env, "bpfIds"));
  exports.Set("bpfPin", Napi::Function::New<Pin>(env, "bpfPin"));
  exports.Set("bpfClose", Napi::Function::New<Close>(env, "bpfClose"));
}

}  // namespace agent

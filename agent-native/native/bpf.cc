// BPF programs, links, and what all BPF objects have in common.
#include <sys/stat.h>

#include <string>

#include "bpf-object.h"

namespace agent {

namespace {

constexpr napi_type_tag kObjectTag = {0x6b1df2e0a9c54c17ull, 0x9d0a77b1c4e25f38ull};
constexpr uint32_t kTcxLink = 11;
constexpr size_t kFirstLogBytes = 256 * 1024;
constexpr size_t kMostLogBytes = 16 * 1024 * 1024;

struct Holder {
  BpfPointer object;
};

Lane& BpfLane(Napi::Env env) { return env.GetInstanceData<Instance>()->bpf; }

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

template <typename Info>
Failure InfoOf(int descriptor, Info& info) {
  bpf_attr attributes{};
  attributes.info.bpf_fd = static_cast<uint32_t>(descriptor);
  attributes.info.info_len = sizeof info;
  attributes.info.info = Address(&info);
  if (Bpf(BPF_OBJ_GET_INFO_BY_FD, attributes) != 0) return LastFailure("read BPF object's description");
  return {};
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

Napi::Value MadeToJs(Napi::Env env, MakingBpfObject& state) { return BpfObjectToJs(env, std::move(state.object)); }

struct Opening : MakingBpfObject {
  std::string path;
  uint32_t id = 0;
  BpfKind kind;
};

Napi::Value OpenedToJs(Napi::Env env, Opening& state) { return MadeToJs(env, state); }

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
      OpenedToJs);
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
      OpenedToJs);
}

struct Listing {
  BpfKind kind;
  std::vector<uint32_t> ids;
};

Napi::Value IdsToJs(Napi::Env env, const std::vector<uint32_t>& ids) {
  auto array = Napi::Array::New(env, ids.size());
  for (uint32_t i = 0; i < ids.size(); i++) array.Set(i, ids[i]);
  return array;
}

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

struct Loading : MakingBpfObject {
  uint32_t type, attach_type, log_level;
  Bytes instructions;
  std::string license, name;
  std::vector<BpfPointer> maps;
  /** Pairs: an instruction's number, an index of `maps`. */
  std::vector<uint32_t> map_places;
};

Failure Load(Loading& state) {
  auto* instructions = reinterpret_cast<bpf_insn*>(state.instructions.data());
  for (size_t i = 0; i + 1 < state.map_places.size(); i += 2) {
    bpf_insn& instruction = instructions[state.map_places[i]];
    instruction.src_reg = BPF_PSEUDO_MAP_FD;
    instruction.imm = state.maps[state.map_places[i + 1]]->descriptor.Number();
  }
  bpf_attr attributes{};
  attributes.prog_type = state.type;
  attributes.expected_attach_type = state.attach_type;
  attributes.insn_cnt = static_cast<uint32_t>(state.instructions.size() / sizeof(bpf_insn));
  attributes.insns = Address(instructions);
  attributes.license = Address(state.license.c_str());
  strncpy(attributes.prog_name, state.name.c_str(), sizeof attributes.prog_name - 1);
  Descriptor descriptor(Bpf(BPF_PROG_LOAD, attributes));
  if (descriptor) return AdoptBpfObject(std::move(descriptor), BpfKind::kProgram, state.object);
  const int number = errno;
  // Once more with a log, in a buffer that it fits into; the kernel cuts it off when there is no larger one.
  std::string log;
  for (size_t size = kFirstLogBytes; size <= kMostLogBytes; size *= 8) {
    log.assign(size, '\0');
    attributes.log_level = state.log_level;
    attributes.log_size = static_cast<uint32_t>(size);
    attributes.log_buf = Address(log.data());
    descriptor = Descriptor(Bpf(BPF_PROG_LOAD, attributes));
    if (descriptor) return AdoptBpfObject(std::move(descriptor), BpfKind::kProgram, state.object);
    log.resize(strnlen(log.data(), log.size()));
    if (errno != ENOSPC) break;
  }
  return FailureOf(number, "load BPF program " + state.name, std::move(log));
}

/** bpfLoad(type, attachType, instructions, license, name, logLevel, maps, mapPlaces) */
Napi::Value LoadJs(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Loading asked;
  asked.type = ReadUint32(info[0], "type");
  asked.attach_type = ReadUint32(info[1], "attachType");
  asked.instructions = ReadBytes(info[2], "instructions");
  asked.license = ReadText(info[3], "license");
  asked.name = ReadText(info[4], "name");
  asked.log_level = ReadUint32(info[5], "logLevel");
  if (!info[6].IsArray()) throw Napi::TypeError::New(env, "maps must be an array");
  auto maps = info[6].As<Napi::Array>();
  for (uint32_t i = 0; i < maps.Length(); i++) asked.maps.push_back(ReadBpfObject(maps.Get(i), BpfKind::kMap, "map"));
  asked.map_places = ReadUint32Array(info[7], "mapPlaces");
  if (asked.instructions.empty() || asked.instructions.size() % sizeof(bpf_insn) != 0) {
    throw Napi::TypeError::New(env, "instructions must be 8 bytes each");
  }
  if (asked.map_places.size() % 2 != 0) throw Napi::TypeError::New(env, "mapPlaces must be pairs");
  for (size_t i = 0; i < asked.map_places.size(); i += 2) {
    if (asked.map_places[i] >= asked.instructions.size() / sizeof(bpf_insn) || asked.map_places[i + 1] >= asked.maps.size()) {
      throw Napi::TypeError::New(env, "mapPlaces must name instructions and maps");
    }
  }
  return PostState<Loading>(BpfLane(env), env, std::move(asked), Load,
                            [](Napi::Env inner, Loading& state) { return MadeToJs(inner, state); });
}

struct Attaching {
  BpfPointer program, replaced;
  std::string cgroup;
  uint32_t attach_type, flags;
};

Failure Attach(Attaching& state) {
  const Descriptor cgroup = Descriptor::Open(state.cgroup, O_RDONLY | O_DIRECTORY);
  if (!cgroup) return LastFailure("open cgroup " + state.cgroup);
  bpf_attr attributes{};
  attributes.target_fd = static_cast<uint32_t>(cgroup.Number());
  attributes.attach_bpf_fd = static_cast<uint32_t>(state.program->descriptor.Number());
  attributes.attach_type = state.attach_type;
  attributes.attach_flags = state.flags;
  if (state.replaced) attributes.replace_bpf_fd = static_cast<uint32_t>(state.replaced->descriptor.Number());
  if (Bpf(BPF_PROG_ATTACH, attributes) != 0) return LastFailure("attach BPF program to cgroup " + state.cgroup);
  return {};
}

/** bpfAttach(program, cgroupPath, attachType, flags, replacedProgram | undefined) */
Napi::Value AttachJs(const Napi::CallbackInfo& info) {
  Attaching asked;
  asked.program = ReadBpfObject(info[0], BpfKind::kProgram, "program");
  asked.cgroup = ReadText(info[1], "cgroup");
  asked.attach_type = ReadUint32(info[2], "attachType");
  asked.flags = ReadUint32(info[3], "flags");
  if (!info[4].IsUndefined()) asked.replaced = ReadBpfObject(info[4], BpfKind::kProgram, "replaced");
  return PostState<Attaching>(BpfLane(info.Env()), info.Env(), std::move(asked), Attach);
}

/** bpfDetach(program, cgroupPath, attachType) */
Napi::Value DetachJs(const Napi::CallbackInfo& info) {
  Attaching asked{ReadBpfObject(info[0], BpfKind::kProgram, "program"), nullptr, ReadText(info[1], "cgroup"),
                  ReadUint32(info[2], "attachType"), 0};
  return PostState<Attaching>(BpfLane(info.Env()), info.Env(), std::move(asked), [](Attaching& state) -> Failure {
    const Descriptor cgroup = Descriptor::Open(state.cgroup, O_RDONLY | O_DIRECTORY);
    if (!cgroup) return LastFailure("open cgroup " + state.cgroup);
    bpf_attr attributes{};
    attributes.target_fd = static_cast<uint32_t>(cgroup.Number());
    attributes.attach_bpf_fd = static_cast<uint32_t>(state.program->descriptor.Number());
    attributes.attach_type = state.attach_type;
    if (Bpf(BPF_PROG_DETACH, attributes) != 0) return LastFailure("detach BPF program from cgroup " + state.cgroup);
    return {};
  });
}

struct Querying {
  std::string cgroup;
  uint32_t attach_type, query_flags, attach_flags = 0;
  std::vector<uint32_t> ids;
};

Failure Query(Querying& state) {
  const Descriptor cgroup = Descriptor::Open(state.cgroup, O_RDONLY | O_DIRECTORY);
  if (!cgroup) return LastFailure("open cgroup " + state.cgroup);
  for (size_t room = 64;; room *= 2) {
    state.ids.assign(room, 0);
    bpf_attr attributes{};
    attributes.query.target_fd = static_cast<uint32_t>(cgroup.Number());
    attributes.query.attach_type = state.attach_type;
    attributes.query.query_flags = state.query_flags;
    attributes.query.prog_ids = Address(state.ids.data());
    attributes.query.prog_cnt = static_cast<uint32_t>(room);
    if (Bpf(BPF_PROG_QUERY, attributes) != 0) {
      if (errno == ENOSPC && room < 65536) continue;
      return LastFailure("list BPF programs of cgroup " + state.cgroup);
    }
    state.ids.resize(attributes.query.prog_cnt);
    state.attach_flags = attributes.query.attach_flags;
    return {};
  }
}

/** bpfQuery(cgroupPath, attachType, queryFlags) */
Napi::Value QueryJs(const Napi::CallbackInfo& info) {
  Querying asked{ReadText(info[0], "cgroup"), ReadUint32(info[1], "attachType"), ReadUint32(info[2], "flags"), 0, {}};
  return PostState<Querying>(BpfLane(info.Env()), info.Env(), std::move(asked), Query,
                             [](Napi::Env env, Querying& state) -> Napi::Value {
                               auto result = Napi::Object::New(env);
                               result.Set("ids", IdsToJs(env, state.ids));
                               result.Set("attachFlags", state.attach_flags);
                               return result;
                             });
}

struct Linking : MakingBpfObject {
  BpfPointer program;
  std::string cgroup;
  uint32_t link_index, attach_type, flags;
};

Failure Link(Linking& state) {
  Descriptor cgroup;
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<uint32_t>(state.program->descriptor.Number());
  attributes.link_create.attach_type = state.attach_type;
  attributes.link_create.flags = state.flags;
  if (state.cgroup.empty()) {
    attributes.link_create.target_ifindex = state.link_index;
  } else {
    cgroup = Descriptor::Open(state.cgroup, O_RDONLY | O_DIRECTORY);
    if (!cgroup) return LastFailure("open cgroup " + state.cgroup);
    attributes.link_create.target_fd = static_cast<uint32_t>(cgroup.Number());
  }
  Descriptor descriptor(Bpf(BPF_LINK_CREATE, attributes));
  if (!descriptor) return LastFailure("link BPF program to " + (state.cgroup.empty() ? "link " + std::to_string(state.link_index) : "cgroup " + state.cgroup));
  return AdoptBpfObject(std::move(descriptor), BpfKind::kLink, state.object);
}

/** bpfLink(program, cgroupPath | undefined, linkIndex, attachType, flags) */
Napi::Value LinkJs(const Napi::CallbackInfo& info) {
  Linking asked;
  asked.program = ReadBpfObject(info[0], BpfKind::kProgram, "program");
  asked.cgroup = ReadOptionalText(info[1], "cgroup").value_or("");
  asked.link_index = ReadUint32(info[2], "linkIndex");
  asked.attach_type = ReadUint32(info[3], "attachType");
  asked.flags = ReadUint32(info[4], "flags");
  return PostState<Linking>(BpfLane(info.Env()), info.Env(), std::move(asked), Link,
                            [](Napi::Env env, Linking& state) { return MadeToJs(env, state); });
}

struct Relinking {
  BpfPointer link, program;
};

/** bpfLinkUpdate(link, program): connections in flight see the one program or the other, never none. */
Napi::Value LinkUpdate(const Napi::CallbackInfo& info) {
  Relinking asked{ReadBpfObject(info[0], BpfKind::kLink, "link"), ReadBpfObject(info[1], BpfKind::kProgram, "program")};
  return PostState<Relinking>(BpfLane(info.Env()), info.Env(), std::move(asked), [](Relinking& state) -> Failure {
    bpf_attr attributes{};
    attributes.link_update.link_fd = static_cast<uint32_t>(state.link->descriptor.Number());
    attributes.link_update.new_prog_fd = static_cast<uint32_t>(state.program->descriptor.Number());
    if (Bpf(BPF_LINK_UPDATE, attributes) != 0) return LastFailure("update BPF link");
    return {};
  });
}

/** bpfLinkDetach(link): the link stays, with nothing attached. */
Napi::Value LinkDetach(const Napi::CallbackInfo& info) {
  Relinking asked{ReadBpfObject(info[0], BpfKind::kLink, "link"), nullptr};
  return PostState<Relinking>(BpfLane(info.Env()), info.Env(), std::move(asked), [](Relinking& state) -> Failure {
    bpf_attr attributes{};
    attributes.link_detach.link_fd = static_cast<uint32_t>(state.link->descriptor.Number());
    if (Bpf(BPF_LINK_DETACH, attributes) != 0) return LastFailure("detach BPF link");
    return {};
  });
}

struct Describing {
  BpfPointer object;
  bpf_prog_info program{};
  bpf_link_info link{};
  std::vector<uint32_t> map_ids;
};

Failure Describe(Describing& state) {
  const int descriptor = state.object->descriptor.Number();
  if (state.object->kind == BpfKind::kLink) return InfoOf(descriptor, state.link);
  Failure failure = InfoOf(descriptor, state.program);
  const uint32_t maps = state.program.nr_map_ids;
  if (failure || maps == 0) return failure;
  state.map_ids.assign(maps, 0);
  state.program = bpf_prog_info{};
  state.program.nr_map_ids = maps;
  state.program.map_ids = Address(state.map_ids.data());
  return InfoOf(descriptor, state.program);
}

/** bpfProgramInfo(program) */
Napi::Value ProgramInfo(const Napi::CallbackInfo& info) {
  Describing asked;
  asked.object = ReadBpfObject(info[0], BpfKind::kProgram, "program");
  return PostState<Describing>(BpfLane(info.Env()), info.Env(), std::move(asked), Describe,
                               [](Napi::Env env, Describing& state) -> Napi::Value {
                                 auto result = Napi::Object::New(env);
                                 const bpf_prog_info& program = state.program;
                                 result.Set("id", program.id);
                                 result.Set("type", program.type);
                                 result.Set("name", std::string(program.name, strnlen(program.name, sizeof program.name)));
                                 result.Set("tag", BytesToJs(env, program.tag, sizeof program.tag));
                                 result.Set("mapIds", IdsToJs(env, state.map_ids));
                                 return result;
                               });
}

/** bpfLinkInfo(link) */
Napi::Value LinkInfo(const Napi::CallbackInfo& info) {
  Describing asked;
  asked.object = ReadBpfObject(info[0], BpfKind::kLink, "link");
  return PostState<Describing>(BpfLane(info.Env()), info.Env(), std::move(asked), Describe,
                               [](Napi::Env env, Describing& state) -> Napi::Value {
                                 auto result = Napi::Object::New(env);
                                 const bpf_link_info& link = state.link;
                                 result.Set("id", link.id);
                                 result.Set("type", link.type);
                                 result.Set("programId", link.prog_id);
                                 if (link.type == BPF_LINK_TYPE_CGROUP) {
                                   result.Set("cgroupId", static_cast<double>(link.cgroup.cgroup_id));
                                   result.Set("attachType", link.cgroup.attach_type);
                                 }
                                 if (link.type == kTcxLink) {
                                   // Headers of kernels before 6.6 do not know them; they begin as those of namespaces.
                                   result.Set("linkIndex", link.xdp.ifindex);
                                   result.Set("attachType", link.netns.attach_type);
                                 }
                                 return result;
                               });
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

void ExportBpf(Napi::Env env, Napi::Object exports) {
  exports.Set("bpfOpenPinned", Napi::Function::New<OpenPinned>(env, "bpfOpenPinned"));
  exports.Set("bpfOpenById", Napi::Function::New<OpenById>(env, "bpfOpenById"));
  exports.Set("bpfIds", Napi::Function::New<Ids>(env, "bpfIds"));
  exports.Set("bpfPin", Napi::Function::New<Pin>(env, "bpfPin"));
  exports.Set("bpfClose", Napi::Function::New<Close>(env, "bpfClose"));
  exports.Set("bpfLoad", Napi::Function::New<LoadJs>(env, "bpfLoad"));
  exports.Set("bpfAttach", Napi::Function::New<AttachJs>(env, "bpfAttach"));
  exports.Set("bpfDetach", Napi::Function::New<DetachJs>(env, "bpfDetach"));
  exports.Set("bpfQuery", Napi::Function::New<QueryJs>(env, "bpfQuery"));
  exports.Set("bpfLink", Napi::Function::New<LinkJs>(env, "bpfLink"));
  exports.Set("bpfLinkUpdate", Napi::Function::New<LinkUpdate>(env, "bpfLinkUpdate"));
  exports.Set("bpfLinkDetach", Napi::Function::New<LinkDetach>(env, "bpfLinkDetach"));
  exports.Set("bpfProgramInfo", Napi::Function::New<ProgramInfo>(env, "bpfProgramInfo"));
  exports.Set("bpfLinkInfo", Napi::Function::New<LinkInfo>(env, "bpfLinkInfo"));
}

}  // namespace agent

// BPF programs: loading them, and attaching them to cgroups.
#include "bpf-object.h"

namespace agent {

namespace {

constexpr size_t kFirstLogBytes = 256 * 1024;
constexpr size_t kMostLogBytes = 16 * 1024 * 1024;

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
  return PostState<Loading>(BpfLane(env), env, std::move(asked), Load, MadeToJs<Loading>);
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

struct DescribingProgram {
  BpfPointer object;
  bpf_prog_info program{};
  std::vector<uint32_t> map_ids;
};

Failure Describe(DescribingProgram& state) {
  const int descriptor = state.object->descriptor.Number();
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
  DescribingProgram asked;
  asked.object = ReadBpfObject(info[0], BpfKind::kProgram, "program");
  return PostState<DescribingProgram>(
      BpfLane(info.Env()), info.Env(), std::move(asked), Describe,
      [](Napi::Env env, DescribingProgram& state) -> Napi::Value {
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

}  // namespace

void ExportBpfProgram(Napi::Env env, Napi::Object exports) {
  exports.Set("bpfLoad", Napi::Function::New<LoadJs>(env, "bpfLoad"));
  exports.Set("bpfAttach", Napi::Function::New<AttachJs>(env, "bpfAttach"));
  exports.Set("bpfDetach", Napi::Function::New<DetachJs>(env, "bpfDetach"));
  exports.Set("bpfQuery", Napi::Function::New<QueryJs>(env, "bpfQuery"));
  exports.Set("bpfProgramInfo", Napi::Function::New<ProgramInfo>(env, "bpfProgramInfo"));
}

}  // namespace agent

// BPF maps: many entries in one call, sizes checked against the map's own before the kernel copies anything.
#include "bpf-object.h"

namespace agent {

namespace {

/** What kernels answer to batch commands for map types that have none (a number of their own, ENOTSUPP). */
constexpr int kNotSupported = 524;
constexpr uint32_t kDumpEntries = 4096;

struct Creating : MakingBpfObject {
  uint32_t type, key_size, value_size, max_entries, flags;
  std::string name;
  BpfPointer inner;
};

Failure Create(Creating& state) {
  bpf_attr attributes{};
  attributes.map_type = state.type;
  attributes.key_size = state.key_size;
  attributes.value_size = state.value_size;
  attributes.max_entries = state.max_entries;
  attributes.map_flags = state.flags;
  if (state.inner) attributes.inner_map_fd = static_cast<uint32_t>(state.inner->descriptor.Number());
  strncpy(attributes.map_name, state.name.c_str(), sizeof attributes.map_name - 1);
  Descriptor descriptor(Bpf(BPF_MAP_CREATE, attributes));
  if (!descriptor) return LastFailure("create BPF map " + state.name);
  return AdoptBpfObject(std::move(descriptor), BpfKind::kMap, state.object);
}

/** bpfMapCreate(type, keyBytes, valueBytes, maxEntries, flags, name, innerMap | undefined) */
Napi::Value CreateJs(const Napi::CallbackInfo& info) {
  Creating asked;
  asked.type = ReadUint32(info[0], "type");
  asked.key_size = ReadUint32(info[1], "keyBytes");
  asked.value_size = ReadUint32(info[2], "valueBytes");
  asked.max_entries = ReadUint32(info[3], "maxEntries");
  asked.flags = ReadUint32(info[4], "flags");
  asked.name = ReadText(info[5], "name");
  if (!info[6].IsUndefined()) asked.inner = ReadBpfObject(info[6], BpfKind::kMap, "innerMap");
  return PostState<Creating>(BpfLane(info.Env()), info.Env(), std::move(asked), Create, MadeToJs<Creating>);
}

/** Entries on their way in or out: keys and values one after the other. */
struct Entries {
  BpfPointer map;
  Bytes keys, values;
  uint32_t count = 0;
  uint64_t flags = 0;
  /** One a key: whether it was there. */
  Bytes found;
  /** Of maps of maps and of programs: what to write a descriptor of. */
  BpfPointer value_object;
};

bpf_attr ElementOf(Entries& state, uint32_t index) {
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(state.map->descriptor.Number());
  attributes.key = Address(state.keys.data() + static_cast<size_t>(index) * state.map->key_size);
  attributes.value = Address(state.values.data() + static_cast<size_t>(index) * state.map->value_size);
  attributes.flags = state.flags;
  return attributes;
}

void ReadKeys(Napi::Value value, Entries& state) {
  state.keys = ReadBytes(value, "keys");
  // Queues have no keys, and are not for this.
  if (state.map->key_size == 0) throw Napi::TypeError::New(value.Env(), "the map has no keys");
  if (state.keys.size() % state.map->key_size != 0) {
    throw Napi::TypeError::New(value.Env(), "keys must be " + std::to_string(state.map->key_size) + " bytes each");
  }
  state.count = static_cast<uint32_t>(state.keys.size() / state.map->key_size);
}

std::string MapName(const Entries& state) { return "BPF map " + std::to_string(state.map->id); }

Failure Lookup(Entries& state) {
  state.values.assign(static_cast<size_t>(state.count) * state.map->value_size, 0);
  state.found.assign(state.count, 0);
  for (uint32_t i = 0; i < state.count; i++) {
    bpf_attr attributes = ElementOf(state, i);
    if (Bpf(BPF_MAP_LOOKUP_ELEM, attributes) == 0) {
      state.found[i] = 1;
    } else if (errno != ENOENT) {
      return LastFailure("look up in " + MapName(state));
    }
  }
  return {};
}

Napi::Value LookupToJs(Napi::Env env, Entries& state) {
  auto result = Napi::Object::New(env);
  result.Set("values", BytesToJs(env, state.values.data(), state.values.size()));
  result.Set("found", BytesToJs(env, state.found.data(), state.found.size()));
  return result;
}

/** bpfMapLookup(map, keys) */
Napi::Value LookupJs(const Napi::CallbackInfo& info) {
  Entries asked;
  asked.map = ReadBpfObject(info[0], BpfKind::kMap, "map");
  ReadKeys(info[1], asked);
  return PostState<Entries>(BpfLane(info.Env()), info.Env(), std::move(asked), Lookup, LookupToJs);
}

Failure Update(Entries& state) {
  if (state.count > 1) {
    bpf_attr attributes{};
    attributes.batch.map_fd = static_cast<uint32_t>(state.map->descriptor.Number());
    attributes.batch.keys = Address(state.keys.data());
    attributes.batch.values = Address(state.values.data());
    attributes.batch.count = state.count;
    attributes.batch.elem_flags = state.flags;
    if (Bpf(BPF_MAP_UPDATE_BATCH, attributes) == 0) return {};
    if (errno != kNotSupported && errno != EINVAL && errno != EOPNOTSUPP) {
      return FailureOf(errno, "update " + MapName(state), "after " + std::to_string(attributes.batch.count) + " entries");
    }
  }
  for (uint32_t i = 0; i < state.count; i++) {
    bpf_attr attributes = ElementOf(state, i);
    if (Bpf(BPF_MAP_UPDATE_ELEM, attributes) != 0) {
      const std::string place = state.count > 1 ? "after " + std::to_string(i) + " entries" : "";
      return FailureOf(errno, "update " + MapName(state), place);
    }
  }
  return {};
}

/** bpfMapUpdate(map, keys, values, flags) */
Napi::Value UpdateJs(const Napi::CallbackInfo& info) {
  Entries asked;
  asked.map = ReadBpfObject(info[0], BpfKind::kMap, "map");
  ReadKeys(info[1], asked);
  asked.values = ReadBytes(info[2], "values");
  asked.flags = ReadUint32(info[3], "flags");
  if (asked.values.size() != static_cast<size_t>(asked.count) * asked.map->value_size) {
    throw Napi::TypeError::New(info.Env(), "values must be " + std::to_string(asked.map->value_size) +
                                               " bytes each, as many as keys");
  }
  return PostState<Entries>(BpfLane(info.Env()), info.Env(), std::move(asked), Update);
}

/** bpfMapUpdateObject(map, key, kind, object, flags): for maps whose values are maps or programs */
Napi::Value UpdateObjectJs(const Napi::CallbackInfo& info) {
  Entries asked;
  asked.map = ReadBpfObject(info[0], BpfKind::kMap, "map");
  ReadKeys(info[1], asked);
  asked.value_object = ReadBpfObject(info[3], ReadUint32(info[2], "kind") == 1 ? BpfKind::kProgram : BpfKind::kMap, "object");
  asked.flags = ReadUint32(info[4], "flags");
  if (asked.count != 1 || asked.map->value_size != sizeof(uint32_t)) {
    throw Napi::TypeError::New(info.Env(), "one key is wanted, and a map whose values are 4 bytes");
  }
  return PostState<Entries>(BpfLane(info.Env()), info.Env(), std::move(asked), [](Entries& state) {
    const uint32_t number = static_cast<uint32_t>(state.value_object->descriptor.Number());
    state.values.assign(sizeof number, 0);
    memcpy(state.values.data(), &number, sizeof number);
    return Update(state);
  });
}

/** bpfMapDelete(map, keys): resolves with one byte a key, 1 where there was an entry. */
Napi::Value DeleteJs(const Napi::CallbackInfo& info) {
  Entries asked;
  asked.map = ReadBpfObject(info[0], BpfKind::kMap, "map");
  ReadKeys(info[1], asked);
  return PostState<Entries>(
      BpfLane(info.Env()), info.Env(), std::move(asked),
      [](Entries& state) -> Failure {
        state.found.assign(state.count, 0);
        for (uint32_t i = 0; i < state.count; i++) {
          bpf_attr attributes = ElementOf(state, i);
          attributes.value = 0;
          if (Bpf(BPF_MAP_DELETE_ELEM, attributes) == 0) {
            state.found[i] = 1;
          } else if (errno != ENOENT) {
            return LastFailure("delete from " + MapName(state));
          }
        }
        return {};
      },
      [](Napi::Env env, Entries& state) { return BytesToJs(env, state.found.data(), state.found.size()); });
}

/** One entry after the other, for map types without batches. */
Failure Walk(Entries& state) {
  const uint32_t key_size = state.map->key_size;
  Bytes key(key_size), next(key_size), value(state.map->value_size);
  bool has_key = false;
  state.keys.clear();
  state.values.clear();
  // A walk over a hash that changes can begin anew; it is cut off where every entry must have been seen.
  for (uint64_t steps = 0; steps <= 2ull * state.map->max_entries + 1024; steps++) {
    bpf_attr attributes{};
    attributes.map_fd = static_cast<uint32_t>(state.map->descriptor.Number());
    attributes.key = has_key ? Address(key.data()) : 0;
    attributes.next_key = Address(next.data());
    if (Bpf(BPF_MAP_GET_NEXT_KEY, attributes) != 0) {
      return errno == ENOENT ? Failure{} : LastFailure("walk " + MapName(state));
    }
    attributes = bpf_attr{};
    attributes.map_fd = static_cast<uint32_t>(state.map->descriptor.Number());
    attributes.key = Address(next.data());
    attributes.value = Address(value.data());
    if (Bpf(BPF_MAP_LOOKUP_ELEM, attributes) == 0) {
      state.keys.insert(state.keys.end(), next.begin(), next.end());
      state.values.insert(state.values.end(), value.begin(), value.end());
    } else if (errno != ENOENT) {
      return LastFailure("look up in " + MapName(state));
    }
    key = next;
    has_key = true;
  }
  return {};
}

Failure Dump(Entries& state) {
  const size_t key_size = state.map->key_size, value_size = state.map->value_size;
  uint32_t room = kDumpEntries;
  Bytes token(std::max<size_t>(key_size, sizeof(uint64_t))), keys, values;
  bool has_token = false;
  for (;;) {
    keys.resize(room * key_size);
    values.resize(room * value_size);
    bpf_attr attributes{};
    attributes.batch.map_fd = static_cast<uint32_t>(state.map->descriptor.Number());
    attributes.batch.in_batch = has_token ? Address(token.data()) : 0;
    attributes.batch.out_batch = Address(token.data());
    attributes.batch.keys = Address(keys.data());
    attributes.batch.values = Address(values.data());
    attributes.batch.count = room;
    const bool is_good = Bpf(BPF_MAP_LOOKUP_BATCH, attributes) == 0;
    const int number = errno;
    // A bucket of the hash that does not fit.
    if (!is_good && number == ENOSPC && room < (1u << 22)) {
      room *= 2;
      continue;
    }
    if (!is_good && number != ENOENT) {
      if (!has_token && (number == kNotSupported || number == EINVAL || number == EOPNOTSUPP)) return Walk(state);
      return FailureOf(number, "list " + MapName(state));
    }
    const uint32_t count = std::min(attributes.batch.count, room);
    state.keys.insert(state.keys.end(), keys.begin(), keys.begin() + count * key_size);
    state.values.insert(state.values.end(), values.begin(), values.begin() + count * value_size);
    has_token = true;
    if (!is_good) return {};
  }
}

/** bpfMapEntries(map) */
Napi::Value EntriesJs(const Napi::CallbackInfo& info) {
  Entries asked;
  asked.map = ReadBpfObject(info[0], BpfKind::kMap, "map");
  if (asked.map->key_size == 0) throw Napi::TypeError::New(info.Env(), "the map has no keys");
  return PostState<Entries>(BpfLane(info.Env()), info.Env(), std::move(asked), Dump,
                            [](Napi::Env env, Entries& state) -> Napi::Value {
                              auto result = Napi::Object::New(env);
                              result.Set("keys", BytesToJs(env, state.keys.data(), state.keys.size()));
                              result.Set("values", BytesToJs(env, state.values.data(), state.values.size()));
                              return result;
                            });
}

/** bpfMapFreeze(map) */
Napi::Value FreezeJs(const Napi::CallbackInfo& info) {
  Entries asked;
  asked.map = ReadBpfObject(info[0], BpfKind::kMap, "map");
  return PostState<Entries>(BpfLane(info.Env()), info.Env(), std::move(asked), [](Entries& state) -> Failure {
    bpf_attr attributes{};
    attributes.map_fd = static_cast<uint32_t>(state.map->descriptor.Number());
    return Bpf(BPF_MAP_FREEZE, attributes) == 0 ? Failure{} : LastFailure("freeze " + MapName(state));
  });
}

}  // namespace

void ExportBpfMap(Napi::Env env, Napi::Object exports) {
  exports.Set("bpfMapCreate", Napi::Function::New<CreateJs>(env, "bpfMapCreate"));
  exports.Set("bpfMapLookup", Napi::Function::New<LookupJs>(env, "bpfMapLookup"));
  exports.Set("bpfMapUpdate", Napi::Function::New<UpdateJs>(env, "bpfMapUpdate"));
  exports.Set("bpfMapUpdateObject", Napi::Function::New<UpdateObjectJs>(env, "bpfMapUpdateObject"));
  exports.Set("bpfMapDelete", Napi::Function::New<DeleteJs>(env, "bpfMapDelete"));
  exports.Set("bpfMapEntries", Napi::Function::New<EntriesJs>(env, "bpfMapEntries"));
  exports.Set("bpfMapFreeze", Napi::Function::New<FreezeJs>(env, "bpfMapFreeze"));
}

}  // namespace agent

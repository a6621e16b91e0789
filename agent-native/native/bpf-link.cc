// BPF links: programs at cgroups and at network links, for as long as somebody holds the link.
#include "bpf-object.h"

namespace agent {

namespace {

constexpr uint32_t kTcxLink = 11;

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
  return PostState<Linking>(BpfLane(info.Env()), info.Env(), std::move(asked), Link, MadeToJs<Linking>);
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

struct DescribingLink {
  BpfPointer object;
  bpf_link_info link{};
};

/** bpfLinkInfo(link) */
Napi::Value LinkInfo(const Napi::CallbackInfo& info) {
  DescribingLink asked;
  asked.object = ReadBpfObject(info[0], BpfKind::kLink, "link");
  return PostState<DescribingLink>(
      BpfLane(info.Env()), info.Env(), std::move(asked),
      [](DescribingLink& state) { return InfoOf(state.object->descriptor.Number(), state.link); },
      [](Napi::Env env, DescribingLink& state) -> Napi::Value {
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

void ExportBpfLink(Napi::Env env, Napi::Object exports) {
  exports.Set("bpfLink", Napi::Function::New<LinkJs>(env, "bpfLink"));
  exports.Set("bpfLinkUpdate", Napi::Function::New<LinkUpdate>(env, "bpfLinkUpdate"));
  exports.Set("bpfLinkDetach", Napi::Function::New<LinkDetach>(env, "bpfLinkDetach"));
  exports.Set("bpfLinkInfo", Napi::Function::New<LinkInfo>(env, "bpfLinkInfo"));
}

}  // namespace agent

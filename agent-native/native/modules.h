// What each part of the addon adds to its exports.
#pragma once

#include <napi.h>

#include "lane.h"

namespace agent {

/** What lives as long as the addon is loaded into one JavaScript environment. */
struct Instance {
  explicit Instance(Napi::Env env) : system(env), bpf(env) {}
  /** Mounts, namespaces and sysctls: slow at times. */
  Lane system;
  Lane bpf;
};

void ExportNetlink(Napi::Env env, Napi::Object exports);
void ExportMonitor(Napi::Env env, Napi::Object exports);
void ExportFuse(Napi::Env env, Napi::Object exports);
void ExportSystem(Napi::Env env, Napi::Object exports);
void ExportBpfObject(Napi::Env env, Napi::Object exports);
void ExportBpfProgram(Napi::Env env, Napi::Object exports);
void ExportBpfLink(Napi::Env env, Napi::Object exports);
void ExportBpfMap(Napi::Env env, Napi::Object exports);

}  // namespace agent

#include <napi.h>

#include "modules.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new agent::Instance(env));
  agent::ExportNetlink(env, exports);
  agent::ExportMonitor(env, exports);
  agent::ExportSystem(env, exports);
  agent::ExportFuse(env, exports);
  agent::ExportBpfObject(env, exports);
  agent::ExportBpfProgram(env, exports);
  agent::ExportBpfLink(env, exports);
  agent::ExportBpfMap(env, exports);
  return exports;
}

NODE_API_MODULE(agent_native, Init)

// Reads what JavaScript hands in. Everything is checked and copied here, on the JavaScript thread: what the other
// threads work on is never shared with the heap. Each function throws a TypeError that names the argument.
#pragma once

#include <napi.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "failure.h"

namespace agent {

using Bytes = std::vector<uint8_t>;

Napi::Object ReadObject(Napi::Value value, const char* name);
/** An integer in [0, 2^32). */
uint32_t ReadUint32(Napi::Value value, const char* name);
/** A string of at most 4095 bytes, without NUL. */
std::string ReadText(Napi::Value value, const char* name);
std::optional<std::string> ReadOptionalText(Napi::Value value, const char* name);
bool ReadBool(Napi::Value value, const char* name);
Bytes ReadBytes(Napi::Value value, const char* name);
std::vector<uint32_t> ReadUint32Array(Napi::Value value, const char* name);
std::vector<std::string> ReadTextArray(Napi::Value value, const char* name);

/** A Buffer of its own with a copy of the bytes. */
Napi::Value BytesToJs(Napi::Env env, const uint8_t* data, size_t size);
/** An Error with errno, operation and text, for TypeScript to make a named error of. */
Napi::Error ErrorOf(Napi::Env env, const Failure& failure);

}  // namespace agent

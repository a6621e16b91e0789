#include "arguments.h"

#include <cmath>
#include <cstring>

namespace agent {

namespace {

constexpr size_t kLongestText = 4095;

[[noreturn]] void Refuse(Napi::Env env, const char* name, const char* wanted) {
  throw Napi::TypeError::New(env, std::string(name) + " must be " + wanted);
}

}  // namespace

Napi::Object ReadObject(Napi::Value value, const char* name) {
  if (value.IsEmpty() || !value.IsObject()) Refuse(value.Env(), name, "an object");
  return value.As<Napi::Object>();
}

uint32_t ReadUint32(Napi::Value value, const char* name) {
  if (!value.IsNumber()) Refuse(value.Env(), name, "a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= 4294967295.0) || number != std::floor(number)) {
    Refuse(value.Env(), name, "an integer between 0 and 4294967295");
  }
  return static_cast<uint32_t>(number);
}

std::string ReadText(Napi::Value value, const char* name) {
  if (!value.IsString()) Refuse(value.Env(), name, "a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.size() > kLongestText) Refuse(value.Env(), name, "at most 4095 bytes long");
  if (text.find('\0') != std::string::npos) Refuse(value.Env(), name, "without a NUL character");
  return text;
}

std::optional<std::string> ReadOptionalText(Napi::Value value, const char* name) {
  if (value.IsUndefined() || value.IsNull()) return std::nullopt;
  return ReadText(value, name);
}

bool ReadBool(Napi::Value value, const char* name) {
  if (!value.IsBoolean()) Refuse(value.Env(), name, "true or false");
  return value.As<Napi::Boolean>().Value();
}

Bytes ReadBytes(Napi::Value value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    Refuse(value.Env(), name, "a Uint8Array");
  }
  auto array = value.As<Napi::Uint8Array>();
  const size_t size = array.ByteLength();
  if (size == 0) return {};
  return Bytes(array.Data(), array.Data() + size);
}

std::vector<uint32_t> ReadUint32Array(Napi::Value value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    Refuse(value.Env(), name, "a Uint32Array");
  }
  auto array = value.As<Napi::Uint32Array>();
  const size_t count = array.ElementLength();
  if (count == 0) return {};
  return std::vector<uint32_t>(array.Data(), array.Data() + count);
}

std::vector<std::string> ReadTextArray(Napi::Value value, const char* name) {
  if (!value.IsArray()) Refuse(value.Env(), name, "an array of strings");
  auto array = value.As<Napi::Array>();
  std::vector<std::string> texts;
  for (uint32_t i = 0; i < array.Length(); i++) texts.push_back(ReadText(array.Get(i), name));
  return texts;
}

Napi::Value BytesToJs(Napi::Env env, const uint8_t* data, size_t size) {
  return Napi::Buffer<uint8_t>::Copy(env, data, size);
}

Napi::Error ErrorOf(Napi::Env env, const Failure& failure) {
  auto error = Napi::Error::New(env, failure.operation + ": " + strerror(failure.number));
  error.Set("errno", Napi::Number::New(env, failure.number));
  error.Set("operation", Napi::String::New(env, failure.operation));
  error.Set("text", Napi::String::New(env, failure.text));
  return error;
}

}  // namespace agent

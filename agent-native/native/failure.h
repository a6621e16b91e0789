// What went wrong in the kernel: its number, what was being done, and the kernel's own words if it had any.
#pragma once

#include <cerrno>
#include <string>

namespace agent {

struct Failure {
  int number = 0;
  std::string operation;
  std::string text;

  explicit operator bool() const { return number != 0; }
};

inline Failure FailureOf(int number, std::string operation, std::string text = {}) {
  return Failure{number, std::move(operation), std::move(text)};
}

inline Failure LastFailure(std::string operation) { return FailureOf(errno, std::move(operation)); }

}  // namespace agent

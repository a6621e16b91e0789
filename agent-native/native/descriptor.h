// A file descriptor that is closed exactly once, whoever holds it last.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <utility>

namespace agent {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) {
      Close();
      number_ = std::exchange(other.number_, -1);
    }
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { Close(); }

  static Descriptor Open(const std::string& path, int flags) {
    return Descriptor(open(path.c_str(), flags | O_CLOEXEC));
  }

  int Number() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  /** Whoever asks closes it. */
  int Release() { return std::exchange(number_, -1); }
  void Close() {
    if (number_ >= 0) close(std::exchange(number_, -1));
  }

 private:
  int number_ = -1;
};

}  // namespace agent

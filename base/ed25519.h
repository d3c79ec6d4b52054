// Ed25519 key pairs, signatures and their text form (RFC 8032, through libsodium). What is signed, and with
// which prefix that tells one use of a key from another, is for the caller to say.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/result.h"

namespace attune {

// One line "ed25519:" and 44 characters of Base64 (RFC 4648).
class PublicKey {
 public:
  // Takes the text form alone, with nothing around it. A point that no key pair has, as one of small order,
  // is refused.
  static Result<PublicKey> parse(std::string_view text);

  std::string to_string() const;
  bool operator==(const PublicKey&) const = default;

 private:
  friend class SecretKey;
  friend class Signature;
  std::array<unsigned char, 32> bytes_{};
};

// 88 characters of Base64.
class Signature {
 public:
  static Result<Signature> parse(std::string_view text);

  // Whether the holder of the key signed these very bytes.
  bool verifies(std::string_view message, const PublicKey& key) const;

  std::string to_string() const;
  bool operator==(const Signature&) const = default;

 private:
  friend class SecretKey;
  std::array<unsigned char, 64> bytes_{};
};

// Has no text form but that of its file, and is wiped from memory when it ends.
class SecretKey {
 public:
  static Result<SecretKey> generate();
  static SecretKey from_seed(const std::array<unsigned char, 32>& seed);

  // A file that write_key_pair() made. Refused where it is not its owner's alone to read. An error never
  // quotes what is in it.
  static Result<SecretKey> read(const std::string& path);

  SecretKey(const SecretKey&) = default;
  SecretKey& operator=(const SecretKey&) = default;
  ~SecretKey();

  const PublicKey& public_key() const { return public_; }
  Signature sign(std::string_view message) const;

 private:
  friend Status write_key_pair(const SecretKey& key, const std::string& path, const std::string& comment);
  SecretKey() = default;

  std::array<unsigned char, 64> bytes_{};  // seed, then public key
  PublicKey public_;
};

// The secret key to `path`, with mode 0600, and its public key with the comment (one line) to `path`.pub.
// What is there is never overwritten: a lost key cannot be made again.
Status write_key_pair(const SecretKey& key, const std::string& path, const std::string& comment);

}  // namespace attune

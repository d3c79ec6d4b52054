#include "base/ed25519.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/printable.h"

namespace attune {
namespace {

constexpr std::string_view kPublic = "ed25519:";
constexpr std::string_view kSecret = "ed25519-secret:";  // so that the two files are not taken for each other
constexpr int kBase64 = sodium_base64_VARIANT_ORIGINAL;

static_assert(crypto_sign_PUBLICKEYBYTES == 32 && crypto_sign_SECRETKEYBYTES == 64);
static_assert(crypto_sign_BYTES == 64 && crypto_sign_SEEDBYTES == 32);

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// sodium_bin2base64() writes a NUL behind the text.
std::string base64(std::span<const unsigned char> bytes) {
  std::string text(sodium_base64_encoded_len(bytes.size(), kBase64), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes.data(), bytes.size(), kBase64);
  text.pop_back();
  return text;
}

// False where the text is not the one that these bytes have.
bool from_base64(std::string_view text, std::span<unsigned char> bytes) {
  std::size_t length = 0;
  return text.size() == sodium_base64_encoded_len(bytes.size(), kBase64) - 1 &&
         sodium_base642bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &length, nullptr,
                           kBase64) == 0 &&
         length == bytes.size();
}

Error cannot(const char* what, const std::string& path) {
  return fail("cannot {} {}: {}", what, path, std::strerror(errno));
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) return false;
    bytes.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
  }
  return fsync(file) == 0;
}

Status write_new(const std::string& path, mode_t mode, std::string_view bytes) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (file < 0 && errno == EEXIST)
    return fail("{} is there already: a key is not overwritten, name another", path);
  if (file < 0) return cannot("write", path);
  const bool whole = write_all(file, bytes);
  if (::close(file) == 0 && whole) return {};
  Error error = cannot("write", path);
  ::unlink(path.c_str());
  return error;
}

// Wiped when it ends.
struct SecretText {
  std::array<char, 128> bytes{};  // a key's line is half of it
  std::size_t size = 0;
  bool others_may_read = false;
  ~SecretText() { sodium_memzero(bytes.data(), bytes.size()); }
  std::string_view line() const {
    const std::string_view text(bytes.data(), size);
    return text.substr(0, text.find_last_not_of(" \r\n") + 1);
  }
};

Status read_secret(const std::string& path, SecretText& text) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return cannot("read", path);
  struct stat info = {};
  Status status;
  if (fstat(file, &info) != 0) status = cannot("read", path);
  // Of what was opened: the name may lead elsewhere a moment later. A pipe has no mode that matters.
  text.others_may_read = S_ISREG(info.st_mode) && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0;
  while (status && text.size < text.bytes.size()) {
    const ssize_t got = ::read(file, text.bytes.data() + text.size, text.bytes.size() - text.size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) status = cannot("read", path);
    if (got <= 0) break;
    text.size += static_cast<std::size_t>(got);
  }
  ::close(file);
  return status;
}

}  // namespace

Result<PublicKey> PublicKey::parse(std::string_view text) {
  PublicKey key;
  if (text.starts_with(kSecret)) return fail("a secret key stands where a public one belongs");
  if (!text.starts_with(kPublic) || !from_base64(text.substr(kPublic.size()), key.bytes_))
    return fail("'{}' is no public key, which is {} and 44 characters of Base64",
                printable(text.substr(0, 80)), kPublic);
  if (crypto_core_ed25519_is_valid_point(key.bytes_.data()) != 1)
    return fail("'{}' is the public key of no key pair", printable(text));
  return key;
}

std::string PublicKey::to_string() const {
  return std::string(kPublic) + base64(bytes_);
}

Result<Signature> Signature::parse(std::string_view text) {
  Signature signature;
  if (!from_base64(text, signature.bytes_))
    return fail("a signature is 88 characters of Base64, and not '{}'", printable(text.substr(0, 100)));
  return signature;
}

bool Signature::verifies(std::string_view message, const PublicKey& key) const {
  return crypto_sign_verify_detached(bytes_.data(), bytes_of(message), message.size(), key.bytes_.data()) ==
         0;
}

std::string Signature::to_string() const {
  return base64(bytes_);
}

Result<SecretKey> SecretKey::generate() {
  if (sodium_init() < 0) return fail("the system gives no random numbers to make a key of");
  std::array<unsigned char, 32> seed{};
  randombytes_buf(seed.data(), seed.size());
  SecretKey key = from_seed(seed);
  sodium_memzero(seed.data(), seed.size());
  return key;
}

SecretKey SecretKey::from_seed(const std::array<unsigned char, 32>& seed) {
  SecretKey key;
  crypto_sign_seed_keypair(key.public_.bytes_.data(), key.bytes_.data(), seed.data());
  return key;
}

Result<SecretKey> SecretKey::read(const std::string& path) {
  SecretText text;
  if (auto status = read_secret(path, text); !status) return status.error();
  const std::string_view line = text.line();
  std::array<unsigned char, 32> seed{};
  if (line.starts_with(kPublic)) return fail("{} holds a public key; the secret one is needed here", path);
  if (text.others_may_read)
    return fail("{}: others may read or write this file of a secret key; chmod 600 it", path);
  if (!line.starts_with(kSecret) || !from_base64(line.substr(kSecret.size()), seed))
    return fail("{} holds no secret key; `attune pack keygen` makes one", path);
  SecretKey key = from_seed(seed);
  sodium_memzero(seed.data(), seed.size());
  return key;
}

SecretKey::~SecretKey() {
  sodium_memzero(bytes_.data(), bytes_.size());
}

Signature SecretKey::sign(std::string_view message) const {
  Signature signature;
  crypto_sign_detached(signature.bytes_.data(), nullptr, bytes_of(message), message.size(), bytes_.data());
  return signature;
}

Status write_key_pair(const SecretKey& key, const std::string& path, const std::string& comment) {
  const std::string public_line =
      key.public_key().to_string() + (comment.empty() ? "" : " " + printable(comment)) + "\n";
  if (auto status = write_new(path + ".pub", 0644, public_line); !status) return status;
  std::string secret_line = std::string(kSecret) + base64(std::span(key.bytes_).first(32)) + "\n";
  Status status = write_new(path, 0600, secret_line);
  sodium_memzero(secret_line.data(), secret_line.size());
  if (!status) ::unlink((path + ".pub").c_str());
  return status;
}

}  // namespace attune

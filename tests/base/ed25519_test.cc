// Keys and signatures: the published vectors, the text forms, and the secret key's file.
#include "base/ed25519.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/read_file.h"

namespace attune {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string unhex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return bytes;
}

// Of the test's own, so that the library's is held against something.
std::string base64(const std::string& bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    unsigned group = 0;
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    for (std::size_t j = 0; j < 4; ++j)
      text += i + j > bytes.size() ? '=' : kBase64[group >> (18 - 6 * j) & 63];
  }
  return text;
}

SecretKey key_of(std::string_view hex) {
  std::array<unsigned char, 32> seed{};
  const std::string bytes = unhex(hex);
  std::copy(bytes.begin(), bytes.end(), seed.begin());
  return SecretKey::from_seed(seed);
}

SecretKey some_key(unsigned char number = 1) {
  std::array<unsigned char, 32> seed{};
  seed[0] = number;
  return SecretKey::from_seed(seed);
}

class KeyFileTest : public testing::Test {
 protected:
  KeyFileTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "attune-keys-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    path_ = (folder_ / "team.key").string();
  }
  ~KeyFileTest() override { std::filesystem::remove_all(folder_); }

  std::string refused() const {
    const auto key = SecretKey::read(path_);
    return key ? "" : key.error().message;
  }
  void write(const std::string& text) const {
    std::ofstream(path_, std::ios::trunc) << text;
    chmod(path_.c_str(), 0600);
  }

  std::filesystem::path folder_;
  std::string path_;
};

// RFC 8032, section 7.1, TEST 1 to 3.
TEST(Ed25519, MatchesThePublishedVectors) {
  struct Vector {
    std::string_view seed, key, message, signature;
  };
  for (const Vector& vector :
       {Vector{
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"},
        Vector{
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"},
        Vector{
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"}}) {
    const SecretKey key = key_of(vector.seed);
    EXPECT_EQ(key.public_key().to_string(), "ed25519:" + base64(unhex(vector.key)));
    const Signature signature = key.sign(unhex(vector.message));
    EXPECT_EQ(signature.to_string(), base64(unhex(vector.signature)));
    EXPECT_TRUE(signature.verifies(unhex(vector.message), key.public_key()));
  }
}

TEST(Ed25519, AnotherMessageAnotherKeyAnotherSignatureAreRefused) {
  const SecretKey key = some_key(1), other = some_key(2);
  const Signature signature = key.sign("message");
  EXPECT_TRUE(signature.verifies("message", key.public_key()));
  EXPECT_FALSE(signature.verifies("massage", key.public_key()));
  EXPECT_FALSE(signature.verifies("message", other.public_key()));
  EXPECT_FALSE(key.sign("other").verifies("message", key.public_key()));
  EXPECT_FALSE(Signature().verifies("message", key.public_key()));
}

TEST(Ed25519, TextIsReadBackAndNothingElseIsTakenForIt) {
  const SecretKey key = some_key();
  const std::string text = key.public_key().to_string();
  ASSERT_TRUE(PublicKey::parse(text));
  EXPECT_EQ(*PublicKey::parse(text), key.public_key());
  for (std::size_t length = 0; length < text.size(); ++length)
    EXPECT_FALSE(PublicKey::parse(text.substr(0, length))) << length;
  for (const std::string& wrong : {text + "=", text + " ", " " + text, "ED25519:" + text.substr(8)})
    EXPECT_FALSE(PublicKey::parse(wrong)) << wrong;
  const std::string signature = key.sign("x").to_string();
  EXPECT_EQ(Signature::parse(signature)->to_string(), signature);
  for (std::size_t length = 0; length < signature.size(); ++length)
    EXPECT_FALSE(Signature::parse(signature.substr(0, length))) << length;
  // The last character but two holds four bits that no byte has: one text for the same bytes, not sixteen.
  std::string padded = signature;
  padded[85] = kBase64[kBase64.find(padded[85]) ^ 1U];
  EXPECT_FALSE(Signature::parse(padded));
}

TEST(Ed25519, PointsOfSmallOrderAreNobodysKey) {
  for (const char* hex : {"0000000000000000000000000000000000000000000000000000000000000000",
                          "0100000000000000000000000000000000000000000000000000000000000000",
                          "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"}) {
    const auto key = PublicKey::parse("ed25519:" + base64(unhex(hex)));
    ASSERT_FALSE(key);
    EXPECT_THAT(key.error().message, HasSubstr("no key pair"));
  }
}

TEST(Ed25519, KeysAreMadeAnew) {
  const auto one = SecretKey::generate(), two = SecretKey::generate();
  ASSERT_TRUE(one && two);
  EXPECT_NE(one->public_key(), two->public_key());
}

TEST_F(KeyFileTest, APairIsWrittenForItsOwnerAloneAndReadBack) {
  const mode_t former = umask(0);
  const Status status = write_key_pair(some_key(), path_, "the team");
  umask(former);
  ASSERT_TRUE(status) << status.error().message;
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600U);
  EXPECT_EQ(SecretKey::read(path_)->public_key(), some_key().public_key());
  EXPECT_EQ(*read_file(path_ + ".pub"), some_key().public_key().to_string() + " the team\n");
}

TEST_F(KeyFileTest, WhatIsThereIsNotOverwritten) {
  ASSERT_TRUE(write_key_pair(some_key(1), path_, ""));
  EXPECT_THAT(write_key_pair(some_key(2), path_, "").error().message, HasSubstr("there already"));
  EXPECT_EQ(SecretKey::read(path_)->public_key(), some_key(1).public_key());
  ASSERT_TRUE(std::filesystem::remove(path_ + ".pub"));
  EXPECT_FALSE(write_key_pair(some_key(2), path_, "")) << "the secret key is there";
  EXPECT_EQ(SecretKey::read(path_)->public_key(), some_key(1).public_key());
  EXPECT_FALSE(std::filesystem::exists(path_ + ".pub")) << "no public key without its secret one";
}

TEST_F(KeyFileTest, AFileThatOthersMayReadIsRefused) {
  ASSERT_TRUE(write_key_pair(some_key(), path_, ""));
  for (const mode_t mode : {0640U, 0604U, 0620U, 0644U}) {
    chmod(path_.c_str(), mode);
    EXPECT_THAT(refused(), HasSubstr("chmod 600")) << mode;
  }
  chmod(path_.c_str(), 0400);
  EXPECT_EQ(refused(), "");
}

TEST_F(KeyFileTest, WhatIsNoSecretKeyIsRefusedWithoutQuotingIt) {
  ASSERT_TRUE(write_key_pair(some_key(), path_, ""));
  const std::string whole = *read_file(path_);
  for (std::size_t length = 0; length + 1 < whole.size(); ++length) {
    write(whole.substr(0, length));
    EXPECT_THAT(refused(), HasSubstr("holds no secret key")) << length;
  }
  const std::string secret = whole.substr(15, 30);
  for (const std::string& text : {whole + whole, "x" + whole, whole.substr(0, 40) + "!" + whole.substr(41)}) {
    write(text);
    EXPECT_THAT(refused(), HasSubstr("holds no secret key"));
    EXPECT_THAT(refused(), Not(HasSubstr(secret)));
  }
  write(some_key().public_key().to_string());
  chmod(path_.c_str(), 0644);
  EXPECT_THAT(refused(), HasSubstr("public key"));
  write(whole.substr(0, whole.size() - 1));
  EXPECT_EQ(refused(), "") << "the last line feed may be missing";
  std::filesystem::remove(path_);
  EXPECT_THAT(refused(), HasSubstr("cannot read"));
}

}  // namespace
}  // namespace attune

// Signed packs: whose signature is right, whose is trusted, and that nothing of a signed pack can be changed.
#include "cache/pack_signature.h"

#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "cache/pack.h"
#include "cache/trusted_keys.h"
#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

SecretKey key_of(unsigned char number) {
  std::array<unsigned char, 32> seed{};
  seed[0] = number;
  return SecretKey::from_seed(seed);
}

class PackSignatureTest : public CacheTest {
 protected:
  PackSignatureTest() {
    for (const char* name : {"ATTUNE_PACKS", "ATTUNE_TRUSTED_KEYS"}) unsetenv(name);
    setenv("XDG_CONFIG_HOME", folder_.c_str(), 1);
  }
  ~PackSignatureTest() override {
    for (const char* name : {"ATTUNE_PACKS", "ATTUNE_TRUSTED_KEYS", "XDG_CONFIG_HOME"}) unsetenv(name);
  }

  static std::string bytes(double median_us, const SecretKey* key = nullptr) {
    const auto pack = to_pack(
        {.name = "", .path = "", .made_at = "now", .attune = "0.1.0", .command = "sweep", .commit = "abc"},
        {ok_trial(median_us)}, key);
    EXPECT_TRUE(pack) << pack.error().message;
    return *pack;
  }
  static Pack parsed(const std::string& text) {
    auto pack = parse_pack(text, "mine");
    EXPECT_TRUE(pack) << pack.error().message;
    return *std::move(pack);
  }
  static std::string refused(const std::string& text) {
    const auto pack = parse_pack(text, "mine");
    if (pack) return "";
    EXPECT_EQ(pack.error().message.find('\n'), std::string::npos);
    return pack.error().message;
  }
  static TrustedKeys trusting(const std::vector<SecretKey>& keys) {
    std::string text = "# the team\n\n";
    for (const SecretKey& key : keys) text += key.public_key().to_string() + "  somebody\n";
    auto trusted = TrustedKeys::parse(text, "the file");
    EXPECT_TRUE(trusted) << trusted.error().message;
    return *std::move(trusted);
  }
  // The last line, changed by `change`.
  static std::string with_end(const std::string& text, const std::function<void(nlohmann::json&)>& change) {
    const auto begin = text.rfind('\n', text.size() - 2) + 1;
    auto end = nlohmann::json::parse(text.substr(begin));
    change(end);
    return text.substr(0, begin) + end.dump() + "\n";
  }

  const SecretKey alice_ = key_of(1);
  const SecretKey bob_ = key_of(2);
};

TEST_F(PackSignatureTest, ASignatureIsAddedAndReadBack) {
  const Pack plain = parsed(bytes(10));
  EXPECT_TRUE(plain.signatures.empty());
  const auto by_alice = signed_pack(plain, alice_);
  ASSERT_TRUE(by_alice);
  EXPECT_EQ(*by_alice, bytes(10, &alice_)) << "signed at once or later: the same bytes";
  const Pack once = parsed(*by_alice);
  ASSERT_EQ(once.signatures.size(), 1U);
  EXPECT_EQ(once.signatures[0].key, alice_.public_key());
  EXPECT_EQ(once.records, plain.records);
  EXPECT_EQ(once.bytes, *by_alice);
  EXPECT_EQ(*signed_pack(once, alice_), *by_alice) << "once is enough";
  const Pack twice = parsed(*signed_pack(once, bob_));
  ASSERT_EQ(twice.signatures.size(), 2U);
  EXPECT_EQ(twice.signatures[0].key, alice_.public_key());
  EXPECT_EQ(twice.signatures[1].key, bob_.public_key());
}

// What docs/packs.md says is signed, so that others can check it.
TEST_F(PackSignatureTest, WhatIsSignedIsThePrefixAndTheChecksum) {
  const std::string text = bytes(10, &alice_);
  const std::string lines = text.substr(0, text.rfind('\n', text.size() - 2) + 1);
  std::string message = "attune-pack-v1";
  message += '\0';
  message += sha256_hex(lines);
  EXPECT_EQ(parsed(text).signatures[0].signature, alice_.sign(message));
}

TEST_F(PackSignatureTest, NoBitOfASignedPackCanBeChanged) {
  const std::string whole = bytes(10, &alice_);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      ASSERT_NE(refused(flipped), "") << "byte " << at << ", bit " << bit;
    }
  }
}

TEST_F(PackSignatureTest, AWrongSignatureIsAnErrorWhoeverIsTrusted) {
  const std::string one = bytes(10, &alice_), other = bytes(20, &alice_);
  const auto signatures_of = [](const std::string& text) {
    return nlohmann::json::parse(text.substr(text.rfind('\n', text.size() - 2)))["signatures"];
  };
  EXPECT_THAT(refused(with_end(one, [&](auto& end) { end["signatures"] = signatures_of(other); })),
              AllOf(HasSubstr("mine"), HasSubstr("wrong"), HasSubstr(alice_.public_key().to_string())))
      << "that of another pack";
  EXPECT_THAT(
      refused(with_end(one, [&](auto& end) { end["signatures"][0]["key"] = bob_.public_key().to_string(); })),
      HasSubstr("wrong"))
      << "under another's name";
  EXPECT_THAT(refused(with_end(bytes(10),
                               [&](auto& end) {
                                 end["signatures"] = {
                                     {{"key", alice_.public_key().to_string()},
                                      {"signature",
                                       alice_.sign(end["sha256"].template get<std::string>()).to_string()}}};
                               })),
              HasSubstr("wrong"))
      << "of the checksum without the prefix: made for another use of the key";
  const std::string both = *signed_pack(parsed(one), bob_);
  EXPECT_THAT(refused(with_end(both,
                               [&](auto& end) {
                                 std::swap(end["signatures"][0]["signature"],
                                           end["signatures"][1]["signature"]);
                               })),
              HasSubstr("wrong"));
}

TEST_F(PackSignatureTest, SignaturesThatAreNoneAreRefused) {
  const std::string whole = bytes(10, &alice_);
  const auto changed = [&](const std::function<void(nlohmann::json&)>& change) {
    return refused(with_end(whole, change));
  };
  for (std::size_t length = 0; length < 88; ++length) {
    EXPECT_NE(changed([&](auto& end) {
                auto& text = end["signatures"][0]["signature"];
                text = text.template get<std::string>().substr(0, length);
              }),
              "")
        << length;
  }
  for (const char* value : {"null", "[]", "{}", "\"x\"", "[1]", "[{}]", "[[]]"})
    EXPECT_NE(changed([&](auto& end) { end["signatures"] = nlohmann::json::parse(value); }), "") << value;
  for (const char* value : {"null", "7", "\"ed25519:\"", "\"ed448:AAAA\"", "\"\""})
    EXPECT_NE(changed([&](auto& end) { end["signatures"][0]["key"] = nlohmann::json::parse(value); }), "")
        << value;
  EXPECT_THAT(changed([](auto& end) { end["signatures"].push_back(end["signatures"][0]); }),
              HasSubstr("twice"));
  EXPECT_NE(changed([](auto& end) { end["signatures"][0]["by"] = "alice"; }), "");
  EXPECT_THAT(changed([](auto& end) { end["more"] = 1; }), HasSubstr("a field too many"));
  EXPECT_THAT(changed([](auto& end) {
                while (end["signatures"].size() <= kMostPackSignatures)
                  end["signatures"].push_back(end["signatures"][0]);
              }),
              HasSubstr("16"));
  Pack pack = parsed(bytes(10));
  for (unsigned char number = 0; number < kMostPackSignatures; ++number)
    pack = parsed(*signed_pack(pack, key_of(number)));
  EXPECT_THAT(signed_pack(pack, key_of(100)).error().message, HasSubstr("16 signatures"));
}

TEST_F(PackSignatureTest, OneTrustedSignatureIsEnough) {
  const Pack plain = parsed(bytes(10)), by_alice = parsed(bytes(10, &alice_));
  const TrustedKeys bobs = trusting({bob_});
  EXPECT_TRUE(trusting({alice_, bob_}).check(by_alice));
  EXPECT_TRUE(bobs.check(parsed(*signed_pack(by_alice, bob_))));
  EXPECT_THAT(bobs.check(by_alice).error().message,
              AllOf(HasSubstr("mine"), HasSubstr(alice_.public_key().to_string()), HasSubstr("the file")));
  EXPECT_THAT(bobs.check(plain).error().message, AllOf(HasSubstr("mine"), HasSubstr("not signed")));
  EXPECT_FALSE(trusting({}).check(by_alice)) << "an empty file trusts nobody";
  EXPECT_EQ(signers_json(by_alice, &bobs)[0]["trusted"], false);
  const TrustedKeys both = trusting({alice_, bob_});
  EXPECT_EQ(
      signers_json(by_alice, &both)[0],
      nlohmann::json({{"key", alice_.public_key().to_string()}, {"name", "somebody"}, {"trusted", true}}));
}

TEST_F(PackSignatureTest, FilesOfTrustedKeysAreReadLineByLine) {
  const std::string line = alice_.public_key().to_string();
  const auto name = [&](const std::string& text) -> std::string {
    const auto trusted = TrustedKeys::parse(text, "f");
    return trusted && trusted->size() == 1 ? *trusted->name_of(alice_.public_key()) : "no";
  };
  EXPECT_EQ(name(line), "");
  EXPECT_EQ(name("\t" + line + " \t Alice, of the team \r\n"), "Alice, of the team");
  EXPECT_EQ(name("# " + line + "\n" + line + " a\n"), "a");
  EXPECT_EQ(name(line + " \x1b[31mred\n"), "\\x1b[31mred") << "does nothing to a terminal";
  EXPECT_NO_THROW((void)nlohmann::json(name(line + " \xff\xfe\n")).dump()) << "is UTF-8";
  const auto refused_line = [](const std::string& text) {
    return TrustedKeys::parse(text, "f").error().message;
  };
  EXPECT_THAT(refused_line("\nalice " + line), HasSubstr("f, line 2"));
  EXPECT_THAT(refused_line(line.substr(0, 40)), HasSubstr("no public key"));
  EXPECT_THAT(refused_line("ed25519-secret:AAAA"), AllOf(HasSubstr("secret key"), Not(HasSubstr("AAAA"))));
}

TEST_F(PackSignatureTest, WhomToTrustIsFoundWhereTheUserPutsIt) {
  const auto where = [](const std::string& path = "") -> std::string {
    const auto trusted = TrustedKeys::configured(path);
    if (!trusted) return trusted.error().message;
    return *trusted ? (*trusted)->where() : "nobody said";
  };
  EXPECT_EQ(where(), "nobody said");
  std::filesystem::create_directory(folder_ / "attune");
  const auto file = [&](const char* name) { return (folder_ / name).string(); };
  for (const char* name : {"attune/trusted_keys", "variable", "flag"})
    write_file(folder_ / name, alice_.public_key().to_string());
  EXPECT_EQ(where(), file("attune/trusted_keys"));
  setenv("ATTUNE_TRUSTED_KEYS", "", 1);
  EXPECT_EQ(where(), file("attune/trusted_keys")) << "empty counts as unset";
  setenv("ATTUNE_TRUSTED_KEYS", file("variable").c_str(), 1);
  EXPECT_EQ(where(), file("variable"));
  EXPECT_EQ(where(file("flag")), file("flag"));
  EXPECT_THAT(where(file("none")), HasSubstr("cannot read")) << "named, so it must be there";
  chmod(file("variable").c_str(), 0666);
  EXPECT_THAT(where(), HasSubstr("chmod o-w"));
}

TEST_F(PackSignatureTest, PacksOfFilesAreServedOnlyWhenTrustedAndThoseOfTheBinaryAlways) {
  const std::string plain = (folder_ / "plain.pack.jsonl").string(),
                    good = (folder_ / "good.pack.jsonl").string();
  write_file(plain, bytes(10));
  write_file(good, bytes(20, &alice_));
  EXPECT_EQ(packs((plain + ":" + good).c_str())->size(), 2U) << "nobody has said whom to trust";
  const std::string keys = (folder_ / "keys").string();
  write_file(keys, alice_.public_key().to_string());
  setenv("ATTUNE_TRUSTED_KEYS", keys.c_str(), 1);
  EXPECT_EQ(packs(good.c_str())->size(), 1U);
  EXPECT_THAT(packs(plain.c_str()).error().message, AllOf(HasSubstr("plain"), HasSubstr(keys)));
  EXPECT_THAT(packs(folder_.c_str()).error().message, HasSubstr("plain"));
  EXPECT_TRUE(find_pack(plain)) << "to be looked at";
  const auto builtin = packs("builtin");
  ASSERT_TRUE(builtin);
  EXPECT_FALSE(builtin->empty());
  write_file(keys, "nonsense");
  EXPECT_FALSE(packs(good.c_str())) << "a file that cannot be read trusts nobody";
  EXPECT_TRUE(packs("builtin"));
  EXPECT_EQ(packs(plain.c_str(), nullptr)->size(), 1U);
  const TrustedKeys bobs = trusting({bob_});
  EXPECT_THAT(packs(good.c_str(), &bobs).error().message, HasSubstr("good"));
}

}  // namespace
}  // namespace attune

#include <gtest/gtest.h>

#include <string>

#include "cache/blake2b.h"
#include "cache/sip_hash.h"
#include "support/bytes.h"

namespace fastserve {
namespace {

constexpr SipHasher::Key kKey = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
using Digest128 = std::array<std::uint64_t, 2>;

std::string HexOf(const std::array<std::uint64_t, 4>& digest) {
  std::string hex;
  for (const std::uint64_t word : digest) {
    for (int shift = 0; shift < 64; shift += 8) {
      constexpr char kDigits[] = "0123456789abcdef";
      hex += kDigits[word >> (shift + 4) & 0xf];
      hex += kDigits[word >> shift & 0xf];
    }
  }
  return hex;
}

// Expected values: the authors' vector for no input, and OpenSSL's SIPHASH with 16 bytes of output.
TEST(SipHasherTest, AgreesWithTheReferenceImplementation) {
  SipHasher empty(kKey);
  EXPECT_EQ(empty.Finish(), (Digest128{0xe6a825ba047f81a3, 0x930255c71472f66d}));
  SipHasher one(kKey);
  one.AddWord(0x0706050403020100);
  EXPECT_EQ(one.Finish(), (Digest128{0x61f55862baa9623b, 0xb49714f364e2830f}));
  SipHasher two(kKey);
  two.AddWord(0x0706050403020100);
  two.AddWord(0x0f0e0d0c0b0a0908);
  EXPECT_EQ(two.Finish(), (Digest128{0xbb54b067caa4e26e, 0x77052385bf1533fd}));
}

TEST(SipHasherTest, BytesAreWordsFilledUpWithZeros) {
  SipHasher bytes(kKey);
  bytes.AddBytes(BytesOf(std::string("\0\1\2\3\4\5\6\7\10", 9)));
  SipHasher words(kKey);
  words.AddWord(0x0706050403020100);
  words.AddWord(8);
  EXPECT_EQ(bytes.Finish(), words.Finish());
}

TEST(SipHasherTest, AnotherKeyIsAnotherHash) {
  SipHasher one(kKey);
  SipHasher other({kKey[0] + 1, kKey[1]});
  EXPECT_NE(one.Finish(), other.Finish());
}

// Expected values: Python's hashlib.blake2b(..., digest_size=32).
TEST(Blake2bTest, AgreesWithTheReferenceImplementation) {
  Blake2b empty;
  EXPECT_EQ(HexOf(empty.Finish()),
            "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  Blake2b abc;
  abc.AddBytes(BytesOf("abc"));
  EXPECT_EQ(HexOf(abc.Finish()),
            "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
  Blake2b block;
  block.AddBytes(BytesOf(std::string(128, 'a')));
  EXPECT_EQ(HexOf(block.Finish()),
            "ae2aa48507885c4c950fb809b2076f959cde9f8ea6da260d9a3587df33dac450");
  Blake2b more;
  more.AddBytes(BytesOf(std::string(1000, 'a')));
  EXPECT_EQ(HexOf(more.Finish()),
            "e00b0ddbf1e2cdaf5c898e1a5e8826ea3a2c339bcf2a478da2e5fca9ff126672");
}

TEST(Blake2bTest, PiecesHashLikeTheWhole) {
  const std::string text(300, 'x');
  Blake2b whole;
  whole.AddBytes(BytesOf(text));
  const auto expected = whole.Finish();
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    Blake2b pieces;
    pieces.AddBytes(BytesOf(text.substr(0, cut)));
    pieces.AddBytes(BytesOf(text.substr(cut)));
    EXPECT_EQ(pieces.Finish(), expected) << cut;
  }
}

}  // namespace
}  // namespace fastserve

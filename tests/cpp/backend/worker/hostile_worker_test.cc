// A worker that breaks the protocol is killed, its requests fail with the rule that it broke, and
// the next worker answers (HARDENING 6, 26).
#include <gmock/gmock.h>

#include "backend/worker/worker_fixture.h"

namespace fastserve {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint8_t kFp32 = 11;

struct Hostility {
  const char* name;
  const char* text;  // of the error
  void (*act)(PeerEnd& peer, const SeenExecution& seen);
};

// RESPONSES of one output at `range`, with the block `block`.
std::string OneOutput(const SeenExecution& seen, const BlockRange& block, const BlockRange& range,
                      const Shape& shape = Shape{1, 2}, std::uint8_t type = kFp32) {
  std::string body;
  PacketWriter writer(&body);
  writer.U64(seen.id);
  writer.U32(1);
  writer.Range(block);
  writer.U8(1);
  writer.Text("");
  writer.U16(1);
  PeerEnd::WriteOutput("X", type, shape, range, &writer);
  return body;
}

const Hostility kHostilities[] = {
    {"UnknownKind", "a packet of kind 99",
     [](PeerEnd& peer, const SeenExecution&) { peer.Send(static_cast<PacketKind>(99), "x"); }},
    {"PacketOfTheServers", "a packet of kind 6",
     [](PeerEnd& peer, const SeenExecution&) { peer.Send(PacketKind::kExecute, ""); }},
    {"ShortPacket", "a packet without a header",
     [](PeerEnd& peer, const SeenExecution&) { peer.SendRaw("short"); }},
    {"LongPacket", "longer than 64 KiB",
     [](PeerEnd& peer, const SeenExecution&) {
       peer.SendRaw(std::string(kLargestInline + 100, 'x'));
     }},
    {"UnsealedSegment", "not a memfd sealed",
     [](PeerEnd& peer, const SeenExecution&) { peer.AddSegment(kSegment, 4096, 4096, 0); }},
    {"HalfSealedSegment", "not a memfd sealed",
     [](PeerEnd& peer, const SeenExecution&) {
       peer.AddSegment(kSegment, 4096, 4096, F_SEAL_SHRINK | F_SEAL_SEAL);
     }},
    {"SegmentSmallerThanSaid", "has 4096 bytes, announced were 1048576",
     [](PeerEnd& peer, const SeenExecution&) { peer.AddSegment(kSegment, 4096, 1 << 20); }},
    {"SegmentThatIsNoMemfd", "not a memfd sealed",
     [](PeerEnd& peer, const SeenExecution&) {
       const UniqueFd fd(open("/dev/zero", O_RDWR | O_CLOEXEC));
       peer.Send(PacketKind::kSegment, PeerEnd::SegmentBody(kSegment, 4096), fd.get());
     }},
    {"SegmentWithoutDescriptor", "with 0 descriptors",
     [](PeerEnd& peer, const SeenExecution&) {
       peer.Send(PacketKind::kSegment, PeerEnd::SegmentBody(kSegment, 4096));
     }},
    {"SegmentIdOfTheServers", "without bit 31",
     [](PeerEnd& peer, const SeenExecution&) { peer.AddSegment(1, 4096, 4096); }},
    {"SegmentTwice", "announced twice",
     [](PeerEnd& peer, const SeenExecution&) {
       peer.AddSegment(kSegment, 4096, 4096);
       peer.AddSegment(kSegment, 4096, 4096);
     }},
    {"DescriptorWhereNoneBelongs", "a descriptor with a packet",
     [](PeerEnd& peer, const SeenExecution&) {
       const UniqueFd fd(open("/dev/zero", O_RDWR | O_CLOEXEC));
       peer.Send(PacketKind::kLog, std::string("\0\0\0\0\0", 5), fd.get());
     }},
    {"DropOfUnknownSegment", "unknown segment",
     [](PeerEnd& peer, const SeenExecution&) {
       peer.Send(PacketKind::kDropSegment, std::string("\1\0\0\x80", 4));
     }},
    {"ReleaseOfUnknownBlock", "a block that it does not have",
     [](PeerEnd& peer, const SeenExecution&) { peer.Release({7, 64, 0}); }},
    {"ReleaseTwice", "a block that it does not have",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.Release(seen.block);
       peer.Release(seen.block);
     }},
    {"CutRelease", "a RELEASE that ends",
     [](PeerEnd& peer, const SeenExecution&) { peer.Send(PacketKind::kRelease, "12345"); }},
    {"BodyInUnknownSegment", "unknown segment",
     [](PeerEnd& peer, const SeenExecution&) {
       peer.Send(PacketKind::kLog, "", -1, kOutOfLine, {kSegment, 0, 100});
     }},
    {"HugeBody", "the limit is",
     [](PeerEnd& peer, const SeenExecution&) {
       peer.Send(PacketKind::kLog, "", -1, kOutOfLine, {kSegment, 0, ~std::uint64_t{0}});
     }},
    {"BlockBehindItsSegment", "outside of its segment",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.AddSegment(kSegment, 4096, 4096);
       peer.Send(PacketKind::kResponses,
                 OneOutput(seen, {kSegment, 4032, 128}, {kSegment, 4032, 8}));
     }},
    {"BlockThatWrapsAround", "outside of its segment",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.AddSegment(kSegment, 4096, 4096);
       peer.Send(PacketKind::kResponses,
                 OneOutput(seen, {kSegment, ~std::uint64_t{63}, 128}, {kSegment, 0, 8}));
     }},
    {"UnalignedBlock", "not at a multiple of 64",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.AddSegment(kSegment, 4096, 4096);
       peer.Send(PacketKind::kResponses, OneOutput(seen, {kSegment, 8, 64}, {kSegment, 8, 8}));
     }},
    {"OutputBesideItsBlock", "bytes outside of the blocks",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.AddSegment(kSegment, 4096, 4096);
       peer.Send(PacketKind::kResponses, OneOutput(seen, {kSegment, 64, 64}, {kSegment, 124, 8}));
     }},
    {"OutputBeforeItsBlock", "bytes outside of the blocks",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.AddSegment(kSegment, 4096, 4096);
       peer.Send(PacketKind::kResponses, OneOutput(seen, {kSegment, 64, 64}, {kSegment, 56, 8}));
     }},
    {"OutputInAReleasedBlock", "bytes outside of the blocks",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.Release(seen.block);
       peer.Send(PacketKind::kResponses,
                 OneOutput(seen, {}, {seen.block.segment, seen.block.offset, 8}));
     }},
    {"OutputBehindTheLentBlock", "bytes outside of the blocks",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.Send(PacketKind::kResponses,
                 OneOutput(seen, {}, {seen.block.segment, seen.block.offset + 4096, 8}));
     }},
    {"ShapeAndSizeDisagree", "do not fit",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.Send(PacketKind::kResponses,
                 OneOutput(seen, {}, {seen.block.segment, seen.block.offset, 8}, Shape{1, 3}));
     }},
    {"NegativeDimension", "negative or too large",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.Send(PacketKind::kResponses,
                 OneOutput(seen, {}, {seen.block.segment, seen.block.offset, 8}, Shape{-1, -2}));
     }},
    {"ShapeThatOverflows", "negative or too large",
     [](PeerEnd& peer, const SeenExecution& seen) {
       const std::int64_t huge = std::int64_t{1} << 62;
       peer.Send(PacketKind::kResponses, OneOutput(seen, {}, {}, Shape{huge, huge}));
     }},
    {"UnknownType", "the type does not exist",
     [](PeerEnd& peer, const SeenExecution& seen) {
       peer.Send(PacketKind::kResponses,
                 OneOutput(seen, {}, {seen.block.segment, seen.block.offset, 8}, Shape{1, 2}, 200));
     }},
    {"StringsThatDoNotAddUp", "incomplete string",
     [](PeerEnd& peer, const SeenExecution& seen) {
       std::byte* const data = peer.AddSegment(kSegment, 4096, 4096);
       std::memset(data, 0xff, 8);
       peer.Send(PacketKind::kResponses,
                 OneOutput(seen, {kSegment, 0, 64}, {kSegment, 0, 8}, Shape{1, 1}, 13));
     }},
    {"ResponsesToUnknownExecution", "responses to execution 77",
     [](PeerEnd& peer, const SeenExecution& seen) {
       SeenExecution other = seen;
       other.id = 77;
       peer.Echo(other);
     }},
    {"ResponseToUnknownRequest", "a response to request 5",
     [](PeerEnd& peer, const SeenExecution&) {
       std::string body;
       PacketWriter writer(&body);
       writer.U64(5);
       writer.U32(1);
       writer.Range({});
       writer.U8(0);
       peer.Send(PacketKind::kResponse, body);
     }},
    {"ExecutedOfPlainModel", "not decoupled",
     [](PeerEnd& peer, const SeenExecution& seen) {
       std::string body;
       PacketWriter writer(&body);
       writer.U64(seen.id);
       writer.U8(0);
       peer.Send(PacketKind::kExecuted, body);
     }},
    {"TooManyResponses", "4294967295 responses to an execution of 1",
     [](PeerEnd& peer, const SeenExecution& seen) {
       std::string body;
       PacketWriter writer(&body);
       writer.U64(seen.id);
       writer.U32(0xffffffff);
       writer.Range({});
       peer.Send(PacketKind::kResponses, body);
     }},
    {"GiantOutputCount", "ends within an output",
     [](PeerEnd& peer, const SeenExecution& seen) {
       std::string body;
       PacketWriter writer(&body);
       writer.U64(seen.id);
       writer.U32(1);
       writer.Range({});
       writer.U8(1);
       writer.Text("");
       writer.U16(0xffff);
       peer.Send(PacketKind::kResponses, body);
     }},
    {"UnknownErrorCode", "error code 8",
     [](PeerEnd& peer, const SeenExecution& seen) {
       std::string body;
       PacketWriter writer(&body);
       writer.U64(seen.id);
       writer.U32(1);
       writer.Range({});
       writer.U8(2);
       writer.U8(8);
       writer.Text("oops");
       peer.Send(PacketKind::kResponses, body);
     }},
    {"InitializedTwice", "INITIALIZED a second time",
     [](PeerEnd& peer, const SeenExecution&) { peer.SendInitialized({}); }},
    {"CallThatIsNotUtf8", "a CALL that is not UTF-8",
     [](PeerEnd& peer, const SeenExecution&) {
       std::string body;
       PacketWriter writer(&body);
       writer.U64(0);
       writer.Raw("{\"method\": \"\xff\"}");
       peer.Send(PacketKind::kCall, body);
     }},
    {"EmptyRelease", "a RELEASE of nothing",
     [](PeerEnd& peer, const SeenExecution&) { peer.Send(PacketKind::kRelease, ""); }},
    {"CutBlsRequest", "BLS_REQUEST that ends",
     [](PeerEnd& peer, const SeenExecution&) { peer.Send(PacketKind::kBlsRequest, "1234567890"); }},
};

class HostileWorker : public ::testing::TestWithParam<Hostility> {};

TEST_P(HostileWorker, IsKilledFailsItsRequestAndIsReplaced) {
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) {
    peer.Greet();
    GetParam().act(peer, peer.ExpectExecution());
    peer.Expect(PacketKind::kFinalize);  // it does not leave by itself
  }});
  InferResponse response;
  const Status failed = loaded.Run(1, &response);
  EXPECT_EQ(failed.code(), StatusCode::kInternal);
  EXPECT_THAT(failed.message(), HasSubstr("model 'm'"));
  EXPECT_THAT(failed.message(), HasSubstr("broke the protocol"));
  EXPECT_THAT(failed.message(), HasSubstr(GetParam().text));
  const Status answered = loaded.Run(3, &response);
  ASSERT_TRUE(answered.ok()) << answered.message();
  EXPECT_THAT(FloatsOf(response.outputs.at(0)), ElementsAre(3, 3));
  EXPECT_EQ(loaded.model->worker_counts()->deaths, 1U);
  EXPECT_EQ(loaded.model->worker_counts()->restarts, 1U);
}

INSTANTIATE_TEST_SUITE_P(EveryRule, HostileWorker, ::testing::ValuesIn(kHostilities),
                         [](const auto& tested) { return std::string(tested.param.name); });

// Every prefix of a good packet, and the packet with one byte changed, is answered or refused;
// nothing is read beyond it (the sanitizers say so).
TEST(HostileWorkerBytes, CutAndChangedResponsesNeverReachBeyondTheirPacket) {
  std::string good;
  PacketWriter writer(&good);
  writer.U64(1);
  writer.U32(1);
  writer.Range({});
  writer.U8(2);
  writer.U8(1);
  writer.Text("an error");
  for (std::size_t size = 0; size < good.size(); size += 3) {
    const ScriptedModel loaded = LoadScripted({[&](PeerEnd& peer) {
      peer.Greet();
      (void)peer.ExpectExecution();
      peer.Send(PacketKind::kResponses, good.substr(0, size));
      peer.Expect(PacketKind::kFinalize);
    }});
    InferResponse response;
    EXPECT_EQ(loaded.Run(1, &response).code(), StatusCode::kInternal) << size;
  }
}

}  // namespace
}  // namespace fastserve

// A model that calls faster, or reads slower, than the other side.
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <semaphore>

#include "backend/worker/bls_packets.h"
#include "backend/worker/worker_fixture.h"
#include "backend/worker/worker_link.h"
#include "base/clock.h"
#include "support/room_signal.h"

namespace fastserve {
namespace {

using ::testing::HasSubstr;

// Keeps what it is asked, for the test to answer. Thread safe.
class KeepingHost final : public InferenceHost {
 public:
  using Done = std::function<void(std::string)>;

  void Submit(const RequestPtr& request, bool /*allow_decoupled*/) override {
    const std::lock_guard lock(mutex_);
    submitted_.push_back(request);
    changed_.notify_all();
  }
  void Control(std::string /*call*/, Done done) override {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(done));
    most_waiting_ = std::max(most_waiting_, waiting_.size());
    changed_.notify_all();
  }
  RequestPtr AwaitRequest() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !submitted_.empty(); });
    return submitted_.front();
  }
  // Answers all controls, as soon as there are `count`. Returns how many there were.
  std::size_t AnswerWhenThereAre(std::size_t count) {
    std::vector<Done> answered;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return waiting_.size() >= count; });
      answered.swap(waiting_);
    }
    for (const Done& done : answered) done("{}");
    return answered.size();
  }
  std::size_t most_waiting() {
    const std::lock_guard lock(mutex_);
    return most_waiting_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<RequestPtr> submitted_;
  std::vector<Done> waiting_;
  std::size_t most_waiting_ = 0;
};

std::string BlsTaken(std::uint64_t call, std::uint32_t count) {
  std::string body;
  PacketWriter writer(&body);
  writer.U64(call);
  writer.U32(count);
  return body;
}

InferResponse ResponseOf(std::size_t floats) {
  InferResponse response;
  Tensor& output = response.outputs.emplace_back();
  output.name = "X";
  output.type = DataType::kFp32;
  output.shape = MakeShape({1, static_cast<std::int64_t>(floats)});
  output.data = ViewOfFloats(std::vector<float>(floats));
  return response;
}

// A worker with one decoupled call that says BLS_TAKEN of `count` when the test lets it.
class DecoupledCall : public ::testing::Test {
 protected:
  void Start(std::uint32_t count) {
    loaded_ = LoadScripted({[this, count](PeerEnd& peer) {
                             peer.Greet();
                             PutFloats(peer.AddSegment(kSegment, 4096, 4096));
                             const SeenExecution seen = peer.ExpectExecution();
                             peer.Send(PacketKind::kBlsRequest, DecoupledBlsRequest(1));
                             may_take_.acquire();
                             peer.Send(PacketKind::kBlsTaken, BlsTaken(1, count));
                             may_end_.acquire();
                             peer.Echo(seen);
                             peer.Expect(PacketKind::kFinalize);
                           }},
                           MakeSpec("python", 8), host_);
    loaded_.instance->Execute(&awaited_.execution, &awaited_);
    request_ = host_->AwaitRequest();
  }
  void Respond(std::size_t count, std::size_t floats = 2) {
    for (std::size_t i = 0; i < count; ++i) request_->Respond(ResponseOf(floats), /*final=*/false);
  }
  void End() {
    request_->Respond({}, /*final=*/true);
    may_end_.release();
    EXPECT_TRUE(awaited_.Await().ok()) << awaited_.status.message();
  }

  const std::shared_ptr<KeepingHost> host_ = std::make_shared<KeepingHost>();
  const std::shared_ptr<RoomSignal> room_ = std::make_shared<RoomSignal>();
  AwaitedExecution awaited_{{MakeRequest("r", std::make_shared<RecordingSink>())}};
  std::binary_semaphore may_take_{0};
  std::binary_semaphore may_end_{0};
  RequestPtr request_;
  ScriptedModel loaded_;
};

TEST_F(DecoupledCall, HoldsItsSenderUntilTheModelHasTakenResponses) {
  Start(16);
  Respond(64);
  EXPECT_FALSE(request_->congested());
  Respond(1);
  EXPECT_TRUE(request_->congested());
  ASSERT_TRUE(request_->WaitForRoom(room_));
  may_take_.release();
  room_->Wait();
  EXPECT_FALSE(request_->congested());
  Respond(15);
  EXPECT_FALSE(request_->congested());
  End();
}

TEST_F(DecoupledCall, HoldsItsSenderWhenResponsesAreLarge) {
  Start(2);
  Respond(1, 200'000);
  EXPECT_FALSE(request_->congested());
  Respond(1, 200'000);
  EXPECT_TRUE(request_->congested());
  ASSERT_TRUE(request_->WaitForRoom(room_));
  may_take_.release();
  room_->Wait();
  EXPECT_FALSE(request_->congested());
  End();
}

TEST_F(DecoupledCall, CountsResponsesWithoutBytesToo) {
  Start(1);
  Respond(65, 0);
  EXPECT_TRUE(request_->congested());
  request_->Cancel();
  EXPECT_FALSE(request_->congested());
  may_take_.release();
  End();
}

TEST_F(DecoupledCall, OfWhichMoreIsTakenThanWasSentKillsTheWorker) {
  Start(3);
  Respond(2);
  may_take_.release();
  may_end_.release();
  EXPECT_THAT(awaited_.Await().message(), HasSubstr("it took 3 responses of BLS call 1"));
  request_->Respond({}, /*final=*/true);
}

TEST(Notifications, BeyondTheLimitWaitInTheSocketAndKillNobody) {
  constexpr std::size_t kLimit = 4096;
  constexpr std::size_t kSent = 70'000;
  const auto host = std::make_shared<KeepingHost>();
  const ScriptedModel loaded = LoadScripted({[](PeerEnd& peer) {
                                              peer.Greet();
                                              const SeenExecution seen = peer.ExpectExecution();
                                              const std::string call = std::string(8, '\0') + "{}";
                                              for (std::size_t i = 0; i < kSent; ++i)
                                                peer.Send(PacketKind::kCall, call);
                                              peer.Echo(seen);
                                              peer.Expect(PacketKind::kFinalize);
                                            }},
                                            MakeSpec("python", 8), host);
  AwaitedExecution awaited({MakeRequest("r", std::make_shared<RecordingSink>())});
  loaded.instance->Execute(&awaited.execution, &awaited);
  std::size_t answered = host->AnswerWhenThereAre(kLimit);
  while (answered < kSent) answered += host->AnswerWhenThereAre(1);
  EXPECT_TRUE(awaited.Await().ok()) << awaited.status.message();
  EXPECT_EQ(host->most_waiting(), kLimit);
}

// A worker that has nothing but memory to tell, and much of it.
TEST(MemoryPackets, AreDealtWithInTurns) {
  constexpr int kPairs = 40;
  std::array<int, 2> fds{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()), 0);
  WorkerLink link(UniqueFd{fds[0]}, std::make_shared<Wakeup>(), &SystemClock());
  const UniqueFd other(fds[1]);
  PeerEnd peer(other.get());
  for (int i = 0; i < kPairs; ++i) {
    peer.AddSegment(kSegment, 4096, 4096);
    std::string drop;
    PacketWriter(&drop).U32(kSegment);
    peer.Send(PacketKind::kDropSegment, drop);
  }
  peer.Send(PacketKind::kLog, "behind them");
  WorkerPacket packet;
  EXPECT_EQ(*link.Receive(&packet), ReceiveOutcome::kMore);
  EXPECT_EQ(*link.Receive(&packet), ReceiveOutcome::kPacket);
  EXPECT_EQ(packet.body, "behind them");
}

}  // namespace
}  // namespace fastserve

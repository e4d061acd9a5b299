// For whose sake a model in a worker calls another one: what is cancelled with whom, and which
// chain a call continues.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "backend/worker/bls_packets.h"
#include "backend/worker/decoupled_packets.h"
#include "backend/worker/worker_fixture.h"

namespace fastserve {
namespace {

// Takes one call and keeps it. Thread safe.
class OneCallHost final : public InferenceHost {
 public:
  void Submit(const RequestPtr& request, bool /*allow_decoupled*/) override {
    const std::lock_guard lock(mutex_);
    call_ = request;
    came_.notify_all();
  }
  void Control(std::string /*call*/, std::function<void(std::string)> done) override { done("{}"); }
  RequestPtr AwaitCall() {
    std::unique_lock lock(mutex_);
    came_.wait(lock, [&] { return call_ != nullptr; });
    // Not kept: it holds its caller, that the session, and that this host.
    return std::exchange(call_, nullptr);
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  RequestPtr call_;
};

void EndCall(const RequestPtr& call) {
  call->Fail(Status::Cancelled("ended"), FailureReason::kCanceled);
}

// Two requests whose execution makes one call for `count` of them, from the one at `first` on.
class CallOfABatch : public ::testing::Test {
 protected:
  RequestPtr Start(std::size_t first, std::uint32_t count) {
    loaded_ =
        LoadScripted({[this, first, count](PeerEnd& peer) {
                       peer.Greet();
                       PutFloats(peer.AddSegment(kSegment, 4096, 4096));
                       const SeenExecution seen = peer.ExpectExecution();
                       const std::uint64_t handle = seen.requests.at(first).handle;
                       peer.Send(PacketKind::kBlsRequest, BlsRequest(1, handle, 64, "", count));
                       may_end_.acquire();
                       peer.Echo(seen);
                       EchoForEver(peer);
                     }},
                     MakeSpec("python", 8), host_);
    loaded_.instance->Execute(&awaited_.execution, &awaited_);
    return host_->AwaitCall();
  }
  void TearDown() override {
    may_end_.release();
    EXPECT_TRUE(awaited_.Await().ok());
  }

  const std::shared_ptr<OneCallHost> host_ = std::make_shared<OneCallHost>();
  const RequestPtr one_ = MakeRequest("one", std::make_shared<RecordingSink>());
  const RequestPtr two_ = MakeRequest("two", std::make_shared<RecordingSink>());
  AwaitedExecution awaited_{{one_, two_}};
  std::binary_semaphore may_end_{0};
  ScriptedModel loaded_;
};

TEST_F(CallOfABatch, IsCancelledWithTheLastOfItsRequests) {
  const RequestPtr call = Start(0, 2);
  one_->Cancel();
  EXPECT_FALSE(call->cancelled());
  two_->Cancel();
  EXPECT_TRUE(call->cancelled());
  EndCall(call);
}

TEST_F(CallOfABatch, ForOneRequestIsCancelledWithThatOne) {
  const RequestPtr call = Start(1, 1);
  EXPECT_EQ(call->caller, two_);
  one_->Cancel();
  EXPECT_FALSE(call->cancelled());
  two_->Cancel();
  EXPECT_TRUE(call->cancelled());
  EndCall(call);
}

// It might wait for what waits for the second request, which the first one does not know of.
TEST_F(CallOfABatch, ContinuesTheChainOfARequestThatWasItselfCalled) {
  two_->caller = MakeRequest("outer", std::make_shared<RecordingSink>());
  const RequestPtr call = Start(0, 2);
  EXPECT_EQ(call->caller, two_);
  EndCall(call);
}

TEST_F(CallOfABatch, ForMoreRequestsThanThereAreIsForThoseOfTheExecution) {
  const RequestPtr call = Start(1, ~std::uint32_t{0});
  EXPECT_EQ(call->caller, two_);
  EndCall(call);
}

struct StreamPeer {
  std::binary_semaphore may_end{0};

  // Ends the first request; when `is_over` the execution, too. Then it calls for both.
  PeerScript Script(bool is_over) {
    return [this, is_over](PeerEnd& peer) {
      peer.Greet();
      PutFloats(peer.AddSegment(kSegment, 4096, 4096));
      const SeenExecution seen = peer.ExpectExecution();
      const std::uint64_t first = seen.requests.at(0).handle;
      peer.Send(PacketKind::kResponse, Response(first, /*final=*/true));
      if (is_over) peer.Send(PacketKind::kExecuted, Executed(seen.id));
      peer.Send(PacketKind::kBlsRequest, BlsRequest(1, first, 64, "", 2));
      may_end.acquire();
      peer.Send(PacketKind::kResponse, Response(first + 1, /*final=*/true));
      if (!is_over) peer.Send(PacketKind::kExecuted, Executed(seen.id));
      peer.Expect(PacketKind::kFinalize);
    };
  }
};

class CallOfAStream : public ::testing::TestWithParam<bool> {};

TEST_P(CallOfAStream, IsForTheRequestsThatHaveNotEnded) {
  const auto host = std::make_shared<OneCallHost>();
  StreamPeer stream;
  const ScriptedModel loaded = LoadScripted({stream.Script(GetParam())}, Decoupled(), host);
  const RequestPtr one = MakeRequest("one", std::make_shared<RecordingSink>());
  const auto sink = std::make_shared<RecordingSink>();
  const RequestPtr two = MakeRequest("two", sink);
  AwaitedExecution awaited({one, two});
  loaded.instance->Execute(&awaited.execution, &awaited);
  const RequestPtr call = host->AwaitCall();
  EXPECT_EQ(call->caller, two);
  EXPECT_FALSE(call->cancelled());
  two->Cancel();
  EXPECT_TRUE(call->cancelled());
  EndCall(call);
  stream.may_end.release();
  EXPECT_TRUE(awaited.Await().ok());
  sink->Await(1);
}

INSTANTIATE_TEST_SUITE_P(WhileItRunsAndLater, CallOfAStream, ::testing::Bool());

}  // namespace
}  // namespace fastserve

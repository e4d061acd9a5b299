// The repeat backend: its answers, their pace, its end.
#include "backend/repeat/repeat.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backend/repeat/repeat_run.h"
#include "support/requests.h"

namespace fastserve {
namespace {

constexpr std::uint32_t kHourMs = 3'600'000;

TensorSpec Port(const std::string& name, DataType type, std::int64_t dim) {
  TensorSpec tensor;
  tensor.name = name;
  tensor.type = type;
  tensor.dims = MakeShape({dim});
  return tensor;
}

std::shared_ptr<ModelSpec> RepeatSpec() {
  auto spec = std::make_shared<ModelSpec>();
  spec->name = "m";
  spec->backend = "repeat";
  spec->decoupled = true;
  spec->inputs = {Port("IN", DataType::kInt32, -1), Port("DELAY", DataType::kUint32, -1),
                  Port("WAIT", DataType::kUint32, 1)};
  spec->outputs = {Port("OUT", DataType::kInt32, 1), Port("IDX", DataType::kUint32, 1)};
  return spec;
}

Tensor Numbers(const std::string& name, DataType type, const std::vector<std::uint32_t>& values) {
  Tensor tensor;
  tensor.name = name;
  tensor.type = type;
  tensor.shape = MakeShape({static_cast<std::int64_t>(values.size())});
  const BufferPtr buffer = AllocateHostBuffer(values.size() * sizeof(std::uint32_t));
  if (!values.empty()) std::memcpy(buffer->data(), values.data(), buffer->size());
  tensor.data = BufferView(buffer);
  return tensor;
}

// A sink that is congested when the test says so.
class ValveSink final : public ResponseSink {
 public:
  void OnResponse(const RequestPtr& request, InferResponse response, bool final) override {
    record.OnResponse(request, std::move(response), final);
  }
  bool congested() const override { return closed; }

  RecordingSink record;
  std::atomic<bool> closed{false};
};

class RepeatTest : public testing::Test {
 protected:
  RequestPtr Request(const std::vector<std::uint32_t>& values,
                     const std::vector<std::uint32_t>& delays_ms) {
    auto request = std::make_shared<InferRequest>();
    request->model_name = "m";
    request->id = "r";
    request->spec = spec_;
    request->sink = sink_;
    request->inputs = {Numbers("IN", DataType::kInt32, values),
                       Numbers("DELAY", DataType::kUint32, delays_ms),
                       Numbers("WAIT", DataType::kUint32, {0})};
    return request;
  }
  static std::uint32_t ValueOf(const Tensor& tensor) {
    std::uint32_t value = 0;
    std::memcpy(&value, tensor.data.data, sizeof value);
    return value;
  }

  const std::shared_ptr<ModelSpec> spec_ = RepeatSpec();
  const std::shared_ptr<ValveSink> sink_ = std::make_shared<ValveSink>();
};

TEST_F(RepeatTest, EachElementIsAResponseAndThenComesTheEnd) {
  RepeatRun run;
  run.Start(Request({7, 8, 9}, {0, 1, 0}));
  const auto answers = sink_->record.Await(4);
  ASSERT_EQ(answers.size(), 4U);
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_FALSE(answers[i].final);
    EXPECT_EQ(ValueOf(answers[i].response.outputs[0]), 7 + i);
    EXPECT_EQ(ValueOf(answers[i].response.outputs[1]), i);
  }
  EXPECT_TRUE(answers[3].final);
  EXPECT_TRUE(answers[3].response.flags_only);
}

TEST_F(RepeatTest, ManyElementsOfOneRequestLeaveTurnsToTheOthers) {
  RepeatRun run;
  const std::vector<std::uint32_t> many(1000, 1);
  run.Start(Request(many, std::vector<std::uint32_t>(1000, 0)));
  const auto other = std::make_shared<ValveSink>();
  const RequestPtr request = Request({2}, {0});
  request->sink = other;
  run.Start(request);
  EXPECT_EQ(other->record.Await(2).size(), 2U);
  EXPECT_EQ(sink_->record.Await(1001).size(), 1001U);
}

TEST_F(RepeatTest, AsManyDelaysAsElementsAreNeeded) {
  RepeatRun run;
  run.Start(Request({1, 2}, {0}));
  const auto answers = sink_->record.Await(1);
  EXPECT_TRUE(answers[0].final);
  EXPECT_EQ(answers[0].response.status.message(),
            "model 'm': IN has 2 elements and DELAY has 1; they must be as many");
}

TEST_F(RepeatTest, ACancelledRequestEndsInTheMiddleOfADelay) {
  RepeatRun run;
  const RequestPtr request = Request({1, 2}, {0, kHourMs});
  run.Start(request);
  sink_->record.Await(1);
  request->Cancel();
  const auto answers = sink_->record.Await(2);
  EXPECT_TRUE(answers[1].final);
  EXPECT_EQ(answers[1].response.status.code(), StatusCode::kCancelled);
}

TEST_F(RepeatTest, NothingIsSentWhileTheReaderIsCongested) {
  RepeatRun run;
  sink_->closed = true;
  const RequestPtr request = Request({1, 2}, {0, 0});
  run.Start(request);
  const auto other = std::make_shared<ValveSink>();
  const RequestPtr second = Request({1}, {0});
  second->sink = other;
  run.Start(second);
  other->record.Await(2);  // the first one's turn was before
  EXPECT_EQ(sink_->record.count(), 0U);
  sink_->closed = false;
  request->NotifyRoom();
  EXPECT_EQ(sink_->record.Await(3).size(), 3U);
}

TEST_F(RepeatTest, StopFailsWhatIsUnderWayAndLetsGoOfIt) {
  RepeatRun run;
  std::weak_ptr<InferRequest> waiting;
  std::weak_ptr<InferRequest> congested;
  {
    const RequestPtr first = Request({1}, {kHourMs});
    const RequestPtr second = Request({1}, {0});
    waiting = first;
    congested = second;
    sink_->closed = true;
    run.Start(first);
    run.Start(second);
  }
  run.Stop();
  EXPECT_EQ(sink_->record.Await(2).size(), 2U);
  EXPECT_TRUE(waiting.expired());
  EXPECT_TRUE(congested.expired());
  run.Start(Request({1}, {0}));
  EXPECT_EQ(sink_->record.Await(3)[2].response.status.code(), StatusCode::kUnavailable);
}

TEST(RepeatBackendTest, TheConfigurationIsChecked) {
  const auto backend = CreateRepeatBackend();
  EXPECT_TRUE(backend->LoadModel(RepeatSpec()).ok());
  auto once = RepeatSpec();
  once->decoupled = false;
  auto batching = RepeatSpec();
  batching->max_batch_size = 4;
  auto wrong = RepeatSpec();
  wrong->inputs[1].type = DataType::kInt32;
  auto more = RepeatSpec();
  more->outputs.push_back(Port("MORE", DataType::kInt32, 1));
  for (const auto& [spec, text] : {std::pair{once, "write model_transaction_policy"},
                                   std::pair{batching, "write max_batch_size: 0"},
                                   std::pair{wrong, "needs the input 'DELAY' (UINT32 [-1])"},
                                   std::pair{more, "has 2 outputs, got 3"}}) {
    const auto model = backend->LoadModel(spec);
    ASSERT_FALSE(model.ok());
    EXPECT_NE(model.status().message().find(text), std::string::npos) << model.status().message();
  }
}

}  // namespace
}  // namespace fastserve

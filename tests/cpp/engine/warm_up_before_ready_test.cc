// Warm-up through the engine: what has run when LoadModel returns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "support/puppet_backend.h"
#include "support/requests.h"

namespace fastserve {
namespace {

using testing::HasSubstr;

class WarmUpBeforeReadyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::Create({});
    ASSERT_TRUE(engine.ok());
    engine_ = std::move(*engine);
    engine_->RegisterBackend(std::make_unique<PuppetBackend>(strings_));
  }

  // Two groups, one of them passive, and two samples.
  static std::shared_ptr<ModelSpec> Spec() {
    auto spec = MakeSpec("puppet", 8);
    spec->instance_groups.resize(2);
    spec->instance_groups[0].name = "many";
    spec->instance_groups[0].count = 3;
    spec->instance_groups[1].name = "spare";
    spec->instance_groups[1].passive = true;
    spec->warmup = {Sample("small", 1, 3), Sample("large", 8, 2)};
    return spec;
  }
  static WarmupSpec Sample(const std::string& name, std::int64_t batch_size, std::uint32_t count) {
    WarmupSpec sample;
    sample.name = name;
    sample.batch_size = batch_size;
    sample.count = count;
    WarmupInputSpec input;
    input.name = "X";
    input.type = DataType::kFp32;
    input.dims = MakeShape({2});
    sample.inputs.push_back(input);
    return sample;
  }

  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::unique_ptr<Engine> engine_;
};

TEST_F(WarmUpBeforeReadyTest, EachInstanceRunsEachSampleAsOftenAsItSaysBeforeTheModelIsThere) {
  const auto model = engine_->LoadModel(Spec());
  ASSERT_TRUE(model.ok()) << model.status().message();
  // By instance, the rows of the samples in their order.
  std::map<std::string, std::vector<std::string>> ran;
  for (const PuppetStrings::Seen& seen : strings_->seen()) {
    ran[seen.instance].push_back(seen.request_ids.at(0) + " " + std::to_string(seen.batch_size));
  }
  const std::vector<std::string> all = {"small 1", "small 1", "small 1", "large 8", "large 8"};
  const std::map<std::string, std::vector<std::string>> expected = {
      {"many_0", all}, {"many_1", all}, {"many_2", all}, {"spare_0", all}};
  EXPECT_EQ(ran, expected);
  EXPECT_EQ(engine_->model_state("m", -1), ModelState::kUnknown);
  (void)engine_->Publish("m", {*model});
  EXPECT_EQ(engine_->model_state("m", -1), ModelState::kReady);
}

TEST_F(WarmUpBeforeReadyTest, WarmUpsAreNotCountedAsInferences) {
  const auto model = engine_->LoadModel(Spec());
  ASSERT_TRUE(model.ok()) << model.status().message();
  (void)engine_->Publish("m", {*model});
  EXPECT_THAT(engine_->MetricsText(),
              HasSubstr("nv_inference_request_success{model=\"m\",version=\"1\"} 0\n"));
  EXPECT_EQ(engine_->inflight_requests(), 0U);
}

TEST_F(WarmUpBeforeReadyTest, AModelWhoseWarmUpFailsDoesNotLoad) {
  strings_->EndWith(Status::Internal("boom"));
  const auto model = engine_->LoadModel(Spec());
  EXPECT_EQ(model.status().message(), "failed to run warmup sample 'small': boom");
  EXPECT_EQ(strings_->seen().size(), 1U);  // nothing more is tried
  EXPECT_EQ(engine_->model_state("m", -1), ModelState::kUnknown);
}

}  // namespace
}  // namespace fastserve

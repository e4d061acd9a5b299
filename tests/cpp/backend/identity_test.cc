// The identity backend's delays. What it echoes is tested by the contract suite.
#include "backend/identity/identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>

#include "model_runner.h"
#include "support/requests.h"

namespace fastserve {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class IdentityDelayTest : public ::testing::Test {
 protected:
  void Load(const std::string& delay_ms, const std::string& multiplier) {
    const auto spec = MakeSpec("identity", 1);
    spec->parameters["execute_delay_ms"] = delay_ms;
    spec->parameters["instance_wise_delay_multiplier"] = multiplier;
    auto model = backend_->LoadModel(spec);
    status_ = model.status();
    if (model.ok()) model_ = std::move(*model);
  }
  // How long its next instance takes, at best of so many: a busy machine only adds to it.
  milliseconds TimeOfNextInstance(int attempts = 1) {
    const auto instance = std::move(*model_->CreateInstance("i"));
    auto best = milliseconds::max();
    for (int attempt = 0; attempt < attempts; ++attempt) {
      Execution execution;
      execution.batch_size = 1;
      const auto begin = std::chrono::steady_clock::now();
      EXPECT_TRUE(Execute(*instance, &execution).ok());
      const auto took = std::chrono::steady_clock::now() - begin;
      best = std::min(best, std::chrono::duration_cast<milliseconds>(took));
    }
    return best;
  }

  const std::unique_ptr<Backend> backend_ = CreateIdentityBackend();
  std::unique_ptr<BackendModel> model_;
  Status status_;
};

TEST_F(IdentityDelayTest, InstancesWaitTheirNumberTimesTheMultiplierAndTheFirstOnce) {
  Load("2", "100");
  const milliseconds first = TimeOfNextInstance(5);
  EXPECT_GE(first, milliseconds(2));
  EXPECT_LT(first, milliseconds(200)) << "the first one is not multiplied";
  EXPECT_GE(TimeOfNextInstance(), milliseconds(200));
  EXPECT_GE(TimeOfNextInstance(), milliseconds(400));
}

TEST_F(IdentityDelayTest, AMultiplierOfZeroChangesNothing) {
  Load("20", "0");
  for (int instance = 0; instance < 2; ++instance)
    EXPECT_GE(TimeOfNextInstance(), milliseconds(20));
}

TEST_F(IdentityDelayTest, WhatIsNoWholeNumberIsRefused) {
  for (const std::string text : {"-1", "2.5", "x", "", "99999999999999999999"}) {
    Load("1", text);
    EXPECT_EQ(status_.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(status_.message(),
                HasSubstr("parameter 'instance_wise_delay_multiplier' is '" + text + "'"));
  }
}

}  // namespace
}  // namespace fastserve

// What the property tests of the schedulers compare in the end.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <string>

#include "support/requests.h"

namespace fastserve {

// Each request has the answer that the reference expects, and each of the `codes` came more than
// `least` times: a run that hardly has one proves nothing.
inline void ExpectAnswers(RecordingSink& sink, const std::map<std::string, StatusCode>& expected,
                          std::size_t least, std::initializer_list<StatusCode> codes) {
  std::map<StatusCode, std::size_t> seen;
  for (const auto& answer : sink.Await(expected.size())) {
    ASSERT_EQ(answer.response.status.code(), expected.at(answer.id)) << answer.id;
    ++seen[answer.response.status.code()];
  }
  for (const StatusCode code : codes) EXPECT_GT(seen[code], least) << static_cast<int>(code);
}

}  // namespace fastserve

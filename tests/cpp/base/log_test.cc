#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

namespace fastserve {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

LogRecord Record(LogLevel level, std::string_view message) {
  // 2026-11-22 21:30:00.123456 UTC
  return {level, "/somewhere/csrc/engine/server.cc", 42, message, 1795383000123456, 4711};
}

TEST(FormatLogLine, LooksLikeTritonsDefaultFormat) {
  EXPECT_EQ(FormatLogLine(Record(LogLevel::kInfo, "ready"), LogFormat::kDefault),
            "I1122 21:30:00.123456 4711 server.cc:42] \"ready\"\n");
  EXPECT_EQ(FormatLogLine(Record(LogLevel::kError, ""), LogFormat::kDefault),
            "E1122 21:30:00.123456 4711 server.cc:42] \"\"\n");
}

TEST(FormatLogLine, LooksLikeTritonsIso8601Format) {
  EXPECT_EQ(FormatLogLine(Record(LogLevel::kWarning, "careful"), LogFormat::kIso8601),
            "2026-11-22T21:30:00Z W 4711 server.cc:42] \"careful\"\n");
}

TEST(FormatLogLine, PrintsVerboseLinesAsInfo) {
  EXPECT_EQ(FormatLogLine(Record(LogLevel::kVerbose, "v"), LogFormat::kDefault)[0], 'I');
}

TEST(FormatLogLine, PrintsMicrosecondsWithLeadingZeros) {
  LogRecord record = Record(LogLevel::kInfo, "m");
  record.time_us = 7;
  record.file = "plain.cc";
  EXPECT_EQ(FormatLogLine(record, LogFormat::kDefault),
            "I0101 00:00:00.000007 4711 plain.cc:42] \"m\"\n");
}

TEST(FormatLogLine, LetsNoMessageForgeALine) {
  const std::string line = FormatLogLine(
      Record(LogLevel::kInfo, "a\"\nE1122 forged \x1b[31m\x7f\\"), LogFormat::kDefault);
  EXPECT_THAT(line, HasSubstr("\"a\\\"\\nE1122 forged \\u001b[31m\\u007f\\\\\"\n"));
  EXPECT_EQ(std::ranges::count(line, '\n'), 1);
}

TEST(EscapeForLog, EscapesWhatJsonEscapesAndKeepsUtf8) {
  EXPECT_EQ(EscapeForLog(std::string("\0\r\t\"\\", 5)), "\\u0000\\r\\t\\\"\\\\");
  EXPECT_EQ(EscapeForLog("grün"), "grün");
}

// The settings and the target belong to the process: every test puts them back.
class LogTest : public testing::Test {
 protected:
  LogTest()
      : path_(std::filesystem::path(testing::TempDir()) /
              ("fastserve_log_test." + std::to_string(getpid()))) {
    std::filesystem::remove(path_);
  }
  ~LogTest() override {
    LogSettings& settings = GlobalLogSettings();
    settings.error = settings.warning = settings.info = true;
    settings.verbose_level = 0;
    settings.format = LogFormat::kDefault;
    EXPECT_TRUE(SetLogFile("").ok());
    std::filesystem::remove(path_);
  }

  std::vector<std::string> Lines() const {
    std::ifstream file(path_);
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  const std::filesystem::path path_;
};

TEST_F(LogTest, WritesLinesOfThisProcessToTheFile) {
  ASSERT_TRUE(SetLogFile(path_.string()).ok());
  LOG_INFO("hello");
  const std::vector<std::string> lines = Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], MatchesRegex("I[0-9]{4} [0-9:]{8}\\.[0-9]{6} " + std::to_string(getpid()) +
                                     " log_test.cc:[0-9]+\\] \"hello\""));
}

TEST_F(LogTest, AppendsToAFileThatExists) {
  std::ofstream(path_) << "old\n";
  ASSERT_TRUE(SetLogFile(path_.string()).ok());
  LOG_INFO("new");
  EXPECT_EQ(Lines().size(), 2u);
}

TEST_F(LogTest, KeepsItsTargetWhenAFileCannotBeOpened) {
  ASSERT_TRUE(SetLogFile(path_.string()).ok());
  const Status status = SetLogFile("/nonexistent/dir/log");
  EXPECT_EQ(status.code(), StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("'/nonexistent/dir/log': No such file"));
  LOG_INFO("still here");
  EXPECT_EQ(Lines().size(), 1u);
}

TEST_F(LogTest, ReturnsToStandardError) {
  ASSERT_TRUE(SetLogFile(path_.string()).ok());
  ASSERT_TRUE(SetLogFile("").ok());
  testing::internal::CaptureStderr();
  LOG_INFO("to the console");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("\"to the console\"\n"));
  EXPECT_TRUE(Lines().empty());
}

TEST_F(LogTest, FollowsItsSwitchesWhileRunning) {
  LogSettings& settings = GlobalLogSettings();
  EXPECT_TRUE(LogEnabled(LogLevel::kError));
  EXPECT_TRUE(LogEnabled(LogLevel::kInfo));
  EXPECT_FALSE(LogEnabled(LogLevel::kVerbose, 1));
  settings.error = settings.warning = settings.info = false;
  EXPECT_FALSE(LogEnabled(LogLevel::kError));
  EXPECT_FALSE(LogEnabled(LogLevel::kWarning));
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
  settings.verbose_level = 2;
  EXPECT_TRUE(LogEnabled(LogLevel::kVerbose, 2));
  EXPECT_FALSE(LogEnabled(LogLevel::kVerbose, 3));
}

TEST_F(LogTest, DoesNotBuildAMessageThatNobodyWants) {
  GlobalLogSettings().info = false;
  bool built = false;
  LOG_INFO((built = true, "expensive"));
  LOG_VERBOSE(1, (built = true, "expensive"));
  EXPECT_FALSE(built);
}

TEST_F(LogTest, KeepsLinesOfManyThreadsWholeWhileTheTargetChanges) {
  constexpr int kThreads = 4;
  constexpr int kLinesEach = 500;
  ASSERT_TRUE(SetLogFile(path_.string()).ok());
  const std::string message(200, 'x');
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int line = 0; line < kLinesEach; ++line) LOG_WARNING(message);
    });
  }
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(SetLogFile(path_.string()).ok());
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> lines = Lines();
  EXPECT_EQ(lines.size(), std::size_t{kThreads} * kLinesEach);
  for (const std::string& line : lines) {
    ASSERT_EQ(line[0], 'W');
    ASSERT_TRUE(line.ends_with("] \"" + message + "\"")) << line;
  }
}

}  // namespace
}  // namespace fastserve

// Reading signatures from files, held against what a session says of the same file.
#include "backend/onnxruntime/onnx_file.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "backend/model_runner.h"
#include "backend/onnxruntime/onnxruntime_backend.h"
#include "backend/onnxruntime/ort_session.h"

namespace fastserve {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<fs::path> DataFiles() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(ModelPath("tiny")).parent_path())) {
    if (entry.path().extension() == ".onnx") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A file of this test alone, removed with the object.
class ScratchFile {
 public:
  explicit ScratchFile(std::string_view content) {
    std::string pattern = (fs::temp_directory_path() / "onnx_file_test_XXXXXX").string();
    close(mkstemp(pattern.data()));
    path_ = pattern;
    Write(content);
  }
  ~ScratchFile() { fs::remove(path_); }
  void Write(std::string_view content) const {
    std::ofstream(path_, std::ios::binary | std::ios::trunc)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
  }
  std::string path() const { return path_; }

 private:
  fs::path path_;
};

Result<std::shared_ptr<const OrtSession>> OpenSession(const std::string& path) {
  OnnxRuntime();
  OnnxRuntimeOptions options;
  options.library_path = OnnxRuntimeLibrary();
  return OrtSession::Create(**OrtRuntime::Get(options), path, SessionConfig{}, "model_under_test");
}

void ExpectSame(const std::vector<OnnxValue>& from_file,
                const std::vector<OnnxValue>& from_session) {
  ASSERT_EQ(from_file.size(), from_session.size());
  for (std::size_t i = 0; i < from_file.size(); ++i) {
    const TensorSignature& file = from_file[i].tensor;
    const TensorSignature& session = from_session[i].tensor;
    EXPECT_EQ(file.name, session.name);
    EXPECT_EQ(file.type, session.type);
    if (!from_file[i].has_shape) continue;
    EXPECT_EQ(file.shape, session.shape);
    EXPECT_EQ(file.dim_names, session.dim_names);
  }
}

TEST(OnnxFile, SaysWhatTheSessionSays) {
  int compared = 0;
  for (const fs::path& path : DataFiles()) {
    SCOPED_TRACE(path);
    const auto session = OpenSession(path);
    if (path.stem() == "broken") continue;
    ASSERT_TRUE(session.ok()) << session.status().message();
    const Result<OnnxGraph> graph = ReadOnnxGraph(path);
    ASSERT_TRUE(graph.ok()) << graph.status().message();
    ExpectSame(graph->inputs, (*session)->inputs());
    ExpectSame(graph->outputs, (*session)->outputs());
    ++compared;
  }
  EXPECT_GT(compared, 20);
}

TEST(OnnxFile, KeepsSymbolicNamesAndMakesTheirSizesVariable) {
  const Result<OnnxGraph> graph = ReadOnnxGraph(ModelPath("tiny"));
  ASSERT_TRUE(graph.ok());
  EXPECT_EQ(graph->inputs.at(0).tensor.shape, (Shape{-1, 16}));
  EXPECT_THAT(graph->inputs[0].tensor.dim_names, ElementsAre("batch", ""));
}

TEST(OnnxFile, LeavesOutInputsThatHaveADefault) {
  const Result<OnnxGraph> graph = ReadOnnxGraph(ModelPath("overridable"));
  ASSERT_TRUE(graph.ok());
  ASSERT_EQ(graph->inputs.size(), 1u);
  EXPECT_EQ(graph->inputs[0].tensor.name, "INPUT0");
}

TEST(OnnxFile, TellsAScalarFromAnUnknownRank) {
  EXPECT_TRUE(ReadOnnxGraph(ModelPath("scalar"))->outputs.at(0).has_shape);
  EXPECT_FALSE(ReadOnnxGraph(ModelPath("untyped"))->outputs.at(0).has_shape);
}

TEST(OnnxFile, EveryTruncationIsAnErrorOrAGraphNeverACrash) {
  const std::string whole = ReadFile(ModelPath("add_sub_fp32"));
  const ScratchFile file("");
  int errors = 0;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    file.Write(std::string_view(whole).substr(0, length));
    const Result<OnnxGraph> graph = ReadOnnxGraph(file.path());
    if (!graph.ok()) ++errors;
  }
  // Only a cut between the last fields of the model leaves a readable graph.
  EXPECT_GT(errors, static_cast<int>(whole.size()) - 10);
}

TEST(OnnxFile, ChangedBytesNeverCrashIt) {
  std::mt19937 random(20261122);
  const ScratchFile file("");
  for (const char* name : {"add_sub_fp32", "overridable", "sequence"}) {
    const std::string whole = ReadFile(ModelPath(name));
    for (int round = 0; round < 500; ++round) {
      std::string changed = whole;
      for (int change = 0; change < 3; ++change)
        changed[random() % changed.size()] = static_cast<char>(random());
      file.Write(changed);
      const Result<OnnxGraph> graph = ReadOnnxGraph(file.path());
      if (!graph.ok()) {
        ASSERT_EQ(graph.status().code(), StatusCode::kInvalidArgument);
      }
    }
  }
}

TEST(OnnxFile, SaysWhichFileIsNoModelAndWhy) {
  const ScratchFile garbage("this is not a model at all");
  const Result<OnnxGraph> graph = ReadOnnxGraph(garbage.path());
  EXPECT_EQ(graph.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(graph.status().message(),
              HasSubstr("'" + garbage.path() + "' is not an ONNX model: malformed at byte"));
  const ScratchFile empty("");
  EXPECT_THAT(ReadOnnxGraph(empty.path()).status().message(), HasSubstr("it holds no graph"));
  EXPECT_EQ(ReadOnnxGraph("/nowhere/model.onnx").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(ReadOnnxGraph(fs::temp_directory_path()).status().code(), StatusCode::kUnavailable);
}

TEST(OnnxFile, ALengthBeyondTheFileIsAnErrorEvenNearTheLargestNumber) {
  // Field 7 (the graph) of 2^64 - 1 bytes.
  const ScratchFile file("\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
  EXPECT_EQ(ReadOnnxGraph(file.path()).status().code(), StatusCode::kInvalidArgument);
}

TEST(ReadSignature, AsksTheSessionWhereTheFileDoesNotSay) {
  ModelSpec spec;
  spec.name = "untyped";
  spec.path = ModelPath("untyped");
  const Result<ModelSignature> signature = OnnxRuntime().ReadSignature(spec);
  ASSERT_TRUE(signature.ok()) << signature.status().message();
  EXPECT_EQ(signature->outputs.at(0).shape, (Shape{-1, 16}));
}

TEST(ReadSignature, LeavesOutOutputsThatAreNotTensors) {
  ModelSpec spec;
  spec.name = "sequence";
  spec.path = ModelPath("sequence");
  const Result<ModelSignature> signature = OnnxRuntime().ReadSignature(spec);
  ASSERT_TRUE(signature.ok()) << signature.status().message();
  EXPECT_EQ(signature->inputs.size(), 1u);
  EXPECT_TRUE(signature->outputs.empty());
}

}  // namespace
}  // namespace fastserve

// Our declaration of the C API against the installed library.
#include "backend/onnxruntime/ort_api.h"

#include <dlfcn.h>
#include <gmock/gmock.h>

#include <map>
#include <set>
#include <string>

#include "backend/model_runner.h"
#include "backend/onnxruntime/onnxruntime_backend.h"
#include "backend/onnxruntime/ort_runtime.h"

namespace fastserve {
namespace {

using ::testing::HasSubstr;

const OrtRuntime& Runtime() {
  OnnxRuntime();
  OnnxRuntimeOptions options;
  options.library_path = OnnxRuntimeLibrary();
  return **OrtRuntime::Get(options);
}

TEST(OrtApi, EverySlotHoldsAFunctionOfItsOwnInTheLibrary) {
  const ort::Api& api = Runtime().api();
  std::map<const void*, std::string> names;
#define FASTSERVE_X(name, slot, result, arguments)                                            \
  {                                                                                           \
    const void* function = reinterpret_cast<const void*>(api.name);                           \
    Dl_info place{};                                                                          \
    ASSERT_NE(dladdr(function, &place), 0) << #name;                                          \
    EXPECT_THAT(place.dli_fname, HasSubstr("libonnxruntime")) << #name;                       \
    EXPECT_TRUE(names.emplace(function, #name).second) << #name << " is " << names[function]; \
  }
  FASTSERVE_ORT_FUNCTIONS(FASTSERVE_X)
#undef FASTSERVE_X
}

TEST(OrtApi, SlotsAreListedOnceAndInOrder) {
  int last = 0;
#define FASTSERVE_X(name, slot, result, arguments) \
  EXPECT_GT(slot, last) << #name;                  \
  last = slot;
  FASTSERVE_ORT_FUNCTIONS(FASTSERVE_X)
#undef FASTSERVE_X
}

// Each option is set and its effect on the returned status seen: a wrong slot or argument order
// would crash or be refused.
TEST(OrtApi, OptionsAcceptWhatTheyShould) {
  const OrtRuntime& runtime = Runtime();
  const ort::Api& api = runtime.api();
  ort::SessionOptions* options = nullptr;
  ASSERT_EQ(api.CreateSessionOptions(&options), nullptr);
  EXPECT_TRUE(runtime.ToStatus(api.EnableMemPattern(options)).ok());
  EXPECT_TRUE(runtime.ToStatus(api.DisableMemPattern(options)).ok());
  EXPECT_TRUE(runtime.ToStatus(api.EnableCpuMemArena(options)).ok());
  EXPECT_TRUE(runtime.ToStatus(api.DisableCpuMemArena(options)).ok());
  EXPECT_TRUE(runtime.ToStatus(api.SetIntraOpNumThreads(options, 2)).ok());
  EXPECT_TRUE(runtime.ToStatus(api.SetInterOpNumThreads(options, 2)).ok());
  EXPECT_TRUE(runtime.ToStatus(api.AddSessionConfigEntry(options, "key", "value")).ok());
  // An empty key is refused, so this really is the function that takes a key.
  EXPECT_FALSE(runtime.ToStatus(api.AddSessionConfigEntry(options, "", "value")).ok());
  EXPECT_FALSE(
      runtime.ToStatus(api.SetSessionGraphOptimizationLevel(options, ort::GraphOptimization{-7}))
          .ok());
  EXPECT_FALSE(runtime.ToStatus(api.SetSessionExecutionMode(options, ort::ExecutionMode{7})).ok());
  api.ReleaseSessionOptions(options);
}

TEST(OrtApi, ErrorsCarryTheLibrarysCodeAndText) {
  const OrtRuntime& runtime = Runtime();
  ort::Session* session = nullptr;
  ort::SessionOptions* options = nullptr;
  ASSERT_EQ(runtime.api().CreateSessionOptions(&options), nullptr);
  const Status status = runtime.ToStatus(
      runtime.api().CreateSession(runtime.env(), "/nowhere.onnx", options, &session));
  runtime.api().ReleaseSessionOptions(options);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("onnx runtime error 3: "));  // NO_SUCHFILE
  EXPECT_THAT(status.message(), HasSubstr("/nowhere.onnx"));
}

TEST(OrtApi, TheLibraryIsNewEnough) {
  EXPECT_GE(ApiVersionOfRelease(Runtime().version()), static_cast<int>(ort::kApiVersion));
}

TEST(ApiVersionOfRelease, IsTheMinorNumberOfAReleaseOfVersionOne) {
  EXPECT_EQ(ApiVersionOfRelease("1.32.0"), 32);
  EXPECT_EQ(ApiVersionOfRelease("1.17"), 17);
  EXPECT_EQ(ApiVersionOfRelease("2.0.0"), 0);
  EXPECT_EQ(ApiVersionOfRelease("1.x"), 0);
  EXPECT_EQ(ApiVersionOfRelease("1.17rc"), 0);
  EXPECT_EQ(ApiVersionOfRelease(""), 0);
}

TEST(OnnxRuntimeLibrary, CannotBeLoadedFromAPathThatIsNotOne) {
  OnnxRuntimeOptions options;
  options.library_path = ModelPath("tiny");
  const auto backend = CreateOnnxRuntimeBackend(options);
  EXPECT_EQ(backend.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(backend.status().message(), HasSubstr("tiny.onnx"));
}

}  // namespace
}  // namespace fastserve

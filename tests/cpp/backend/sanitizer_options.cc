// ThreadSanitizer's defaults for this program. ONNX Runtime is not instrumented: tests/tsan.supp
// makes its locks invisible, but the waits of its workers, which go through libstdc++, are still
// seen, and look like waits on mutexes that nobody locked. So misused mutexes are not reported
// here (every other test program does); races are.

#if defined(__SANITIZE_THREAD__)
#define FASTSERVE_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FASTSERVE_THREAD_SANITIZER
#endif
#endif

#ifdef FASTSERVE_THREAD_SANITIZER
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "report_mutex_bugs=0";
}
#endif

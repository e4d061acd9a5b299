# Where tests and benches find ONNX Runtime and the synthetic models. Nothing of it goes into the product, which is told the
# library's path when it runs.
set(FASTSERVE_TEST_MODELS "${PROJECT_SOURCE_DIR}/tests/models/data" CACHE PATH "Directory of the synthetic ONNX models")
set(FASTSERVE_TEST_ORT_LIBRARY "" CACHE FILEPATH "libonnxruntime.so.1.* for tests; empty: that of the installed wheel")

if(NOT FASTSERVE_TEST_ORT_LIBRARY)
  set(find_library_code [=[
import glob, importlib.util, os
spec = importlib.util.find_spec("onnxruntime")
capi = os.path.join(os.path.dirname(spec.origin), "capi") if spec and spec.origin else ""
print(next(iter(sorted(glob.glob(os.path.join(capi, "libonnxruntime.so.1*")))), ""))
]=])
  set(python "${Python_EXECUTABLE}")
  if(NOT python)
    set(python "${PROJECT_SOURCE_DIR}/.venv/bin/python")
  endif()
  execute_process(COMMAND ${python} -c "${find_library_code}" OUTPUT_VARIABLE FASTSERVE_TEST_ORT_LIBRARY
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()

# Gives a test or bench program both paths as macros; it lets environment variables of the same names override them.
function(fastserve_use_onnxruntime target)
  if(TARGET ${target})
    target_compile_definitions(${target} PRIVATE
      FASTSERVE_TEST_MODELS="${FASTSERVE_TEST_MODELS}" FASTSERVE_TEST_ORT_LIBRARY="${FASTSERVE_TEST_ORT_LIBRARY}")
  endif()
endfunction()

# One static library per folder of csrc/. A folder's DEPENDS is its layer list: it may include only headers of those
# folders (and of what they depend on). tools/lint/layers.py checks the includes against the order in csrc/CMakeLists.txt.

add_library(fastserve_options INTERFACE)
target_include_directories(fastserve_options INTERFACE ${PROJECT_SOURCE_DIR}/csrc)
target_compile_options(fastserve_options INTERFACE -Wall -Wextra -Wpedantic -Werror=return-type -Wno-unused-parameter)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(fastserve_options INTERFACE -Wthread-safety)
endif()
if(FASTSERVE_SANITIZE)
  target_compile_options(fastserve_options INTERFACE -fsanitize=${FASTSERVE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(fastserve_options INTERFACE -fsanitize=${FASTSERVE_SANITIZE})
endif()

# FASTSERVE_PRECOMPILE: the headers that most files include are compiled once for the layers and once for the tests, which saves
# a third of a build from nothing. `make lint` compiles without it, so that each file still includes what it uses.
if(FASTSERVE_PRECOMPILE)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(fastserve_options INTERFACE -fpch-preprocess)  # lets ccache work with it
  endif()
  set(precompiled_source ${CMAKE_BINARY_DIR}/precompiled.cc)
  file(TOUCH ${precompiled_source})
  add_library(fastserve_precompiled STATIC ${precompiled_source})
  target_link_libraries(fastserve_precompiled PRIVATE fastserve_options fastserve_boost)
  target_precompile_headers(fastserve_precompiled PRIVATE <algorithm> <functional> <map> <memory> <string> <thread>
    <vector> ${PROJECT_SOURCE_DIR}/csrc/inference/request.h)
endif()
function(fastserve_precompile target from)
  if(FASTSERVE_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM ${from})
  endif()
endfunction()

add_library(fastserve_test_options INTERFACE)
target_include_directories(fastserve_test_options INTERFACE ${PROJECT_SOURCE_DIR}/tests/cpp)
target_link_libraries(fastserve_test_options INTERFACE fastserve_options fastserve_boost)
# The tests' own code needs no speed, and compiles in half the time.
target_compile_options(fastserve_test_options INTERFACE -O0)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 sees overruns in std::string and small_vector that cannot be (its bug 105329).
  set(fastserve_false_warnings -Wno-restrict -Wno-stringop-overread)
  target_compile_options(fastserve_test_options INTERFACE ${fastserve_false_warnings})
endif()
if(FASTSERVE_SANITIZE MATCHES "undefined")
  # The layers are checked; checking the tests' own expressions too would double the build time.
  target_compile_options(fastserve_test_options INTERFACE -fno-sanitize=undefined)
endif()
if(FASTSERVE_PRECOMPILE AND FASTSERVE_BUILD_TESTS)
  # An executable, as the tests are: position-independent code differs between the two.
  file(WRITE ${CMAKE_BINARY_DIR}/precompiled_test.cc "int main() {}\n")
  add_executable(fastserve_precompiled_test ${CMAKE_BINARY_DIR}/precompiled_test.cc)
  target_link_libraries(fastserve_precompiled_test PRIVATE fastserve_test_options GTest::gmock)
  target_precompile_headers(fastserve_precompiled_test PRIVATE <gmock/gmock.h> <gtest/gtest.h> <algorithm> <memory> <string>
    <thread> <vector> ${PROJECT_SOURCE_DIR}/csrc/inference/request.h)
endif()

# fastserve_layer(NAME [DEPENDS layer...] [LINK library...]): the library fastserve_NAME from this folder's *.cc files.
function(fastserve_layer name)
  cmake_parse_arguments(arg "" "" "DEPENDS;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  file(GLOB headers CONFIGURE_DEPENDS *.h)
  list(TRANSFORM arg_DEPENDS PREPEND fastserve_ OUTPUT_VARIABLE depends)
  if(sources)
    add_library(fastserve_${name} STATIC ${sources} ${headers})
    target_link_libraries(fastserve_${name} PUBLIC fastserve_options ${depends} ${arg_LINK})
    fastserve_precompile(fastserve_${name} fastserve_precompiled)
  else()
    add_library(fastserve_${name} INTERFACE)
    target_link_libraries(fastserve_${name} INTERFACE fastserve_options ${depends} ${arg_LINK})
  endif()
endfunction()

# fastserve_test(NAME DEPENDS layer... [LINK library...]): the GoogleTest program NAME_test from this folder's *_test.cc files.
function(fastserve_test name)
  cmake_parse_arguments(arg "" "" "DEPENDS;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  if(NOT sources)
    return()
  endif()
  list(TRANSFORM arg_DEPENDS PREPEND fastserve_ OUTPUT_VARIABLE depends)
  add_executable(${name}_test ${sources})
  # Each is a little program of its own, with names that others have, too.
  set(alone ${sources})
  list(FILTER alone INCLUDE REGEX "_property_test\\.cc$")
  set_source_files_properties(${alone} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_link_libraries(${name}_test PRIVATE ${depends} ${arg_LINK} fastserve_test_options GTest::gmock GTest::gtest_main)
  fastserve_precompile(${name}_test fastserve_precompiled_test)
  add_test(NAME ${name}_test COMMAND ${name}_test)
  set_tests_properties(${name}_test PROPERTIES TIMEOUT 300)
endfunction()

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

# fastserve_layer(NAME [DEPENDS layer...] [LINK library...]): the library fastserve_NAME from this folder's *.cc files.
function(fastserve_layer name)
  cmake_parse_arguments(arg "" "" "DEPENDS;LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  file(GLOB headers CONFIGURE_DEPENDS *.h)
  list(TRANSFORM arg_DEPENDS PREPEND fastserve_ OUTPUT_VARIABLE depends)
  if(sources)
    add_library(fastserve_${name} STATIC ${sources} ${headers})
    target_link_libraries(fastserve_${name} PUBLIC fastserve_options ${depends} ${arg_LINK})
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
  target_include_directories(${name}_test PRIVATE ${PROJECT_SOURCE_DIR}/tests/cpp)
  target_link_libraries(${name}_test PRIVATE ${depends} ${arg_LINK} GTest::gmock GTest::gtest_main)
  if(FASTSERVE_SANITIZE MATCHES "undefined")
    # The layers are checked; checking the tests' own expressions too would double the build time.
    target_compile_options(${name}_test PRIVATE -fno-sanitize=undefined)
  endif()
  add_test(NAME ${name}_test COMMAND ${name}_test)
  set_tests_properties(${name}_test PROPERTIES TIMEOUT 300)
endfunction()

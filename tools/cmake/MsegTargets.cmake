# SPDX-License-Identifier: Apache-2.0
# What every target of mseg shares: warnings are errors, one include root, one way to add a test.

find_package(PkgConfig REQUIRED)
# Once for every folder: imported targets cannot be made twice.
find_package(absl REQUIRED GLOBAL)
if(MSEG_KERNEL)
  find_package(CapnProto REQUIRED GLOBAL)
endif()

# Line tables and function names, for backtraces and profiles; the rest only makes the programs four
# times as large.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")

add_library(mseg_options INTERFACE)
target_compile_options(mseg_options INTERFACE -Wall -Wextra -Werror -Wunused-result)
# clang 14 warns about C++20 lambdas in headers of the standard library's dependents; gcc's
# maybe-uninitialized has false positives inside absl and Catch2 when sanitizers inline.
if(MSEG_SANITIZE)
  target_compile_options(mseg_options INTERFACE -fsanitize=address,undefined
    -fno-sanitize-recover=all -fno-omit-frame-pointer -Wno-maybe-uninitialized)
  target_link_options(mseg_options INTERFACE -fsanitize=address,undefined)
endif()
if(MSEG_FUZZ)
  target_compile_options(mseg_options INTERFACE -fsanitize=address,undefined,fuzzer-no-link
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(mseg_options INTERFACE -fsanitize=address,undefined)
endif()
target_include_directories(mseg_options INTERFACE ${CMAKE_SOURCE_DIR})

# mseg_pkg(NAME PKG...): an imported target mseg_dep::NAME from pkg-config, headers as system ones.
function(mseg_pkg name)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${ARGN})
  add_library(mseg_dep::${name} ALIAS PkgConfig::${name})
endfunction()

# mseg_test(NAME SOURCES... LIBS...): a Catch2 test program, run by ctest.
function(mseg_test name)
  cmake_parse_arguments(arg "NO_CTEST" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} mseg_catch_main mseg_options)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  list(LENGTH arg_SOURCES sources)
  if(sources EQUAL 1)  # tests/prove compiles some of them anew, by their name
    set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  endif()
  if(NOT arg_NO_CTEST)
    add_test(NAME ${name} COMMAND ${name})
  endif()
endfunction()

# mseg_fuzzer(NAME SOURCES... LIBS...): a libFuzzer program, only in the fuzz preset.
function(mseg_fuzzer name)
  if(NOT MSEG_FUZZ)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE ${arg_LIBS} mseg_options)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzzers)
endfunction()

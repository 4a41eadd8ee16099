# SPDX-License-Identifier: Apache-2.0
# What every target of mseg shares: warnings are errors, one include root, one way to add a test.

find_package(PkgConfig REQUIRED)
# Once for every folder: imported targets cannot be made twice.
find_package(absl REQUIRED GLOBAL)
find_package(yaml-cpp REQUIRED GLOBAL)
find_package(CapnProto REQUIRED GLOBAL)

# mseg_archive(OUT LIBRARY): the static archive beside a shared library, or the library where there
# is none. With forty shared libraries the dynamic linker was most of what a short command did.
function(mseg_archive out library)
  string(REGEX REPLACE "(-[0-9.]+)?\\.so[.0-9]*$" ".a" archive "${library}")
  if(EXISTS "${archive}")
    set(${out} "${archive}" PARENT_SCOPE)
  else()
    set(${out} "${library}" PARENT_SCOPE)
  endif()
endfunction()

# mseg_link_archives(PATTERN...): imported targets whose names match are linked as archives.
function(mseg_link_archives)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  list(JOIN ARGN "|" names)
  list(FILTER targets INCLUDE REGEX "^(${names})$")
  foreach(target IN LISTS targets)
    get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
    list(TRANSFORM configurations PREPEND IMPORTED_LOCATION_ OUTPUT_VARIABLE locations)
    foreach(location IN LISTS locations ITEMS IMPORTED_LOCATION)
      get_target_property(library ${target} ${location})
      if(library)
        mseg_archive(archive "${library}")
        set_target_properties(${target} PROPERTIES ${location} "${archive}")
      endif()
    endforeach()
  endforeach()
endfunction()
mseg_link_archives("absl::.*" "CapnProto::.*" yaml-cpp)

# Line tables and function names, for backtraces and profiles; the rest only makes the programs four
# times as large. Compressed, since msegd is read and hashed whenever it starts.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1 -DNDEBUG")
set(CMAKE_EXE_LINKER_FLAGS_RELWITHDEBINFO "-Wl,--compress-debug-sections=zlib")

add_library(mseg_options INTERFACE)
target_compile_options(mseg_options INTERFACE -Wall -Wextra -Werror -Wunused-result)
if(MSEG_SANITIZE)
  target_compile_options(mseg_options INTERFACE -fsanitize=address,undefined,fuzzer-no-link
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(mseg_options INTERFACE -fsanitize=address,undefined)
endif()
target_include_directories(mseg_options INTERFACE ${CMAKE_SOURCE_DIR})

# What the tests keep computing for long is optimized where sanitizers are on, too; the rest is not,
# because there the compiler takes longer than the program.
add_library(mseg_computing INTERFACE)
if(MSEG_SANITIZE)
  target_compile_options(mseg_computing INTERFACE -O1)
endif()

# mseg_pkg(NAME PKG...): an imported target mseg_dep::NAME from pkg-config, headers as system ones.
function(mseg_pkg name)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET ${ARGN})
  get_target_property(libraries PkgConfig::${name} INTERFACE_LINK_LIBRARIES)
  list(TRANSFORM libraries STRIP)
  set(archives)
  foreach(library IN LISTS libraries)
    mseg_archive(library "${library}")
    list(APPEND archives "${library}")
  endforeach()
  set_target_properties(PkgConfig::${name} PROPERTIES INTERFACE_LINK_LIBRARIES "${archives}")
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

# mseg_bpf_skeleton(PROGRAM NAME HEADERS...): PROGRAM.bpf.c of this folder, over the headers that the
# product's programs use -> PROGRAM.skel.h in the binary folder, with functions NAME__*.
function(mseg_bpf_skeleton program name)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${program})
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bpf/*.h
    ${CMAKE_SOURCE_DIR}/bpf/include/mseg/*.h)
  add_custom_command(OUTPUT ${out}.skel.h
    COMMAND ${CLANG} --target=bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter
      -I${CMAKE_SOURCE_DIR}/bpf -I${CMAKE_SOURCE_DIR}/bpf/include -I${CMAKE_CURRENT_SOURCE_DIR}
      -c ${CMAKE_CURRENT_SOURCE_DIR}/${program}.bpf.c -o ${out}.bpf.o
    COMMAND ${BPFTOOL} gen skeleton ${out}.bpf.o name ${name} > ${out}.skel.h
    DEPENDS ${program}.bpf.c ${ARGN} ${headers}
    COMMENT "BPF ${program}.skel.h" VERBATIM)
endfunction()

# mseg_fuzzer(NAME SOURCES... LIBS...): a libFuzzer program, only in the sanitize preset.
function(mseg_fuzzer name)
  if(NOT MSEG_SANITIZE)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE ${arg_LIBS} mseg_options)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzzers)
endfunction()

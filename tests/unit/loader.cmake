# SPDX-License-Identifier: Apache-2.0
# What of loader/ and the shared headers needs no kernel.
mseg_test(loader_decide_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/loader_decide_test.cc
  LIBS mseg_abi)
mseg_pkg(tcp_option_sodium libsodium)
mseg_test(tcp_option_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/tcp_option_test.cc
  LIBS mseg_abi PkgConfig::tcp_option_sodium)
mseg_test(udp_trailer_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/udp_trailer_test.cc
  LIBS mseg_abi)
mseg_test(socket_marks_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/socket_marks_test.cc
  LIBS mseg_abi)
mseg_test(place_cache_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/place_cache_test.cc
  LIBS mseg_abi)
mseg_test(verdict_cache_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/verdict_cache_test.cc
  LIBS mseg_abi)
mseg_test(loader_programs_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/loader_programs_test.cc
  LIBS mseg_loader mseg_skeleton)

# SPDX-License-Identifier: Apache-2.0
# mseg_host: what the daemon keeps, and what it knows of its host, without the kernel programs.
# Imported targets are GLOBAL because the tests, in another directory, link the library.
include(${CMAKE_CURRENT_LIST_DIR}/records.cmake)
pkg_check_modules(mseg_host_deps REQUIRED IMPORTED_TARGET GLOBAL rocksdb libcrypto libsodium)

function(mseg_add_store_schema)
  set(CAPNPC_SRC_PREFIX ${CMAKE_SOURCE_DIR})
  set(CAPNPC_OUTPUT_DIR ${CMAKE_BINARY_DIR}/store_schema)
  file(MAKE_DIRECTORY ${CAPNPC_OUTPUT_DIR})
  capnp_generate_cpp(sources headers ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/api/store.capnp)
  add_library(mseg_store_schema STATIC ${sources})
  target_include_directories(mseg_store_schema SYSTEM PUBLIC ${CAPNPC_OUTPUT_DIR})
  target_link_libraries(mseg_store_schema PUBLIC CapnProto::capnp)
endfunction()
mseg_add_store_schema()

add_library(mseg_host STATIC
  ${CMAKE_CURRENT_LIST_DIR}/daemon_config.cc
  ${CMAKE_CURRENT_LIST_DIR}/exec_watch.cc
  ${CMAKE_CURRENT_LIST_DIR}/executable_ids.cc
  ${CMAKE_CURRENT_LIST_DIR}/file_hash.cc
  ${CMAKE_CURRENT_LIST_DIR}/file_system.cc
  ${CMAKE_CURRENT_LIST_DIR}/guard_config.cc
  ${CMAKE_CURRENT_LIST_DIR}/host_identity.cc
  ${CMAKE_CURRENT_LIST_DIR}/host_inventory.cc
  ${CMAKE_CURRENT_LIST_DIR}/mountinfo.cc
  ${CMAKE_CURRENT_LIST_DIR}/netns.cc
  ${CMAKE_CURRENT_LIST_DIR}/open_connections.cc
  ${CMAKE_CURRENT_LIST_DIR}/own_identities.cc
  ${CMAKE_CURRENT_LIST_DIR}/pairwise_keys.cc
  ${CMAKE_CURRENT_LIST_DIR}/remote_directory.cc
  ${CMAKE_CURRENT_LIST_DIR}/store.cc
  ${CMAKE_CURRENT_LIST_DIR}/store_codec.cc
  ${CMAKE_CURRENT_LIST_DIR}/store_db.cc
  ${CMAKE_CURRENT_LIST_DIR}/store_hosts.cc
  ${CMAKE_CURRENT_LIST_DIR}/store_verify.cc
  ${CMAKE_CURRENT_LIST_DIR}/trusted_path.cc
  ${CMAKE_CURRENT_LIST_DIR}/wire_config.cc)
target_link_libraries(mseg_host
  PUBLIC mseg_abi mseg_labels mseg_records absl::status absl::statusor absl::strings absl::time absl::span
    absl::function_ref
  PRIVATE mseg_options mseg_store_schema absl::flat_hash_map PkgConfig::mseg_host_deps)
target_include_directories(mseg_host PUBLIC ${CMAKE_SOURCE_DIR})

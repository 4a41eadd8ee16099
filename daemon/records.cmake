# SPDX-License-Identifier: Apache-2.0
# mseg_records: host and identity records, without store, kernel or schemas, so that the fuzzers can
# have them alone.
find_package(nlohmann_json REQUIRED)
mseg_pkg(sodium libsodium)
add_library(mseg_records STATIC
  ${CMAKE_CURRENT_LIST_DIR}/host_record.cc
  ${CMAKE_CURRENT_LIST_DIR}/identity_bundle.cc
  ${CMAKE_CURRENT_LIST_DIR}/record_json.cc)
target_link_libraries(mseg_records
  PUBLIC mseg_abi mseg_labels nlohmann_json::nlohmann_json absl::status absl::statusor
    absl::strings absl::time
  PRIVATE mseg_options mseg_dep::sodium)

# SPDX-License-Identifier: Apache-2.0
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
if(NOT TARGET mseg_dep::sodium)
  mseg_pkg(sodium libsodium)
endif()
mseg_test(ctl_test
  SOURCES
    ${CMAKE_CURRENT_LIST_DIR}/ctl_commands_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_fake_hosts.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_fake_service.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_fixture.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_flows_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_fmt_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_hostile_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_hosts_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_offline_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_output_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_path_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_revisions_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_rpc_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/ctl_usage_test.cc
  LIBS mseg_ctl mseg_rpc mseg_labels mseg_policy_testing yaml-cpp)
mseg_test(daemon_executable_ids_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_executable_ids_test.cc
  LIBS mseg_host mseg_ctl PkgConfig::mseg_host_deps)
get_filename_component(golden_dir ${CMAKE_CURRENT_LIST_DIR}/../golden/ctl ABSOLUTE)
target_compile_definitions(ctl_test PRIVATE
  MSEG_GOLDEN_DIR="${golden_dir}")

# SPDX-License-Identifier: Apache-2.0
mseg_test(daemon_store_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_store_test.cc
  LIBS mseg_host mseg_store_schema PkgConfig::mseg_host_deps)
mseg_test(daemon_store_crash_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_store_crash_test.cc
  LIBS mseg_host PkgConfig::mseg_host_deps)
mseg_test(daemon_file_hash_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_file_hash_test.cc
  LIBS mseg_host)
mseg_test(daemon_trusted_path_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_trusted_path_test.cc
  LIBS mseg_host)
mseg_test(daemon_host_inventory_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_host_inventory_test.cc
  LIBS mseg_host)
mseg_test(daemon_exec_watch_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_exec_watch_test.cc
  LIBS mseg_host)
mseg_test(daemon_config_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_config_test.cc
  LIBS mseg_host)
mseg_test(daemon_open_connections_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_open_connections_test.cc
  LIBS mseg_host mseg_policy_testing)
mseg_test(daemon_records_test
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/daemon_records_test.cc
  LIBS mseg_host PkgConfig::mseg_host_deps)

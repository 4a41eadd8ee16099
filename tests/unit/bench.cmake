# SPDX-License-Identifier: Apache-2.0
# What of mseg-bench needs no kernel: statistics, reports, comparisons, options, rule sets.
mseg_test(bench_test
  SOURCES
    ${CMAKE_CURRENT_LIST_DIR}/bench_options_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/bench_report_test.cc
    ${CMAKE_CURRENT_LIST_DIR}/bench_stats_test.cc
  LIBS mseg_bench_arms)
target_compile_definitions(bench_test PRIVATE
  MSEG_GOLDEN_BENCH_DIR="${CMAKE_CURRENT_LIST_DIR}/../golden/bench")

# SPDX-License-Identifier: Apache-2.0
add_library(mseg_policy_testing STATIC
  ${CMAKE_CURRENT_LIST_DIR}/../support/fleet.cc
  ${CMAKE_CURRENT_LIST_DIR}/../support/policy_fixture.cc
  ${CMAKE_CURRENT_LIST_DIR}/../support/policy_random.cc
  ${CMAKE_CURRENT_LIST_DIR}/../support/policy_reference.cc)
target_link_libraries(mseg_policy_testing PUBLIC mseg_labels Catch2::Catch2
  PRIVATE mseg_options mseg_computing)

mseg_test(labels_test
  SOURCES
    labels_allow_document_test.cc
    labels_compile_test.cc
    labels_diagnostics_test.cc
    labels_explain_test.cc
    labels_failsafe_test.cc
    labels_image_test.cc
    labels_incremental_test.cc
    labels_label_test.cc
    labels_networkpolicy_test.cc
    labels_panic_test.cc
    labels_property_test.cc
    labels_scale_test.cc
    labels_sentence_test.cc
    labels_shared_list_test.cc
    labels_states_test.cc
  LIBS mseg_labels mseg_policy_testing)
target_compile_definitions(labels_test PRIVATE
  MSEG_DOCS_DIR="${CMAKE_SOURCE_DIR}/docs"
  MSEG_GOLDEN_NETWORKPOLICY_DIR="${CMAKE_CURRENT_LIST_DIR}/../golden/networkpolicy"
  MSEG_GOLDEN_POLICY_DIR="${CMAKE_CURRENT_LIST_DIR}/../golden/policy")

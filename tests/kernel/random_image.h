// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_TESTS_KERNEL_RANDOM_IMAGE_H_
#define MSEG_TESTS_KERNEL_RANDOM_IMAGE_H_

#include <cstdint>
#include <random>

#include "labels/image.h"

namespace mseg::testing {

// One class, of which every flow in this direction gets the same answer.
GenerationImage ImageOf(uint32_t cls, mseg_direction direction, mseg_verdict verdict);

// Tables that no compiler would make: rows missing anywhere, every value of every byte, over so few
// classes, users and prefixes that everything meets everything.
class ImageRandom {
 public:
  explicit ImageRandom(uint64_t seed) : engine_(seed) {}

  GenerationImage Image();
  size_t Below(size_t bound) { return engine_() % bound; }
  bool Chance(unsigned percent) { return Below(100) < percent; }

  // Questions at and around what Image() fills in.
  uint32_t Class() { return static_cast<uint32_t>(Below(6)); }
  uint8_t Protocol();
  uint16_t Port();
  uint64_t CgroupId() { return 100 + Below(8); }
  uint32_t ExeRef() { return static_cast<uint32_t>(Below(5)); }
  mseg_grade Grade() { return static_cast<mseg_grade>(Below(MSEG_GRADE_MAX)); }
  uint32_t Uid() { return static_cast<uint32_t>(Below(5)); }
  void Address(uint8_t (&out)[16]);

 private:
  void Rows(GenerationImage* image);
  void Ports(GenerationImage* image);
  void Identities(GenerationImage* image);
  void Addresses(GenerationImage* image);
  uint64_t CgroupClass() { return 1 + Below(4); }  // MSEG_CGROUP_PENDING among them
  uint64_t ExeClass() { return Below(4); }         // OTHER and UNKNOWN among them

  std::mt19937_64 engine_;
};

}  // namespace mseg::testing

#endif  // MSEG_TESTS_KERNEL_RANDOM_IMAGE_H_

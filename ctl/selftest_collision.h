// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_CTL_SELFTEST_COLLISION_H_
#define MSEG_CTL_SELFTEST_COLLISION_H_

#include <string>

// Two executables with one short id (labels/label.h, ExecutableId), under a salt that is no secret.

namespace mseg::ctl {

inline constexpr char kCollisionSalt[] =
    "5151515151515151515151515151515151515151515151515151515151515151";

enum class Collider { kAllowed, kGround };

// The file, for x86-64. Whatever its arguments, it sends a byte to the service of the far host
// (kFarAddress, kCollisionService) and exits with 0 if one comes back, else with an errno.
inline constexpr unsigned kCollisionService = 7011;
std::string ColliderFile(Collider which);

}  // namespace mseg::ctl

#endif  // MSEG_CTL_SELFTEST_COLLISION_H_

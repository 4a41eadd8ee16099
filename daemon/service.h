// SPDX-License-Identifier: Apache-2.0
#ifndef MSEG_DAEMON_SERVICE_H_
#define MSEG_DAEMON_SERVICE_H_

// What the daemon implements. It lives in api/ because msegctl sees it too and may use nothing else
// of daemon/.
#include "daemon/api/service.h"  // IWYU pragma: export

#endif  // MSEG_DAEMON_SERVICE_H_

// The kernels for different processor types, and the one in use.
#pragma once

#include <string>
#include <vector>

#include "correlation.h"

namespace gradmeter {

// The kernels that were built and that this processor supports, best first.
std::vector<const Variant*> runnable_variants();

// The kernel in use, by default the best. Throws std::runtime_error if there is none.
const Variant& variant();

// Selects a kernel by name. Throws std::invalid_argument if it was not built or is not supported here.
void select_variant(const std::string& name);

}  // namespace gradmeter

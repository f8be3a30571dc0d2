// The kernels built for kinds of processors, and the one in use.
#pragma once

#include <string>
#include <vector>

#include "correlation.h"

namespace gradmeter {

// Those that were built and that this processor can run, the best first.
std::vector<const Variant*> runnable_variants();

// The one in use; at first the best. Throws std::runtime_error where there is none.
const Variant& variant();

// Chooses by name. Throws std::invalid_argument for one that was not built or cannot run here.
void select_variant(const std::string& name);

}  // namespace gradmeter

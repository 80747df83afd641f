// Names and options of the door.
#include "sim/engine.h"

#define ROW(...) FIELD_ROW(engine_options, __VA_ARGS__)
static const field rows[] = {ENGINE_FIELDS(ROW)};
const field_table engine_table = {"engine", "What executes the program.", rows, COUNT_OF(rows), sizeof(engine_options)};

const char *engine_resource_name(u32 resource) {
  static const char *const names[RESOURCE_COUNT] = {"compute",      "fabric links",           "edge I/O in",
                                                    "edge I/O out", "route changes and fill", "MemoryX"};
  require(resource < RESOURCE_COUNT);
  return names[resource];
}

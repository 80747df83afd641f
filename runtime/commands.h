// The commands, one cmd_NAME.c each.
#pragma once

#include "runtime/command.h"

extern const command cmd_ckpt;
extern const command cmd_config;
extern const command cmd_db;
extern const command cmd_generate;
extern const command cmd_kernel;
extern const command cmd_machine;
extern const command cmd_runs;
extern const command cmd_sweep;
extern const command cmd_train;
extern const command cmd_verify;
extern const command cmd_map;
extern const command cmd_simulate;
extern const command cmd_validate;
extern const command cmd_report;
extern const command cmd_trace;
extern const command cmd_study;

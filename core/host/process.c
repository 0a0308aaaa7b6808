/* SPDX-License-Identifier: MIT */
#include "host/process.h"

#include "watch/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

static void measure_files(struct meter *meter)
{
	DIR *folder = opendir("/proc/self/fd");
	struct rlimit limit;
	int count = -1; /* the folder's own */

	if (folder) {
		for (struct dirent *entry; (entry = readdir(folder));)
			count += entry->d_name[0] != '.';
		closedir(folder);
		series_set(meter_own(meter, METRIC_process_open_fds, 0), count);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		series_set(meter_own(meter, METRIC_process_max_fds, 0),
			   (double)limit.rlim_cur);
}

/* Boot time in Unix seconds, 0 when it cannot be read. */
static double boot_time(void)
{
	FILE *file = fopen("/proc/stat", "r");
	char line[256];
	double seconds = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "btime %lf", &seconds) == 1)
			break;
	if (file)
		fclose(file);
	return seconds;
}

/* Fields 20 (threads), 22 (start), 23 (virtual bytes) and 24 (resident pages) of
 * /proc/self/stat. */
static void measure_stat(struct meter *meter)
{
	FILE *file = fopen("/proc/self/stat", "r");
	char line[1024];
	char *rest;
	long threads;
	unsigned long long start;
	unsigned long bytes;
	long pages;
	double boot = boot_time();

	if (!file)
		return;
	rest = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	if (!rest ||
	    sscanf(rest + 2,
		   "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
		   "%*d %ld %*d %llu %lu %ld",
		   &threads, &start, &bytes, &pages) != 4)
		return;
	series_set(meter_own(meter, METRIC_process_threads, 0), (double)threads);
	series_set(meter_own(meter, METRIC_process_virtual, 0), (double)bytes);
	series_set(meter_own(meter, METRIC_process_resident, 0),
		   (double)pages * (double)sysconf(_SC_PAGESIZE));
	if (boot > 0)
		series_set(meter_own(meter, METRIC_process_start, 0),
			   boot + (double)start / (double)sysconf(_SC_CLK_TCK));
}

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

double process_measure(struct meter *meter)
{
	struct rusage usage;

	measure_files(meter);
	measure_stat(meter);
	if (getrusage(RUSAGE_SELF, &usage) != 0)
		return 0;
	return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

void process_raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

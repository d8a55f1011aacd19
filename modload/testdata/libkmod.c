/*
 * Look-ups with libkmod, for comparison: reads modaliases from standard input, one a line.
 *
 *	libkmod DIR resolve     prints each alias, a tab, and its modules, as kudev resolve does
 *	libkmod DIR time NANOS  looks up round and round for about that long, or each once when it is 0, with the modules'
 *	                        names: prints look-ups and nanoseconds of the processor's time
 *	libkmod DIR first N     N times: opens the tree, loads the indexes, looks up the first alias; prints the nanoseconds of each
 */
#include <libkmod.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long long now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static const char *no_config[] = { "/nonexistent", NULL };

static struct kmod_ctx *open_tree(const char *dir)
{
	struct kmod_ctx *ctx = kmod_new(dir, no_config);
	if (!ctx || kmod_load_resources(ctx) < 0) {
		fprintf(stderr, "cannot open %s\n", dir);
		exit(1);
	}
	return ctx;
}

int main(int argc, char **argv)
{
	char **aliases = NULL, *line = NULL;
	size_t n = 0, room = 0, size = 0;
	ssize_t len;

	if (argc < 3)
		return 2;
	while ((len = getline(&line, &size, stdin)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = 0;
		if (n == room)
			aliases = realloc(aliases, (room = room * 2 + 1024) * sizeof *aliases);
		aliases[n++] = strdup(line);
	}
	if (!n)
		return 2;

	if (!strcmp(argv[2], "first")) {
		for (int i = atoi(argv[3]); i > 0; i--) {
			struct kmod_list *list = NULL;
			long long start = now(CLOCK_MONOTONIC);
			struct kmod_ctx *ctx = open_tree(argv[1]);
			kmod_module_new_from_lookup(ctx, aliases[0], &list);
			printf("%lld\n", now(CLOCK_MONOTONIC) - start);
			kmod_module_unref_list(list);
			kmod_unref(ctx);
		}
		return 0;
	}

	struct kmod_ctx *ctx = open_tree(argv[1]);
	if (!strcmp(argv[2], "resolve")) {
		for (size_t i = 0; i < n; i++) {
			struct kmod_list *list = NULL, *m;
			char separator = '\t';
			kmod_module_new_from_lookup(ctx, aliases[i], &list);
			fputs(aliases[i], stdout);
			kmod_list_foreach(m, list) {
				struct kmod_module *mod = kmod_module_get_module(m);
				printf("%c%s", separator, kmod_module_get_name(mod));
				kmod_module_unref(mod);
				separator = ' ';
			}
			puts(separator == '\t' ? "\t" : "");
			kmod_module_unref_list(list);
		}
		return 0;
	}

	long long limit = atoll(argv[3]), start = now(CLOCK_PROCESS_CPUTIME_ID), spent;
	unsigned long done = 0, letters = 0;
	size_t at = 0, count = limit ? 2048 : n; /* between looks at the clock, as in lookups_system_test.go */
	do {
		for (size_t left = count; left; left--) {
			struct kmod_list *list = NULL, *m;
			kmod_module_new_from_lookup(ctx, aliases[at], &list);
			if (++at == n)
				at = 0;
			kmod_list_foreach(m, list) {
				struct kmod_module *mod = kmod_module_get_module(m);
				letters += *kmod_module_get_name(mod);
				kmod_module_unref(mod);
			}
			kmod_module_unref_list(list);
		}
		done += count;
		spent = now(CLOCK_PROCESS_CPUTIME_ID) - start;
	} while (spent < limit);
	printf("%lu %lld %lu\n", done, spent, letters);
	return 0;
}

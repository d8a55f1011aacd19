package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/kudev/kudev/rules/builtin/hwdb"
)

// hwdbVersion goes into hwdb.bin as the version of the tool that made it. systemd's readers do not look at it.
const hwdbVersion = 257

// runHwdb compiles or asks the hardware database, as systemd-hwdb(8) does.
func runHwdb(ctx context.Context, e *env, args []string) error {
	f := pflag.NewFlagSet("hwdb", pflag.ContinueOnError)
	usr := f.Bool("usr", false, "write to /usr/lib/udev instead of /etc/udev")
	strict := f.BoolP("strict", "s", false, "a file that cannot be read or a line that does not count is a failure")
	root := f.StringP("root", "r", "/", "`DIR` stands for /")
	quiet := f.BoolP("quiet", "q", false, "say nothing of lines that do not count")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if *root, err = absolute(*root); err != nil {
		return err
	}
	switch {
	case len(rest) == 1 && rest[0] == "update":
		return updateHwdb(e, *root, *usr, *strict, *quiet, false)
	case len(rest) == 2 && rest[0] == "query":
		return queryHwdb(e, *root, rest[1])
	}
	return misuse("update, or query with one modalias, wanted")
}

// runUdevadmHwdb is `udevadm hwdb`: the older form of the same.
func runUdevadmHwdb(ctx context.Context, e *env, args []string) error {
	f := pflag.NewFlagSet("hwdb", pflag.ContinueOnError)
	update := f.BoolP("update", "u", false, "compile the database")
	usr := f.Bool("usr", false, "write to /usr/lib/udev instead of /etc/udev")
	strict := f.BoolP("strict", "s", false, "a line that does not count is a failure")
	test := f.StringP("test", "t", "", "print the properties of `MODALIAS`")
	root := f.StringP("root", "r", "/", "`DIR` stands for /")
	rest, err := e.parse(f, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 || !*update && !f.Changed("test") {
		return misuse("--update or --test=MODALIAS is needed")
	}
	if *root, err = absolute(*root); err != nil {
		return err
	}
	if *update {
		if err := updateHwdb(e, *root, *usr, *strict, false, true); err != nil {
			return err
		}
	}
	if f.Changed("test") {
		return queryHwdb(e, *root, *test)
	}
	return nil
}

func updateHwdb(e *env, root string, usr, strict, quiet, compat bool) error {
	path := filepath.Join(root, "etc/udev/hwdb.bin")
	if usr {
		path = filepath.Join(root, "usr/lib/udev/hwdb.bin")
	}
	files, err := hwdb.Files(hwdb.SourceDirs(root))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		fmt.Fprintf(e.stderr, "%s: no hwdb.d files: there is no %s now\n", e.name, path)
		return nil
	}
	bad := 0
	c := hwdb.Compiler{Version: hwdbVersion, Compat: compat, Warn: func(file string, line int, message string) {
		bad++
		if !quiet {
			fmt.Fprintf(e.stderr, "%s: %s:%s: %s\n", e.name, file, strconv.Itoa(line), message)
		}
	}}
	for _, file := range files {
		if err := c.AddFile(file); err != nil {
			bad++
			fmt.Fprintf(e.stderr, "%s: %v\n", e.name, err)
		}
	}
	if err := c.WriteFile(path); err != nil {
		return fmt.Errorf("write the database: %w", err)
	}
	if strict && bad > 0 {
		return fmt.Errorf("%d lines or files do not count", bad)
	}
	return nil
}

func queryHwdb(e *env, root, modalias string) error {
	err := hwdb.NewFile(hwdb.Paths(root)...).Lookup(modalias, func(key, value string) bool {
		_, err := fmt.Fprintf(e.stdout, "%s=%s\n", key, value)
		return err == nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no hwdb.bin below %s: kudev hwdb update makes it of the hwdb.d files", root)
	}
	return err
}

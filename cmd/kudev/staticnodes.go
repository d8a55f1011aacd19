package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// staticNode is a line of modules.devname: a node to make before its module is loaded.
type staticNode struct {
	module, name string
	kind         byte // 'c' or 'b'
	major, minor uint32
}

// staticNodesFormats are the ways to print nodes. See kmod(8), static-nodes.
func staticNodesFormats() []staticNodesFormat {
	return []staticNodesFormat{
		{"human", "for people (the default)", func(w io.Writer, n staticNode) {
			kind := "block"
			if n.kind == 'c' {
				kind = "character"
			}
			fmt.Fprintf(w, "Module: %s\n\tDevice node: /dev/%s\n\t\tType: %s device\n\t\tMajor: %d\n\t\tMinor: %d\n",
				n.module, n.name, kind, n.major, n.minor)
		}},
		{"tmpfiles", "for systemd-tmpfiles, see tmpfiles.d(5)", func(w io.Writer, n staticNode) {
			if i := strings.LastIndexByte(n.name, '/'); i >= 0 {
				fmt.Fprintf(w, "d /dev/%s 0755 - - -\n", n.name[:i])
			}
			fmt.Fprintf(w, "%c! /dev/%s 0600 - - - %d:%d\n", n.kind, n.name, n.major, n.minor)
		}},
		{"devname", "as in modules.devname", func(w io.Writer, n staticNode) {
			fmt.Fprintf(w, "%s %s %c%d:%d\n", n.module, n.name, n.kind, n.major, n.minor)
		}},
	}
}

type staticNodesFormat struct {
	name, short string
	write       func(w io.Writer, n staticNode)
}

// runStaticNodes prints the nodes that the tree's modules want before they are loaded.
func runStaticNodes(ctx context.Context, e *env, args []string) error {
	a := &applet{env: e}
	found, _, err := a.getopt(append([]getoptOption{
		{id: "output", short: 'o', long: "output", value: true},
		{id: "format", short: 'f', long: "format", value: true},
		{id: "help", short: 'h', long: "help"},
	}, treeOptions()...), args)
	if err != nil {
		return err
	}
	output := ""
	formats := staticNodesFormats()
	format := formats[0]
	var tree treeChoice
	for _, f := range found {
		switch f.id {
		case "output":
			output = f.value
		case "format":
			known := false
			for _, x := range formats {
				if x.name == f.value {
					format, known = x, true
				}
			}
			if !known {
				fmt.Fprintf(e.stderr, "Unknown format: '%s'.\n", f.value)
				a.staticNodesHelp()
				return exitStatus(1)
			}
		case "help":
			return a.staticNodesHelp()
		default:
			tree.take(f)
		}
	}
	cfg, err := e.resolveOptions(tree.options(e))
	if err != nil {
		return err
	}
	path := filepath.Join(cfg.WantedTree(), "modules.devname")
	in, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(e.stderr, "Warning: %s not found - ignoring\n", path)
		return nil
	}
	if err != nil {
		fmt.Fprintf(e.stderr, "Error: could not open %s - %s\n", path, strerror(err))
		return exitStatus(1)
	}
	out, closed := e.stdout, func() error { return nil }
	if output != "" {
		if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
			fmt.Fprintf(e.stderr, "Error: could not create parent directory for %s - %s.\n", output, strerror(err))
			return exitStatus(1)
		}
		f, err := os.Create(output)
		if err != nil {
			fmt.Fprintf(e.stderr, "Error: could not create %s - %s\n", output, strerror(err))
			return exitStatus(1)
		}
		out, closed = f, f.Close
	}
	w := bufio.NewWriter(out)
	bad := false
	for line := range strings.Lines(string(in)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		n, ok := parseStaticNode(line)
		if !ok {
			fmt.Fprintf(e.stderr, "Error: invalid devname entry: %s", line)
			bad = true
			continue
		}
		format.write(w, n)
	}
	if err := errors.Join(w.Flush(), closed()); err != nil {
		return err
	}
	if bad {
		return exitStatus(1)
	}
	return nil
}

func parseStaticNode(line string) (n staticNode, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 3 || len(fields[2]) < 2 {
		return n, false
	}
	n.module, n.name, n.kind = fields[0], fields[1], fields[2][0]
	major, minor, _ := strings.Cut(fields[2][1:], ":")
	x, noMajor := strconv.ParseUint(major, 10, 32)
	y, noMinor := strconv.ParseUint(minor, 10, 32)
	n.major, n.minor = uint32(x), uint32(y)
	return n, noMajor == nil && noMinor == nil && (n.kind == 'c' || n.kind == 'b')
}

func (a *applet) staticNodesHelp() error {
	if err := a.help([]string{"[OPTION...]"},
		"-f, --format=FORMAT\thow to print, see below",
		"-o, --output=FILE\twrite to FILE",
		treeHelp,
		"-h, --help\tshow this"); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "Formats:")
	for _, f := range staticNodesFormats() {
		fmt.Fprintf(a.stdout, "\t%-12s %s\n", f.name, f.short)
	}
	return nil
}
